"""Pictures to begin with, a ledger, a bucket and a sandbox whose pictures show what came with a request."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox.local_s3 import LocalS3
from prefect_imagen.sandbox.process import SandboxServer

from ...bill import check_bill
from ...chain import run_chain

MODEL = "klingai/image-o1"
"""Makes nothing without a picture, takes ten at most, at a price that is known."""


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(number: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """A picture of its own."""
    return encoded(Image.new("RGB", size, (number % 256, number // 256 % 256, 40)), "PNG")


def moving(kind: str) -> bytes:
    """An animation of two frames."""
    return encoded(Image.new("RGB", (16, 16)), kind, save_all=True, append_images=[Image.new("RGB", (16, 16), "red")])


@pytest.fixture
def s3(s3_server: LocalS3) -> LocalS3:
    return s3_server


@dataclass
class Desk:
    """Runs over pictures, and the bill for them."""

    folder: Path
    sandbox: SandboxServer
    ledger: Ledger

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    def table(self, *rows: tuple[str, ...], head: str = "prompt,picture", name: str = "prompts.csv") -> str:
        lines = [head, *(",".join(f'"{cell}"' for cell in row) for row in rows)]
        (self.folder / name).write_text("\n".join(lines), encoding="utf-8")
        return str(self.folder / name)

    def run(self, prompts: str, **options: Any) -> dict[str, Any]:
        """Run once; then the bill agrees with the ledger."""
        given = {"model": MODEL, "image_column": ["picture"], **options}
        s3 = given.pop("s3", None)
        ended = run_chain(
            catalog=self.ledger,
            base_url=self.sandbox.base_url,
            store=given.pop("to", str(self.folder / "images")),
            spool=str(self.folder / "spool"),
            prompts=prompts,
            options=given,
            s3=s3,
        )
        check_bill(self.ledger, self.sandbox, settled=True)
        return ended

    @property
    def bought(self) -> int:
        return len(self.sandbox.bill()["entries"])


@pytest.fixture
def desk(sandbox: SandboxServer, tmp_path: Path, open_ledger: Callable[..., Ledger]) -> Desk:
    return Desk(tmp_path, sandbox, open_ledger(str(tmp_path / "ledger.db")))
