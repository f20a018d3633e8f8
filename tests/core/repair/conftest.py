"""A workshop: sandbox, ledger of each kind, folder as store; runs the chain, breaks things, repairs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import CostSummary, Ledger
from prefect_imagen.core.ledger.schema import calls, images, items
from prefect_imagen.core.providers import ImageClient, open_client
from prefect_imagen.core.repair import RepairReport, Stores, repair
from prefect_imagen.core.request import Delivery, RunRequest, UnknownPolicy
from prefect_imagen.sandbox import SandboxServer

from ...bill import check_bill
from ...chain import run_chain


@dataclass
class Workshop:
    """What tests of repairs work with."""

    sandbox: SandboxServer
    ledger: Ledger
    folder: Path
    client: ImageClient
    store: str = field(default="")

    def __post_init__(self) -> None:
        self.store = self.store or str(self.folder / "images")
        self.spool = str(self.folder / "spool")

    def options(self, count: int, **options: Any) -> dict[str, Any]:
        return {
            "catalog": self.ledger,
            "base_url": self.sandbox.base_url,
            "store": self.store,
            "spool": self.spool,
            "count": count,
            **options,
        }

    def run(self, count: int, **options: Any) -> dict[str, int]:
        """Run the chain; returns the items by state."""
        states: dict[str, int] = run_chain(**self.options(count, **options))["states"]
        return states

    def repair(self, *, keyless: bool = False, **options: Any) -> RepairReport:
        delivery = Delivery(spool=self.spool, patience=10.0)
        return repair(
            self.ledger,
            options.pop("stores", Stores()),
            client=None if keyless else self.client,
            request=RunRequest(delivery=delivery),
            unknown=UnknownPolicy(options.pop("unknown", "hold")),
            **options,
        )

    def billed(self) -> int:
        """Calls on the provider's bill."""
        return len(self.sandbox.bill()["entries"])

    def check(self, **options: Any) -> CostSummary:
        return check_bill(self.ledger, self.sandbox, **options)

    def files(self) -> list[Path]:
        return sorted(path for path in Path(self.store).rglob("*.png") if path.is_file())

    def rows(self, table: sa.Table) -> list[Any]:
        with self.ledger.read() as connection:
            return list(connection.execute(sa.select(table)))

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self.rows(items):
            found[row.state] = found.get(row.state, 0) + 1
        return found

    def images(self) -> list[Any]:
        return self.rows(images)

    def calls(self) -> list[Any]:
        return self.rows(calls)


@pytest.fixture
def workshop(
    sandbox: SandboxServer, sqlite: str, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> Iterator[Workshop]:
    with_key = open_client("key-of-the-tests", base_url=sandbox.base_url, read_timeout=20)
    yield Workshop(sandbox, open_ledger(sqlite), tmp_path, with_key)
    with_key.close()
