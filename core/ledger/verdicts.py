"""Verdicts: what people say about images. They are only added; what they amount to is kept beside them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from .conditions import rows_among
from .database import Part
from .schema import fields, images, insert_new, reviews, verdicts
from .states import ImageState, VerdictValue

MOST_STARS = 5
_LONGEST = {"id": 200, "reviewer": 200, "reason": 1000, "note": 10_000}
_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reviewer says about an image. A part that is None leaves what was said before.

    Attributes:
        image_id: As in the catalog.
        reviewer: Who says it.
        verdict: Approved, rejected, or none: taken back.
        stars: 0 to 5, independent of the verdict; 0 for none.
        reason: Why; it belongs to the verdict.
        note: Free text about the image; an empty one removes it.
        sha256: Hash of the image that was looked at; None for the one of the ledger.
        at: When it was said; None for the moment in which it is recorded.
        id: Made by the client. A verdict that is sent again under its id is recorded once.

    Raises:
        BadInput: No reviewer, nothing said, or a value out of range.
    """

    image_id: str
    reviewer: str
    verdict: VerdictValue | None = None
    stars: int | None = None
    reason: str | None = None
    note: str | None = None
    sha256: str | None = None
    at: datetime | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        image_key(self.image_id)
        if not self.reviewer.strip():
            raise BadInput("a verdict needs the name of its reviewer: --reviewer NAME, or PREFECT_IMAGEN_REVIEWER")
        if not self.id:
            raise BadInput("a verdict needs an id")
        for name, longest in _LONGEST.items():
            if len(getattr(self, name) or "") > longest:
                raise BadInput(f"{name} of the verdict on {self.image_id}: at most {longest:,} characters")
        if self.stars is not None and (isinstance(self.stars, bool) or not 0 <= self.stars <= MOST_STARS):
            raise BadInput(f"stars of {self.image_id}: {self.stars} is not allowed (0 to {MOST_STARS})")
        if self.verdict is None and self.stars is None and self.note is None:
            raise BadInput(f"nothing is said about {self.image_id}: give a verdict, stars or a note")
        if self.reason and self.verdict is None:
            raise BadInput(f"the reason on {self.image_id} belongs to a verdict, and there is none")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of verdicts; the numbers add up to what was given."""

    added: int = 0
    known: int = 0  # recorded before under their ids
    unknown: tuple[str, ...] = ()  # ids of images that the ledger does not have, or that were erased
    changed: tuple[str, ...] = ()  # ids of images that are not the ones that were looked at


@dataclass(frozen=True, slots=True)
class Review:
    """What the verdicts of an image amount to: the last of each kind."""

    image_id: str
    verdict: VerdictValue
    stars: int
    reviewer: str  # who spoke last
    reviewed_at: datetime
    reason: str | None
    note: str | None
    sha256: str | None  # of the image that was looked at last


def image_key(image_id: str) -> tuple[str, int]:
    """Call and index of an image.

    Raises:
        BadInput: It is no id of an image.
    """
    call_id, _, index = image_id.rpartition("-")
    if not call_id or not index.isascii() or not index.isdigit() or len(index) > 9:
        raise BadInput(f"{image_id!r} is no id of an image: the column image_id of the catalog has them")
    return call_id, int(index)


class Verdicts(Part):
    """The verdicts of a ledger."""

    def record(self, given: Sequence[Verdict]) -> Recorded:
        """Add verdicts, each once. Of several on one image, the one that was said last counts, whoever sends it."""
        return self._database.write(lambda connection: _record(connection, given))

    def latest(self, image_ids: Iterable[str]) -> dict[str, Review]:
        """What the verdicts of images amount to; images without one are left out."""
        wanted = dict.fromkeys(image_ids)
        call_ids = dict.fromkeys(image_key(image_id)[0] for image_id in wanted)
        found = (_review(row) for row in self._rows_among(sa.select(reviews), reviews.c.call_id, call_ids))
        return {review.image_id: review for review in found if review.image_id in wanted}

    def of(self, image_id: str) -> list[Verdict]:
        """All verdicts on an image, in the order in which they were recorded."""
        call_id, index = image_key(image_id)
        return [_verdict(row) for row in self._rows(_ALL.where(verdicts.c.call_id == call_id, verdicts.c.idx == index))]

    def since(self, number: int | None, *, limit: int) -> tuple[int, list[str]]:
        """Images on which something was said after a verdict, by the number of that one.

        On PostgreSQL a verdict may become visible after one with a higher number. So who asks again and again gives
        the number of the answer before the last one.

        Args:
            number: None for no image, and the number of the last verdict.
            limit: Read so many verdicts at most.

        Returns:
            The number of the last verdict that was read, and the ids of the images.
        """
        if number is None:
            return self._scalar(sa.select(sa.func.max(verdicts.c.number))) or 0, []
        query = sa.select(verdicts.c.number, verdicts.c.call_id, verdicts.c.idx).order_by(verdicts.c.number)
        rows = self._rows(query.where(verdicts.c.number > number).limit(limit))
        ids = dict.fromkeys(f"{row.call_id}-{row.idx}" for row in rows)
        return rows[-1].number if rows else number, list(ids)

    def all(self, among: sa.ColumnElement[bool] | None = None) -> Iterator[Verdict]:
        """All verdicts in the order in which they were recorded, read in pages."""
        query = _ALL if among is None else _ALL.where(among)
        last = 0
        while page := self._rows(query.where(verdicts.c.number > last).limit(_PAGE)):
            yield from map(_verdict, page)
            last = page[-1].number


def _record(connection: Connection, given: Sequence[Verdict]) -> Recorded:
    now = datetime.now(UTC)
    distinct = {verdict.id: verdict for verdict in given}
    keys = {verdict.id: image_key(verdict.image_id) for verdict in distinct.values()}
    known = {row.id for row in rows_among(connection, sa.select(verdicts.c.id), verdicts.c.id, distinct)}
    present = {
        (row.call_id, row.idx): row.sha256
        for row in rows_among(
            connection,
            sa.select(images.c.call_id, images.c.idx, images.c.sha256).where(images.c.state != ImageState.ERASED),
            images.c.call_id,
            {call_id for call_id, _ in keys.values()},
        )
    }
    rows: list[dict[str, Any]] = []
    unknown: dict[str, None] = {}
    changed: dict[str, None] = {}
    for verdict in distinct.values():
        if verdict.id in known:
            continue
        key = keys[verdict.id]
        if key not in present:
            unknown[verdict.image_id] = None
            continue
        if verdict.sha256 is not None and verdict.sha256 != present[key]:
            changed[verdict.image_id] = None
            continue
        rows.append(
            {
                **fields(verdict, "id", "reviewer", "verdict", "stars", "reason", "note"),
                "call_id": key[0],
                "idx": key[1],
                "sha256": present[key],
                # A clock that is ahead would win over everything that is said until then.
                "at": min(verdict.at or now, now),
                "recorded_at": now,
            }
        )
    if rows:
        connection.execute(insert_new(connection, verdicts), rows)
        _review_anew(connection, rows)
    refused = sum(1 for verdict in distinct.values() if verdict.image_id in unknown or verdict.image_id in changed)
    return Recorded(len(rows), len(given) - len(rows) - refused, tuple(unknown), tuple(changed))


def _review_anew(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Bring reviews up to new verdicts.

    Each statement changes the columns of one kind, and only if nothing later was said: what two reviewers say at once
    about one image is all kept. Rows are taken in one order, so that two writers do not wait for each other.
    """
    ordered = sorted(rows, key=lambda row: (row["call_id"], row["idx"], row["at"]))
    values = [{f"new_{name}": value for name, value in row.items()} for row in ordered]
    connection.execute(
        insert_new(connection, reviews),
        [
            {
                **{name: row[name] for name in ("call_id", "idx", "reviewer", "sha256")},
                "verdict": VerdictValue.NONE,
                "stars": 0,
                "reviewed_at": row["at"],
            }
            for row in ordered
        ],
    )
    for statement, says in _PARTS:
        if told := [row for row in values if row[says] is not None]:
            connection.execute(statement, told)


