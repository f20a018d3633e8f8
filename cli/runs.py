"""Names of items as a user types them."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import BadInput
from ..core.ledger import Ledger


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
