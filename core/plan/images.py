"""Images of the catalog as a source: a row for each that matches, to make others from.

| column | |
|---|---|
| `prompt` | that it was made from |
| `picture` | `catalog:` and its id; goes into the request unless another column is named |
| `image_id`, `item_id`, `model`, `edition`, `stars` | as in the catalog |

The columns of the row that asked for it have their own names, where these are not taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import BadInput
from ..ledger import Ledger, VerdictValue
from ..prompts import PromptSource, Row
from ..prompts.folders import COLUMN
from ..request import ImageChoice
from ..review.choice import image_filter

CATALOG = "catalog:"
_COLUMNS = ("prompt", "image_id", "item_id", "model", "edition", "stars", "source_row")


class CatalogSource(PromptSource):
    """The stored images that match, in the order in which they were bought; rejected ones only if they are named.

    Args:
        name: `catalog:` and criteria with commas between them: `catalog:verdict=approved,edition=may`. They are the
            fields of `ImageChoice`, and `tag=NAME=VALUE`.
        ledger: Open.

    Raises:
        BadInput: There is no such criterion, or nothing matches.
    """

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name = name
        choice = _choice(name)
        wanted = image_filter(ledger, choice)
        if choice.verdict is None:
            wanted = replace(wanted, verdicts=(VerdictValue.APPROVED, VerdictValue.NONE))
        self._rows_found = [_row(row) for row in ledger.review.all(wanted, columns=_COLUMNS)]
        if not self._rows_found:
            raise BadInput(f"{name}: no image of the catalog matches")

    def columns(self) -> None:
        return None

    def _rows(self) -> Iterator[Row]:
        return (Row(line, values) for line, values in enumerate(self._rows_found, start=1))


def _choice(name: str) -> ImageChoice:
    given: dict[str, Any] = {}
    for part in filter(None, map(str.strip, name.removeprefix(CATALOG).split(","))):
        key, found, value = part.partition("=")
        if not found:
            raise BadInput(f"{name}: {part!r} is no criterion; write NAME=VALUE, such as verdict=approved")
        if key == "tag":
            label, _, text = value.partition("=")
            given.setdefault("tags", {})[label] = text
        else:
            given[key] = value
    return ImageChoice.read(given)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = row["source_row"]
    own = json.loads(asked) if isinstance(asked, str) else asked or {}
    known = {name: row[name] for name in _COLUMNS if name != "source_row"}
    return {**own, **known, COLUMN: f"{CATALOG}{row['image_id']}"}
