"""The images of a ledger as a reviewer goes through them: pages, places, counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from ..values import batched
from .database import Part
from .schema import checks, reviews
from .schema import images as images_table
from .selection import ImageFilter, ImageOrder, column
from .states import ImageState, VerdictValue
from .verdicts import image_key

PAGE_SIZE = 500

# The view without the tables that say what was bought. SQLite looks into these for every image even where nothing of
# them is asked for, and a page waits for 100,000 images.
_JUDGED = sa.text(
    """(
    SELECT
        im.call_id || '-' || im.idx     AS image_id,
        im.item_id                      AS item_id,
        im.state                        AS state,
        im.requested_at                 AS requested_at,
        im.call_id                      AS client_request_id,
        im.idx                          AS image_index,
        COALESCE(rv.verdict, 'none')    AS verdict,
        COALESCE(rv.stars, 0)           AS stars,
        ch.flags                        AS flags,
        COALESCE(ch.flagged, 0)         AS flag_count,
        ch.duplicate_group              AS duplicate_group,
        ch.run_duplicate_group          AS run_duplicate_group
    FROM imagen_images im
    LEFT JOIN imagen_reviews rv ON rv.call_id = im.call_id AND rv.idx = im.idx
    LEFT JOIN imagen_checks ch ON ch.call_id = im.call_id AND ch.idx = im.idx
    ) AS catalog"""
)
_JUDGED_ORDERS = (ImageOrder.TIME, ImageOrder.FLAGS, ImageOrder.STARS, ImageOrder.ITEM, ImageOrder.DUPLICATES)


@dataclass(frozen=True, slots=True)
class ReviewCounts:
    """What is among some images."""

    images: int
    verdicts: Mapping[VerdictValue, int]  # every value is present
    stars: Mapping[int, int]  # only those that occur
    flags: Mapping[str, int]  # only those that occur; an image may have several

    @property
    def reviewed(self) -> int:
        """Number of images with a verdict."""
        return self.images - self.verdicts[VerdictValue.NONE]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "images": self.images,
            "reviewed": self.reviewed,
            **{str(value): count for value, count in self.verdicts.items()},
            "stars": {str(stars): count for stars, count in sorted(self.stars.items())},
            "flags": dict(sorted(self.flags.items())),
        }

    def summary(self) -> str:
        """One line."""
        yes, no = self.verdicts[VerdictValue.APPROVED], self.verdicts[VerdictValue.REJECTED]
        return f"{self.reviewed:,} of {self.images:,} reviewed: {yes:,} approved, {no:,} rejected"


@dataclass(frozen=True, slots=True)
class ReviewOverview:
    """How far a review is.

    Attributes:
        verdicts: Number of images by verdict; every value is present.
        first_unreviewed: Place of the first image without a verdict, from 0; None if there is none.
    """

    verdicts: Mapping[VerdictValue, int]
    first_unreviewed: int | None

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.verdicts.values())


class ReviewPages(Part):
    """Lists of images, by filter and order.

    A page begins after an image, not at a number: an image that joins or leaves the list before it moves nothing.
    """

    def page(
        self,
        images: ImageFilter,
        *,
        columns: Sequence[str],
        after: str | None = None,
        skip: int = 0,
        order: ImageOrder = ImageOrder.TIME,
        limit: int = PAGE_SIZE,
    ) -> list[dict[str, Any]]:
        """Rows of the catalog for the images that come after one, at most so many.

        Args:
            columns: Columns of the view that are wanted.
            after: Id of an image; it need not match the filter. None for the first page.
            skip: Leave out so many first.

        Raises:
            BadInput: There is no such image.
        """
        with self._database.read() as connection:
            query = _listed(connection, images)
            if after is not None:
                query = query.where(sa.tuple_(*order.keys) > _keys_of(connection, after, order))
            found = connection.execute(query.order_by(*order.keys).limit(limit).offset(skip)).all()
            return _rows_of(connection, [row.image_id for row in found], columns)

    def rows(self, image_ids: Sequence[str], *, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of the catalog for images, in the order of their ids; unknown ones are left out."""
        with self._database.read() as connection:
            return _rows_of(connection, image_ids, columns)

    def all(
        self, images: ImageFilter, *, columns: Sequence[str], order: ImageOrder = ImageOrder.TIME
    ) -> Iterator[dict[str, Any]]:
        """Rows of the catalog for all images that match, read page by page."""
        wanted = ("image_id", *columns)
        after: str | None = None
        while page := self.page(images, columns=wanted, after=after, order=order):
            yield from page
            after = page[-1]["image_id"]

    def overview(self, images: ImageFilter, *, order: ImageOrder = ImageOrder.TIME) -> ReviewOverview:
        """Count the images by verdict, and find the first without one. A page waits for it."""
        verdict = column("verdict")
        unreviewed = replace(images, verdicts=(VerdictValue.NONE,))
        with self._database.read() as connection:
            if images.states and images == ImageFilter(states=images.states):
                found = _verdicts_of_all(connection, images.states)
            else:
                query: sa.Select[Any] = sa.select(verdict, sa.func.count()).select_from(_source(images, order))
                query = query.where(*images.conditions(connection)).group_by(verdict)
                found = dict(map(tuple, connection.execute(query)))
            counts = {value: found.get(value, 0) for value in VerdictValue}
            if not counts[VerdictValue.NONE]:
                return ReviewOverview(counts, None)
            query = sa.select(column("image_id")).select_from(_source(images, order))
            query = query.where(*unreviewed.conditions(connection)).order_by(*order.keys).limit(1)
            return ReviewOverview(counts, _place(connection, images, str(connection.scalar(query)), order))

    def flags(self) -> set[str]:
        """The flags that stored images have."""
        stored = sa.exists().where(
            images_table.c.call_id == checks.c.call_id,
            images_table.c.idx == checks.c.idx,
            images_table.c.state == ImageState.STORED,
        )
        found = self._scalars(sa.select(checks.c.flags).where(checks.c.flagged > 0, stored).distinct())
        return {flag for flags in found for flag in flags}

    def counts(self, images: ImageFilter) -> ReviewCounts:
        """Count images by verdict, stars and flag."""
        columns = [column(name) for name in ("verdict", "stars", "flags")]
        verdicts: Counter[VerdictValue] = Counter(dict.fromkeys(VerdictValue, 0))
        stars: Counter[int] = Counter()
        flags: Counter[str] = Counter()
        with self._database.read() as connection:
            query: sa.Select[Any] = sa.select(*columns, sa.func.count()).select_from(sa.table("catalog"))
            query = query.where(*images.conditions(connection)).group_by(*columns)
            for verdict, rated, flagged, number in connection.execute(query):
                verdicts[VerdictValue(verdict)] += number
                stars[rated] += number
                flags.update(dict.fromkeys(json.loads(flagged or "[]"), number))
        return ReviewCounts(sum(verdicts.values()), dict(verdicts), dict(stars), dict(flags))


