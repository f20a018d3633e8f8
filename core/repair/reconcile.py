"""Reconcile: hold ledger, catalog and store against each other, object by object, and mend what differs.

missing     the ledger says it is stored, and it is not there        fetched again, or copied; else marked lost
size        it is there with another number of bytes                 left: nothing of anybody's is overwritten
checksum    it is there with other bytes                             left
orphan      an image of this ledger that no row says is stored       adopted
catalog     stored by its row, and without a delivery                the delivery is noted
stranger    an image of this ledger whose call it does not know      left: `--rebuild` takes it in
foreign     anything else                                            left
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ..aimlapi import AimlApiClient
from ..delivery import Spool
from ..errors import ImagenError
from ..images import NotAnImage, inspect
from ..ledger import ImageResult, ImageState, ItemState, Ledger, StoredAt
from ..ledger.conditions import in_batches
from ..ledger.schema import deliveries, images, insert_new, items
from ..run.services import RunSettings, spool_folder
from ..storage import ObjectInfo, ObjectStore
from .objects import FoundImage, image_objects, read_object
from .repair import Mender, Stores

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 16
_LISTED = 1000


class FindingKind(enum.StrEnum):
    """How ledger and store differ."""

    MISSING = "missing"
    SIZE = "size"
    CHECKSUM = "checksum"
    ORPHAN = "orphan"
    CATALOG = "catalog"
    STRANGER = "stranger"
    FOREIGN = "foreign"


_HARMLESS = frozenset({FindingKind.FOREIGN})


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference.

    Attributes:
        kind: Which.
        uri: The object, or where it should be.
        image_id: `{call}-{index}`, where it is an image.
        detail: In a sentence.
        mended: What was done about it; None where nothing was.
    """

    kind: FindingKind
    uri: str
    image_id: str | None
    detail: str
    mended: str | None = None


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """A destination, compared.

    Attributes:
        destination: Where.
        objects: That were found there.
        recorded: Images that the ledger says are there.
        counts: Differences by kind.
        mended: Differences that were mended.
        findings: The differences, at most 1,000 of them.
    """

    destination: str
    objects: int
    recorded: int
    counts: dict[str, int] = field(default_factory=dict)
    mended: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is left that differs; foreign objects are nobody's business."""
        open_ = sum(count for kind, count in self.counts.items() if kind not in _HARMLESS)
        return open_ == self.mended

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings], "clean": self.clean}


@dataclass(frozen=True, slots=True)
class _Row:
    call_id: str
    index: int
    item_id: str
    key: str
    bytes: int | None
    sha256: str | None

    @property
    def image_id(self) -> str:
        return f"{self.call_id}-{self.index}"


