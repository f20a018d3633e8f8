"""What the free checks found in images, and which images look alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Part
from .schema import calls, checks, fields, images, insert_new
from .states import ImageState
from .verdicts import image_key

_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in an image."""

    image_id: str
    sha256: str | None  # of the image that was looked at
    flags: Mapping[str, str]  # what was found, by the name of the flag
    dhash: str | None  # 64 bits, hexadecimal
    settings: str  # fingerprint of the checks


@dataclass(frozen=True, slots=True)
class Known:
    """A checked image as the search for duplicates sees it."""

    image_id: str
    run_id: str
    sha256: str | None
    dhash: str | None
    details: Mapping[str, str]
    group: str | None
    run_group: str | None


@dataclass(frozen=True, slots=True)
class Grouped:
    """An image with its groups, and its flags as they follow from them."""

    image_id: str
    group: str | None
    run_group: str | None
    flags: Mapping[str, str] = field(default_factory=dict)


class Checks(Part):
    """The checks of a ledger."""

    def done(self, image_ids: Sequence[str], settings: str) -> set[str]:
        """Those of the images that were checked like that, and did not change since."""
        call_ids = {image_key(image_id)[0] for image_id in image_ids}
        query = (
            sa.select(checks.c.call_id, checks.c.idx)
            .join(images, sa.and_(images.c.call_id == checks.c.call_id, images.c.idx == checks.c.idx))
            .where(checks.c.settings == settings, checks.c.sha256 == images.c.sha256)
        )
        return {f"{row.call_id}-{row.idx}" for row in self._rows_among(query, checks.c.call_id, call_ids)}

    def record(self, found: Sequence[Checked]) -> None:
        """Record what was found, in place of what was found before."""
        now = datetime.now(UTC)

        def operation(connection: Connection) -> None:
            rows = []
            for one in found:
                call_id, index = image_key(one.image_id)
                this = sa.and_(checks.c.call_id == call_id, checks.c.idx == index)
                connection.execute(sa.delete(checks).where(this))
                rows.append(
                    {
                        **fields(one, "sha256", "dhash", "settings"),
                        **_flags(one.flags),
                        "call_id": call_id,
                        "idx": index,
                        "checked_at": now,
                    }
                )
            if rows:
                connection.execute(insert_new(connection, checks), rows)

        self._database.write(operation)

    def known(self) -> Iterator[Known]:
        """All checked images that are stored, the oldest first."""
        query = (
            sa.select(checks, images.c.sha256.label("now"), calls.c.run_id)
            .join(images, sa.and_(images.c.call_id == checks.c.call_id, images.c.idx == checks.c.idx))
            .join(calls, calls.c.id == checks.c.call_id)
            .where(images.c.state == ImageState.STORED)
            .order_by(images.c.requested_at, images.c.call_id, images.c.idx)
        )
        with self._database.read() as connection:
            streaming = connection.execution_options(stream_results=True, yield_per=_PAGE)
            with streaming.execute(query) as rows:
                for row in rows:
                    yield Known(
                        f"{row.call_id}-{row.idx}",
                        row.run_id,
                        row.now,
                        row.dhash if row.sha256 == row.now else None,
                        row.details,
                        row.duplicate_group,
                        row.run_duplicate_group,
                    )

    def regroup(self, changed: Sequence[Grouped]) -> None:
        """Record groups, and the flags that follow from them."""
        rows = []
        for one in changed:
            call_id, index = image_key(one.image_id)
            values = {**_flags(one.flags), "duplicate_group": one.group, "run_duplicate_group": one.run_group}
            rows.append({"this_call": call_id, "this_idx": index, **{f"new_{n}": v for n, v in values.items()}})
        if rows:
            self._database.write(lambda connection: connection.execute(_REGROUP, rows))


def _flags(found: Mapping[str, str]) -> dict[str, Any]:
    return {"flags": sorted(found), "flagged": len(found), "details": dict(found)}


_REGROUP = (
    sa.update(checks)
    .where(checks.c.call_id == sa.bindparam("this_call"), checks.c.idx == sa.bindparam("this_idx"))
    .values(
        {
            checks.c[name]: sa.bindparam(f"new_{name}", type_=checks.c[name].type)
            for name in ("flags", "flagged", "details", "duplicate_group", "run_duplicate_group")
        }
    )
)