def _listed(connection: Connection, images: ImageFilter) -> sa.Select[Any]:
    query: sa.Select[Any] = sa.select(column("image_id").label("image_id")).select_from(sa.table("catalog"))
    return query.where(*images.conditions(connection))


def _verdicts_of_all(connection: Connection, states: Sequence[ImageState]) -> dict[str, int]:
    """Number of all images in some states, by verdict: counted in indexes, since to look at each would read the ledger.

    Most have no verdict and are in one of these states, so the others are counted.
    """
    judged = sa.select(reviews.c.verdict, sa.func.count()).where(reviews.c.verdict != VerdictValue.NONE)
    of_image = sa.and_(images_table.c.call_id == reviews.c.call_id, images_table.c.idx == reviews.c.idx)
    left_out = images_table.c.state.in_([state for state in ImageState if state not in states])
    hidden = sa.select(reviews.c.verdict, -sa.func.count()).join(images_table, of_image)
    hidden = hidden.where(reviews.c.verdict != VerdictValue.NONE, left_out)
    every = sa.select(sa.literal(VerdictValue.NONE.value), sa.func.count()).where(images_table.c.state.in_(states))
    found: Counter[str] = Counter()
    # One statement: an image that is stored, or judged, meanwhile counts once.
    for verdict, number in connection.execute(
        sa.union_all(every, judged.group_by(reviews.c.verdict), hidden.group_by(reviews.c.verdict))
    ):
        found[verdict] += number
        if verdict != VerdictValue.NONE:
            found[VerdictValue.NONE] -= number
    return found


def _source(images: ImageFilter, order: ImageOrder) -> Any:
    """Where the images are read from if nothing but which and how many is asked for."""
    return _JUDGED if images.is_judgement and order in _JUDGED_ORDERS else sa.table("catalog")


def _place(connection: Connection, images: ImageFilter, image_id: str, order: ImageOrder) -> int:
    query: sa.Select[Any] = sa.select(sa.func.count()).select_from(_source(images, order))
    here = _keys_of(connection, image_id, order)
    return int(connection.scalar(query.where(*images.conditions(connection), sa.tuple_(*order.keys) < here)) or 0)


def _keys_of(connection: Connection, image_id: str, order: ImageOrder) -> sa.Tuple:
    """What an image is sorted by."""
    call_id, _ = image_key(image_id)
    query = sa.select(*order.keys).select_from(sa.table("catalog"))
    here = connection.execute(
        query.where(column("client_request_id") == call_id, column("image_id") == image_id)
    ).one_or_none()
    if here is None:
        raise BadInput(f"there is no image {image_id} in the catalog")
    values = [sa.literal(value, key.type) for value, key in zip(here, order.keys, strict=True)]
    return sa.tuple_(*values)


def _rows_of(connection: Connection, image_ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    wanted: list[sa.ColumnClause[Any]] = [sa.column(name) for name in dict.fromkeys((*columns, "image_id"))]
    query = sa.select(*wanted).select_from(sa.table("catalog"))
    found: dict[str, dict[str, Any]] = {}
    for batch in batched(image_ids):
        call_ids = {image_key(image_id)[0] for image_id in batch}
        rows = connection.execute(query.where(column("client_request_id").in_(call_ids)))
        found |= {row["image_id"]: {name: row[name] for name in columns} for row in rows.mappings()}
    return [found[image_id] for image_id in image_ids if image_id in found]