def reconcile(
    ledger: Ledger,
    store: ObjectStore,
    *,
    apply: bool = False,
    quick: bool = False,
    settings: RunSettings | None = None,
    stores: Stores | None = None,
    client: AimlApiClient | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ReconcileReport:
    """Compare what the ledger says of a destination with what is there.

    Args:
        ledger: Open.
        store: The destination.
        apply: Mend what can be mended. Nothing is bought, overwritten or deleted.
        quick: Compare keys and sizes only, with no request an object.
        settings: Spool folder, patience, names of objects.
        stores: How other destinations are reached, that an object could be copied from.
        client: Says which API's own addresses images may be fetched from, where that is on this machine.
        say: Told what is being done.

    Raises:
        BadInput: The store cannot be used.
        Unavailable: Store or database do not answer.
    """
    work = _Reconcile(ledger, store, settings or RunSettings(), stores or Stores(store), client, quick=quick)
    say(f"listing {store.destination}")
    work.compare()
    if apply:
        say(f"mending {len(work.findings)} differences")
        work.mend()
    return work.report()


class _Reconcile:
    def __init__(
        self,
        ledger: Ledger,
        store: ObjectStore,
        settings: RunSettings,
        stores: Stores,
        client: AimlApiClient | None,
        *,
        quick: bool,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._settings = settings
        self._stores = stores
        self._client = client
        self._quick = quick
        self._spool = Spool(spool_folder(settings), ledger.id)
        self._orphans: list[tuple[int, FoundImage]] = []
        self._missing: list[tuple[int, _Row]] = []
        self._unnoted: list[tuple[int, _Row, ObjectInfo | None]] = []
        self._objects = self._recorded = 0
        self.findings: list[Finding] = []

    # --- comparing --------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Find every difference."""
        listed = {info.key: info for info in image_objects(self._store)}
        recorded = {row.key: row for row in self._rows()}
        self._objects, self._recorded = len(listed), len(recorded)
        for key, row in recorded.items():
            if key not in listed:
                self._missing.append((len(self.findings), row))
                self._find(FindingKind.MISSING, key, row.image_id, "the ledger says that it is stored")
        there = [row for key, row in recorded.items() if key in listed]
        sound = [row for row in there if row.bytes in (None, listed[row.key].size)]
        for row in there:
            if row.bytes not in (None, listed[row.key].size):
                detail = f"{listed[row.key].size:,} bytes instead of {row.bytes:,}"
                self._find(FindingKind.SIZE, row.key, row.image_id, detail)
        if not self._quick:
            for row, info in zip(sound, self._each(lambda row: self._store.head(row.key), sound), strict=True):
                if info is not None and info.sha256 and row.sha256 and info.sha256 != row.sha256:
                    detail = f"SHA-256 {info.sha256[:16]}… instead of {row.sha256[:16]}…"
                    self._find(FindingKind.CHECKSUM, row.key, row.image_id, detail)
        self._unrecorded([info for key, info in listed.items() if key not in recorded])
        self._catalog(listed, {(row.call_id, row.index) for row in recorded.values()})

    def _rows(self) -> Iterator[_Row]:
        """What the ledger says is stored here; what somebody is working on now is left alone."""
        query = (
            sa.select(
                deliveries.c.call_id,
                deliveries.c.idx,
                images.c.item_id,
                deliveries.c.key,
                images.c.bytes,
                images.c.sha256,
            )
            .join(images, sa.and_(images.c.call_id == deliveries.c.call_id, images.c.idx == deliveries.c.idx))
            .join(items, items.c.id == images.c.item_id)
            .where(deliveries.c.destination == self._store.destination, images.c.state != ImageState.ERASED)
        )
        with self._ledger.read() as connection:
            for row in connection.execute(query):
                yield _Row(*row)

    def _unrecorded(self, infos: Sequence[ObjectInfo]) -> None:
        heads = infos if self._quick else self._each(lambda info: self._store.head(info.key) or info, infos)
        found = [(info, read_object(info)) for info in heads]
        known = self._known({image.call_id for _, image in found if image is not None})
        for info, image in found:
            if image is None or image.ledger_id not in (None, self._ledger.id):
                self._find(FindingKind.FOREIGN, info.key, None, "not an image of this ledger")
                continue
            image_id = f"{image.call_id}-{image.index}"
            state = known.get((image.call_id, image.index))
            if state is None:
                self._find(FindingKind.STRANGER, info.key, image_id, "the ledger does not know the call")
            elif state == "held":
                continue  # on its way: its row is written in a moment
            else:
                self._orphans.append((len(self.findings), image))
                self._find(FindingKind.ORPHAN, info.key, image_id, f"an image that the ledger calls {state}")

    def _known(self, call_ids: set[str]) -> dict[tuple[str, int], str]:
        """The states of images, `held` for those of items that somebody works on."""
        found: dict[tuple[str, int], str] = {}
        with self._ledger.read() as connection:
            for batch in in_batches(sorted(call_ids)):
                query = (
                    sa.select(images.c.call_id, images.c.idx, images.c.state, items.c.holder_id)
                    .join(items, items.c.id == images.c.item_id)
                    .where(images.c.call_id.in_(batch))
                )
                for row in connection.execute(query):
                    found[row.call_id, row.idx] = "held" if row.holder_id is not None else str(row.state)
        return found

    def _catalog(self, listed: dict[str, ObjectInfo], delivered: set[tuple[str, int]]) -> None:
        """Images whose row, and so the catalog, says that they are here, without a delivery."""
        query = sa.select(
            images.c.call_id, images.c.idx, images.c.item_id, images.c.key, images.c.bytes, images.c.sha256
        ).where(images.c.state == ImageState.STORED, images.c.destination == self._store.destination)
        with self._ledger.read() as connection:
            rows = [_Row(*row) for row in connection.execute(query)]
        for row in rows:
            if (row.call_id, row.index) not in delivered:
                self._unnoted.append((len(self.findings), row, listed.get(row.key)))
                self._find(FindingKind.CATALOG, row.key, row.image_id, "stored by its row, and no delivery is noted")

    def _each(self, function: Callable[[T], R], values: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="imagen-head") as threads:
            return list(threads.map(function, values))

    def _find(self, kind: FindingKind, key: str, image_id: str | None, detail: str) -> None:
        self.findings.append(Finding(kind, self._store.uri(key), image_id, detail))

    # --- mending ----------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """Mend what can be: adopt first, so that nothing is fetched that is there under another name."""
        self._note_deliveries()
        self._adopt()
        self._restore()

    def _mended(self, place: int, how: str) -> None:
        before = self.findings[place]
        self.findings[place] = Finding(before.kind, before.uri, before.image_id, before.detail, how)

    def _note_deliveries(self) -> None:
        for place, row, info in self._unnoted:
            if info is None or row.bytes not in (None, info.size):
                self._missing.append((place, row))
                continue
            values = {
                "call_id": row.call_id,
                "idx": row.index,
                "destination": self._store.destination,
                "key": row.key,
                "uri": self._store.uri(row.key),
                "stored_at": datetime.now(UTC),
            }
            self._ledger.write(lambda c, values=values: c.execute(insert_new(c, deliveries), [values]))  # type: ignore[misc]
            self._mended(place, "the delivery is noted")

    def _adopt(self) -> None:
        for place, image in self._orphans:
            path = self._spool.image(f"adopt-{image.call_id}-{image.index}")
            try:
                stored = self._look_at(image, path)
            except NotAnImage as error:
                self._note(place, f"not an image: {error.reason}")
                continue
            except ImagenError as error:
                self._note(place, str(error))
                continue
            finally:
                path.unlink(missing_ok=True)
            result = ImageResult(image.call_id, image.index, image.item_id, ImageState.STORED, stored)
            self._reopen([image.item_id])
            self._ledger.images.finish([result])
            self._mended(place, "adopted")

    def _note(self, place: int, detail: str) -> None:
        before = self.findings[place]
        self.findings[place] = Finding(before.kind, before.uri, before.image_id, f"{before.detail}; {detail}")

    def _look_at(self, image: FoundImage, path: Path) -> StoredAt:
        """Read an object whole before the catalog vouches for it."""
        fetched = self._store.get(image.info.key, path)
        facts = inspect(fetched.path)
        return StoredAt(
            destination=self._store.destination,
            key=image.info.key,
            uri=self._store.uri(image.info.key),
            etag=None,
            content_type=facts.content_type,
            width=facts.width,
            height=facts.height,
            bytes=fetched.size,
            sha256=fetched.sha256,
        )

    def _reopen(self, item_ids: Sequence[str]) -> None:
        """Items that are over have images to be dealt with again."""

        def operation(connection: sa.Connection) -> None:
            for batch in in_batches(item_ids):
                connection.execute(
                    sa.update(items)
                    .where(
                        items.c.id.in_(batch),
                        items.c.state.in_((ItemState.LOST, ItemState.DELIVERED)),
                        items.c.holder_id.is_(None),
                    )
                    .values(state=ItemState.GENERATED, updated_at=datetime.now(UTC))
                )

        self._ledger.write(operation)

    def _restore(self) -> None:
        """Forget that missing objects are there, then deliver them again from wherever their bytes can be had."""
        missing = [row for _, row in self._missing]
        if not missing:
            return
        self._store.preflight()
        self._ledger.write(lambda connection: self._forget(connection, missing))
        mender = Mender(self._ledger, self._stores, self._client, self._settings, None)
        mender.deliver(list(dict.fromkeys(row.item_id for row in missing)), at=self._store)
        states = self._states({row.call_id for row in missing})
        for place, row in self._missing:
            state, here, reason = states.get((row.call_id, row.index), ("", False, ""))
            if here:
                self._mended(place, "stored again")
            elif state == ImageState.LOST:
                self._mended(place, f"marked lost: {reason}")
            else:
                self._note(place, f"not mended: {reason or 'its item is held, or no run has a destination for it'}")

    def _forget(self, connection: sa.Connection, missing: Sequence[_Row]) -> None:
        for row in missing:
            this = sa.and_(images.c.call_id == row.call_id, images.c.idx == row.index)
            connection.execute(
                sa.delete(deliveries).where(
                    deliveries.c.call_id == row.call_id,
                    deliveries.c.idx == row.index,
                    deliveries.c.destination == self._store.destination,
                )
            )
            elsewhere = connection.execute(
                sa.select(deliveries).where(deliveries.c.call_id == row.call_id, deliveries.c.idx == row.index).limit(1)
            ).one_or_none()
            if elsewhere is None:
                connection.execute(
                    sa.update(images)
                    .where(this, images.c.state == ImageState.STORED)
                    .values(state=ImageState.PENDING, destination=None, key=None, uri=None, stored_at=None)
                )
            else:
                connection.execute(
                    sa.update(images)
                    .where(this, images.c.destination == self._store.destination)
                    .values(destination=elsewhere.destination, key=elsewhere.key, uri=elsewhere.uri)
                )
            pending = sa.exists().where(images.c.item_id == items.c.id, images.c.state == ImageState.PENDING)
            connection.execute(
                sa.update(items)
                .where(items.c.id == row.item_id, items.c.state == ItemState.DELIVERED, pending)
                .values(state=ItemState.GENERATED, updated_at=datetime.now(UTC))
            )

    def _states(self, call_ids: set[str]) -> dict[tuple[str, int], tuple[str, bool, str]]:
        here = sa.exists().where(
            deliveries.c.call_id == images.c.call_id,
            deliveries.c.idx == images.c.idx,
            deliveries.c.destination == self._store.destination,
        )
        found = {}
        with self._ledger.read() as connection:
            for batch in in_batches(sorted(call_ids)):
                query = sa.select(
                    images.c.call_id, images.c.idx, images.c.state, here.label("here"), images.c.reason
                ).where(images.c.call_id.in_(batch))
                for row in connection.execute(query):
                    found[row.call_id, row.idx] = (str(row.state), bool(row.here), row.reason or "")
        return found

    def report(self) -> ReconcileReport:
        """Count."""
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[finding.kind.value] = counts.get(finding.kind.value, 0) + 1
        return ReconcileReport(
            self._store.destination,
            self._objects,
            self._recorded,
            counts,
            sum(finding.mended is not None for finding in self.findings),
            tuple(self.findings[:_LISTED]),
        )