def _review(row: sa.Row[Any]) -> Review:
    return Review(
        image_id=f"{row.call_id}-{row.idx}",
        verdict=VerdictValue(row.verdict),
        **fields(row, "stars", "reviewer", "reviewed_at", "reason", "note", "sha256"),
    )


def _verdict(row: sa.Row[Any]) -> Verdict:
    return Verdict(
        image_id=f"{row.call_id}-{row.idx}",
        verdict=None if row.verdict is None else VerdictValue(row.verdict),
        **fields(row, "reviewer", "stars", "reason", "note", "sha256", "at", "id"),
    )


# --- statements: built once, since building one costs more than running it --------------------------------------------

_ALL = sa.select(verdicts).order_by(verdicts.c.number)


def _set(moment: str, *names: str) -> sa.Update:
    """Set some columns of a review to those of a verdict, if it is not older than what they were set from."""
    since = reviews.c[moment]
    values = {name: sa.bindparam(f"new_{name}", type_=reviews.c[name].type) for name in names}
    said = sa.bindparam("new_at", type_=reviews.c.reviewed_at.type)
    return (
        sa.update(reviews)
        .where(
            reviews.c.call_id == sa.bindparam("new_call_id"),
            reviews.c.idx == sa.bindparam("new_idx"),
            sa.or_(since.is_(None), since <= said),
        )
        .values({**values, since.name: said})
    )


# The last one sets who spoke last, and is for every verdict.
_PARTS = (
    (_set("verdict_at", "verdict", "reason"), "new_verdict"),
    (_set("stars_at", "stars"), "new_stars"),
    (_set("note_at", "note"), "new_note"),
    (_set("reviewed_at", "reviewer", "sha256"), "new_id"),
)
