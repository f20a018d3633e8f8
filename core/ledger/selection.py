"""Which items and which images are meant: one filter for everything that shows, exports, delivers or makes anew."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from ..values import batched
from .schema import UtcDateTime, calls, images, items, run_items, runs
from .states import ImageState, VerdictValue
from .verdicts import MOST_STARS, image_key

_FEW = 2000
_LARGE_PART = 4  # a quarter of all images

_TYPES: Mapping[str, Any] = {
    "requested_at": UtcDateTime(),
    "image_index": sa.Integer(),
    "stars": sa.Integer(),
    "flag_count": sa.Integer(),
    "cost_credits": sa.BigInteger(),
    "revision": sa.Integer(),
}


def column(name: str) -> sa.ColumnElement[Any]:
    """A column of the view `catalog`."""
    return sa.literal_column(f"catalog.{name}", _TYPES.get(name, sa.Text()))


@dataclass(frozen=True, slots=True)
class Selection:
    """Items that match every given criterion; all items if none is given."""

    run_id: str | None = None  # items that this run asks for, owned ones included
    edition: str | None = None  # items of this edition; the empty string is the edition without a name
    tags: Mapping[str, str] = field(default_factory=dict)  # items that runs with all these tags ask for
    before: datetime | None = None  # items whose last call (or planning, if there was none) is older than this

    @property
    def everything(self) -> bool:
        """Whether no criterion of the items is given."""
        return self.run_id is None and self.edition is None and not self.tags and self.before is None

    def runs(self, connection: Connection) -> list[str] | None:
        """Ids of the runs whose items are selected; None if runs do not matter.

        Tags are compared here, not in SQL: runs are few, and the two databases have no JSON functions in common.
        """
        if self.run_id is None and not self.tags:
            return None
        query = sa.select(runs.c.id, runs.c.tags).order_by(runs.c.started_at)
        if self.run_id is not None:
            query = query.where(runs.c.id == self.run_id)
        return [row.id for row in connection.execute(query) if self.tags.items() <= row.tags.items()]

    def items(self, connection: Connection) -> sa.Select[tuple[str]]:
        """Query for the ids of the selected items."""
        query = sa.select(items.c.id)
        meant = self.runs(connection)
        if meant is not None:
            # A single `IN` takes a bounded number of values.
            among = sa.or_(sa.false(), *(run_items.c.run_id.in_(batch) for batch in batched(meant)))
            query = query.where(items.c.id.in_(sa.select(run_items.c.item_id).where(among)))
        if self.edition is not None:
            query = query.where(items.c.edition == self.edition)
        if self.before is not None:
            last = sa.select(sa.func.max(calls.c.sent_at)).where(calls.c.item_id == items.c.id).scalar_subquery()
            query = query.where(sa.func.coalesce(last, items.c.created_at) < self.before)
        return query

    def conditions(self, connection: Connection) -> list[sa.ColumnElement[bool]]:
        """Conditions on rows of the view `catalog`."""
        return [] if self.everything else [column("item_id").in_(self.items(connection))]


class ImageOrder(enum.StrEnum):
    """How images are sorted. Each order ends with that of the calls, so that it is total."""

    TIME = "time"
    FLAGS = "flags"  # the most flags first
    STARS = "stars"  # the most stars first
    COST = "cost"  # the dearest first
    ITEM = "item"
    PROMPT = "prompt"
    DUPLICATES = "duplicates"  # groups of images that look alike; those without one come last

    @property
    def keys(self) -> tuple[sa.ColumnElement[Any], ...]:
        """What to sort by, each ascending."""
        return (*_KEYS[self], column("requested_at"), column("client_request_id"), column("image_index"))


_NO_GROUP = sa.literal_column("'~'", sa.Text())
_KEYS: Mapping[ImageOrder, tuple[sa.ColumnElement[Any], ...]] = {
    ImageOrder.TIME: (),
    ImageOrder.FLAGS: (-column("flag_count"),),
    ImageOrder.STARS: (-column("stars"),),
    ImageOrder.COST: (-column("cost_credits"),),
    ImageOrder.ITEM: (column("item_id"),),
    ImageOrder.PROMPT: (column("prompt"),),
    ImageOrder.DUPLICATES: (sa.func.coalesce(column("duplicate_group"), _NO_GROUP),),
}


@dataclass(frozen=True, slots=True)
class ImageFilter(Selection):
    """Images that match every given criterion. Criteria of the items are those of `Selection`.

    Attributes:
        verdicts: Any of these; `none` stands for images without a verdict.
        stars_from: At least so many stars.
        stars_to: At most so many stars.
        flags: With any of these flags.
        flagged: With any flag, or with none.
        duplicate_group: Of this group of images that look alike; see `duplicates`.
        duplicates: In any such group, or in none.
        model: Canonical id of the model that made it.
        text: In the prompt as sent, in upper or lower case.
        since: Bought at or after this moment.
        until: Bought before this moment.
        cost_from: Costs at least so many credits.
        cost_to: Costs at most so many credits.
        image_ids: One of these.
        states: In one of these states.

    Raises:
        BadInput: A criterion that nothing can match.
    """

    verdicts: tuple[VerdictValue, ...] = ()
    stars_from: int | None = None
    stars_to: int | None = None
    flags: tuple[str, ...] = ()
    flagged: bool | None = None
    duplicate_group: str | None = None
    duplicates: bool | None = None
    model: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    cost_from: int | None = None
    cost_to: int | None = None
    image_ids: tuple[str, ...] = ()
    states: tuple[ImageState, ...] = (ImageState.STORED,)

    def __post_init__(self) -> None:
        for name in ("stars_from", "stars_to"):
            stars = getattr(self, name)
            if stars is not None and not 0 <= stars <= MOST_STARS:
                raise BadInput(f"stars: {stars} is not allowed (0 to {MOST_STARS})")
        for low, high in (("stars_from", "stars_to"), ("since", "until"), ("cost_from", "cost_to")):
            first, last = getattr(self, low), getattr(self, high)
            if first is not None and last is not None and first > last:
                raise BadInput(f"nothing is at least {first} and at most {last}: exchange the two")
        for image_id in self.image_ids:
            image_key(image_id)

    @property
    def is_judgement(self) -> bool:
        """Whether only runs, verdicts, stars, flags, duplicates, times and ids of images matter."""
        others = (self.edition, self.before, self.model, self.text or None, self.cost_from, self.cost_to)
        return all(value is None for value in others)

    def conditions(self, connection: Connection) -> list[sa.ColumnElement[bool]]:
        """Conditions on rows of the view `catalog`."""
        found = self._of_items(connection)
        if self.states:
            found.append(column("state").in_(self.states))
        if self.verdicts:
            found.append(column("verdict").in_(self.verdicts))
        if self.flags:
            found.append(sa.or_(*(column("flags").contains(json.dumps(flag), autoescape=True) for flag in self.flags)))
        if self.flagged is not None:
            found.append(column("flag_count") > 0 if self.flagged else column("flag_count") == 0)
        if self.duplicate_group is not None:
            group = self.duplicate_group
            found.append(sa.or_(column("duplicate_group") == group, column("run_duplicate_group") == group))
        if self.duplicates is not None:
            grouped = column("duplicate_group").is_not(None)
            found.append(grouped if self.duplicates else ~grouped)
        if self.model is not None:
            found.append(column("model") == self.model)
        if self.text:
            # SQLite changes the case of ASCII letters only.
            spellings = {self.text, self.text.lower(), self.text.upper(), self.text.title(), self.text.capitalize()}
            found.append(sa.or_(*(column("prompt").icontains(text, autoescape=True) for text in sorted(spellings))))
        for name, low, high in (
            ("stars", self.stars_from, self.stars_to),
            ("cost_credits", self.cost_from, self.cost_to),
        ):
            found += [column(name) >= low] if low is not None else []
            found += [column(name) <= high] if high is not None else []
        if self.since is not None:
            found.append(column("requested_at") >= self.since)
        if self.until is not None:
            found.append(column("requested_at") < self.until)
        if self.image_ids:
            call_ids = sorted({image_key(image_id)[0] for image_id in self.image_ids})
            among = (column("client_request_id").in_(batch) for batch in batched(call_ids))
            exactly = (column("image_id").in_(batch) for batch in batched(self.image_ids))
            found += [sa.or_(*among), sa.or_(*exactly)]
        return found

    def _of_items(self, connection: Connection) -> list[sa.ColumnElement[bool]]:
        """The criteria of the items, written for a list that is read page by page in an order of its own."""
        found: list[sa.ColumnElement[bool]] = []
        if self.before is not None:
            found.append(column("item_id").in_(Selection(before=self.before).items(connection)))
        if self.edition is not None:
            found.append(column("edition") == self.edition)
        meant = self.runs(connection)
        if meant is None:
            return found
        among = sa.or_(sa.false(), *(run_items.c.run_id.in_(batch) for batch in batched(meant)))
        rows = sa.select(run_items.c.item_id).where(among)
        # A small part of the images is looked up. Of a large part, each image is asked whether it is of it, in the
        # order of the list, so that a page needs few.
        size = connection.scalar(sa.select(sa.func.count()).select_from(rows.subquery())) or 0
        others = sa.select(images.c.call_id).limit(1).offset(max(_FEW, _LARGE_PART * size))
        if size < _FEW or connection.scalar(others) is not None:
            return [*found, column("item_id").in_(rows)]
        return [*found, rows.where(run_items.c.item_id == column("item_id")).correlate_except(run_items).exists()]
