"""Pictures of every format, and tools that are not ours to read what is in them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from prefect_imagen.core.provenance import Facts

MADE_AT = datetime(2026, 11, 26, 2, 30, tzinfo=UTC)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def facts_of(data: bytes, **changes: Any) -> Facts:
    given = {
        "image_id": "pi-00-0",
        "item_id": "ab" * 32,
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": "google/imagen4/preview",
        "version": "imagen-4.0-generate",
        "origin": "https://api.example.com",
        "made_at": MADE_AT,
        "prompt": "a fox & a <hare>\x00, 狐",
        "rating": -1,
        "credit": "Studio Nord",
    }
    return Facts(**{**given, **changes})


def _pictures() -> dict[str, bytes]:
    noise = Image.effect_noise((97, 61), 90)
    rgb, rgba = noise.convert("RGB"), noise.convert("RGBA")
    rgba.putalpha(noise)
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "somebody's")
    exif = Image.Exif()
    exif[0x0131] = "somebody's"
    profile = b"not a profile, but somebody's bytes" * 9
    return {
        "png": encoded(rgb, "PNG"),
        "png-palette": encoded(rgb.quantize(16), "PNG", icc_profile=profile),
        "png-text": encoded(rgba, "PNG", pnginfo=text),
        "png-animated": encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "jpeg": encoded(rgb, "JPEG"),
        "jpeg-exif": encoded(rgb, "JPEG", exif=exif.tobytes(), icc_profile=profile, progressive=True),
        "jpeg-comment": encoded(rgb, "JPEG", comment=b"somebody's", dpi=(72, 72)),
        "jpeg-tail": encoded(rgb, "JPEG") + b"bytes behind the end",
        "webp": encoded(rgb, "WEBP"),
        "webp-lossless": encoded(rgb, "WEBP", lossless=True),
        "webp-alpha": encoded(rgba, "WEBP", lossless=True),
        "webp-lossy-alpha": encoded(rgba, "WEBP"),
        "webp-exif": encoded(rgb, "WEBP", exif=exif.tobytes(), icc_profile=profile),
        "webp-animated": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "webp-tail": encoded(rgb, "WEBP") + b"bytes behind the end",
    }


PICTURES = _pictures()


@pytest.fixture(params=sorted(PICTURES))
def picture(request: pytest.FixtureRequest) -> bytes:
    """A picture, of each kind."""
    return PICTURES[request.param]


@pytest.fixture
def exiftool(tmp_path: Path) -> Callable[[bytes], dict[str, Any]]:
    """What ExifTool reads in a file, by `group:name`; a warning of it is an error."""
    tool = shutil.which("exiftool")
    if tool is None:
        pytest.skip("ExifTool is not here: sudo apt-get install libimage-exiftool-perl")

    def read(data: bytes) -> dict[str, Any]:
        path = tmp_path / "picture"
        path.write_bytes(data)
        said = subprocess.run(
            [tool, "-json", "-G1", "-s", "-validate", "-warning", "-XMP:all", path], capture_output=True, check=True
        )
        (found,) = json.loads(said.stdout)
        return dict(found)

    return read
