"""Verdicts as JSON Lines: written for other programs, and taken in from a gallery that has no server.

Each line says all that is needed to take it in: the ledger, the image and its hash, and the verdict with its id. So
files can be joined, cut, and taken in again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from ..errors import BadInput
from ..ledger import Ledger, Verdict, VerdictValue
from ..values import batched

_AT_ONCE = 500


class Line(BaseModel):
    """A verdict in a file. What else a line says is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    ledger: str
    id: str
    image_id: str
    sha256: str
    reviewer: str
    at: AwareDatetime
    verdict: VerdictValue | None = None
    stars: int | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the verdicts of a file.

    Attributes:
        lines: Lines that were read.
        added: Recorded now.
        known: Recorded before.
        unknown: Ids of images that the ledger does not have, or that were erased.
        changed: Ids of images that are not the ones that were looked at.
    """

    lines: int = 0
    added: int = 0
    known: int = 0
    unknown: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every verdict is recorded."""
        return not self.unknown and not self.changed

    def summary(self) -> str:
        """One line."""
        text = f"{self.lines:,} verdicts read: {self.added:,} recorded, {self.known:,} known already"
        if self.unknown:
            text += f", {len(self.unknown):,} on images that are not in this ledger"
        if self.changed:
            text += f", {len(self.changed):,} on images that changed since they were looked at"
        return text


def verdict_lines(ledger: Ledger, verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Verdicts as lines of a file."""
    for verdict in verdicts:
        yield json.dumps(as_line(verdict, ledger.id), ensure_ascii=False)


def as_line(verdict: Verdict, ledger_id: str) -> Mapping[str, Any]:
    """A verdict as plain data."""
    at = verdict.at or datetime.now(UTC)
    return {
        "ledger": ledger_id,
        "id": verdict.id,
        "image_id": verdict.image_id,
        "sha256": verdict.sha256,
        "reviewer": verdict.reviewer,
        "at": at.isoformat(),
        "verdict": verdict.verdict,
        "stars": verdict.stars,
        "reason": verdict.reason,
        "note": verdict.note,
    }


def read_verdicts(path: Path, ledger_id: str) -> Iterator[Verdict]:
    """Read a file of verdicts.

    Raises:
        BadInput: It cannot be read, a line is no verdict, or it is about another ledger; the line is named.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _read(text, ledger_id, f"{path}:{number}")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text") from None


def _read(text: str, ledger_id: str, place: str) -> Verdict:
    try:
        line = Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{place}: not a verdict: {f'{where}: ' if where else ''}{first['msg']}") from None
    if line.ledger != ledger_id:
        raise BadInput(
            f"{place}: this verdict is about images of another ledger ({line.ledger}); this one is {ledger_id}: "
            "use that catalog (--catalog)"
        )
    try:
        return Verdict(**line.model_dump(exclude={"ledger"}))
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


def apply_verdicts(ledger: Ledger, path: Path) -> Applied:
    """Take in a file of verdicts. The whole file is checked first; what was recorded before is known by its id.

    Raises:
        BadInput: As `read_verdicts`; nothing was recorded.
        Unavailable: The ledger does not answer. The same file can be taken in again.
    """
    lines = sum(1 for _ in read_verdicts(path, ledger.id))
    added = known = 0
    unknown: dict[str, None] = {}
    changed: dict[str, None] = {}
    for batch in batched(read_verdicts(path, ledger.id), _AT_ONCE):
        done = ledger.verdicts.record(batch)
        added, known = added + done.added, known + done.known
        unknown |= dict.fromkeys(done.unknown)
        changed |= dict.fromkeys(done.changed)
    return Applied(lines, added, known, tuple(unknown), tuple(changed))
