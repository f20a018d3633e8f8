"""Names of runs and items as a user types them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import BadInput
from ..core.ledger import Ledger
from ..core.ledger.runs import find_run as run_of


def find_run(found: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
    """The run whose id begins like that; the latest for None.

    Raises:
        BadInput: None, or more than one.
    """
    return found[0] if name is None else dict(run_of(found, name))


def find_items(ledger: Ledger, names: Sequence[str]) -> list[str]:
    """Items by their id, by the request id of one of their calls, or by how either begins.

    Raises:
        BadInput: No item, or more than one, for a name.
    """
    found = []
    for name in names:
        matching = ledger.items.matching(name)
        if len(matching) != 1:
            what = "more than one item's id begins" if matching else "no item's or request's id begins"
            raise BadInput(f"{what} with {name!r}: `prefect-imagen status` lists what is unknown")
        found += matching
    return list(dict.fromkeys(found))
