"""The images of a ledger as a reviewer goes through them: pages, places, counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from ..values import batched
from .database import Part
from .selection import ImageFilter, ImageOrder, column
from .states import VerdictValue
from .verdicts import image_key

PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class PageStarts:
    """Where each page of a list of images begins.

    Attributes:
        total: Number of images.
        size: Number of images on a page.
        after: For each page, the image before its first: what `Review.page` is given to read it. None for the first.
        first_unreviewed: Place of the first image without a verdict, from 0; None if there is none.
    """

    total: int
    size: int
    after: tuple[str | None, ...]
    first_unreviewed: int | None


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
                query = query.where(_is_after(connection, after, order))
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

    def starts(self, images: ImageFilter, *, order: ImageOrder = ImageOrder.TIME, size: int = PAGE_SIZE) -> PageStarts:
        """Count the images, and find where each page begins and where the first unreviewed one is."""
        after: list[str | None] = [None]
        total, first, last = 0, None, ""
        with self._database.read() as connection:
            query = _listed(connection, images).add_columns(column("verdict")).order_by(*order.keys)
            streaming = connection.execution_options(stream_results=True, yield_per=5000)
            with streaming.execute(query) as found:
                for image_id, verdict in found:
                    if total and total % size == 0:
                        after.append(last)
                    if first is None and verdict == VerdictValue.NONE:
                        first = total
                    total, last = total + 1, image_id
        return PageStarts(total, size, tuple(after), first)

    def overview(self, images: ImageFilter, *, order: ImageOrder = ImageOrder.TIME) -> ReviewOverview:
        """Count the images by verdict, and find the first without one: in one pass, since a page waits for it."""
        number = sa.func.row_number().over(order_by=order.keys).label("number")
        with self._database.read() as connection:
            listed = _listed(connection, images).add_columns(number, column("verdict").label("verdict")).subquery()
            query = sa.select(listed.c.verdict, sa.func.count(), sa.func.min(listed.c.number))
            found = {row[0]: (row[1], row[2]) for row in connection.execute(query.group_by(listed.c.verdict))}
        first = found.get(VerdictValue.NONE)
        counts = {value: found[value][0] if value in found else 0 for value in VerdictValue}
        return ReviewOverview(counts, None if first is None else first[1] - 1)

    def place(self, images: ImageFilter, image_id: str, *, order: ImageOrder = ImageOrder.TIME) -> int:
        """Number of the images that come before one.

        Raises:
            BadInput: There is no such image.
        """
        with self._database.read() as connection:
            before = ~_is_after(connection, image_id, order)
            query = sa.select(sa.func.count()).select_from(sa.table("catalog"))
            query = query.where(*images.conditions(connection), before, column("image_id") != image_id)
            return int(connection.scalar(query) or 0)

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


def _is_after(connection: Connection, image_id: str, order: ImageOrder) -> sa.ColumnElement[bool]:
    """Condition on rows: they come after an image."""
    call_id, _ = image_key(image_id)
    query = sa.select(*order.keys).select_from(sa.table("catalog"))
    here = connection.execute(
        query.where(column("client_request_id") == call_id, column("image_id") == image_id)
    ).one_or_none()
    if here is None:
        raise BadInput(f"there is no image {image_id} in the catalog")
    values = [sa.literal(value, key.type) for value, key in zip(here, order.keys, strict=True)]
    return sa.tuple_(*order.keys) > sa.tuple_(*values)


def _rows_of(connection: Connection, image_ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    wanted: list[sa.ColumnClause[Any]] = [sa.column(name) for name in dict.fromkeys((*columns, "image_id"))]
    query = sa.select(*wanted).select_from(sa.table("catalog"))
    found: dict[str, dict[str, Any]] = {}
    for batch in batched(image_ids):
        call_ids = {image_key(image_id)[0] for image_id in batch}
        rows = connection.execute(query.where(column("client_request_id").in_(call_ids)))
        found |= {row["image_id"]: {name: row[name] for name in columns} for row in rows.mappings()}
    return [found[image_id] for image_id in image_ids if image_id in found]
