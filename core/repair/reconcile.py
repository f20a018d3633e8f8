"""Reconcile: hold ledger, catalog and store against each other, object by object, and mend what differs.

missing     the ledger says it is stored, and it is not there        fetched again, or copied; else marked lost
size        it is there with another number of bytes                 left: nothing of anybody's is overwritten
checksum    it is there with other bytes                             left
orphan      an image of this ledger that no row says is stored       adopted
catalog     stored by its row, and without a delivery                the delivery is noted
stranger    an image of this ledger, and it does not know the call   taken in, as by `--rebuild`
            or how it ended: the ledger is an older copy
behind      the marker there says so, too                            the ledger may buy again
foreign     anything else                                            left

Images whose rows were moved into an archive are only counted: the ledger does not know their sizes and hashes any more.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..delivery import MARKER_KEY, Marker, Spool
from ..errors import ImagenError
from ..images import MOST_COUNTED, NotAnImage, inspect
from ..ledger import ImageResult, ImageState, Ledger, StoredAt, StoredImage
from ..provenance import SIDECAR, examine
from ..providers import ImageClient
from ..request import RunRequest
from ..run.services import spool_folder
from ..storage import ObjectInfo, ObjectStore
from .objects import FoundImage, image_objects, read_object
from .rebuild import take_in
from .repair import RepairSession, Stores

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 16
_LISTED = 1000
_IN_THE_WAY = "move it away, and --apply stores the right one"


class FindingKind(enum.StrEnum):
    """How ledger and store differ."""

    MISSING = "missing"
    SIZE = "size"
    CHECKSUM = "checksum"
    ORPHAN = "orphan"
    CATALOG = "catalog"
    STRANGER = "stranger"
    BEHIND = "behind"
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
        archived: Objects of items whose rows were moved into an archive.
        lost: Missing images that could not be fetched or copied any more, and are marked lost now.
        findings: The differences, at most 1,000 of them.
    """

    destination: str
    objects: int
    recorded: int
    counts: dict[str, int] = field(default_factory=dict)
    mended: int = 0
    lost: int = 0
    archived: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is left that differs; foreign objects are nobody's business."""
        open_ = sum(count for kind, count in self.counts.items() if kind not in _HARMLESS)
        return open_ == self.mended

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings], "clean": self.clean}


def reconcile(
    ledger: Ledger,
    store: ObjectStore,
    *,
    apply: bool = False,
    quick: bool = False,
    request: RunRequest | None = None,
    stores: Stores | None = None,
    client: ImageClient | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ReconcileReport:
    """Compare what the ledger says of a destination with what is there.

    Args:
        ledger: Open.
        store: The destination.
        apply: Mend what can be mended. Nothing is bought, overwritten or deleted.
        quick: Compare keys and sizes only, with no request an object.
        request: Spool folder, patience, names of objects.
        stores: How other destinations are reached, that an object could be copied from.
        client: Says which API's own addresses images may be fetched from, where that is on this machine.
        say: Told what is being done.

    Raises:
        BadInput: The store cannot be used.
        Unavailable: Store or database do not answer.
    """
    work = _Reconcile(ledger, store, request or RunRequest(), stores or Stores(store), client, quick=quick)
    if apply:
        work.settle_the_past()
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
        request: RunRequest,
        stores: Stores,
        client: ImageClient | None,
        *,
        quick: bool,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._request = request
        self._stores = stores
        self._client = client
        self._quick = quick
        self._spool = Spool(spool_folder(request.delivery), ledger.id)
        self._marker = Marker(ledger, store)
        self._orphans: list[tuple[int, FoundImage]] = []
        self._strangers: list[tuple[int, FoundImage]] = []
        self._behind: int | None = None
        self._missing: list[tuple[int, StoredImage]] = []
        self._unnoted: list[tuple[int, StoredImage, ObjectInfo | None]] = []
        self._objects = self._recorded = self._lost = self._archived = 0
        self.findings: list[Finding] = []

    # --- comparing --------------------------------------------------------------------------------------------------

    def settle_the_past(self) -> None:
        """Free what dead processes held, as far as the ledger knows them, and record the replies that they left."""
        RepairSession(self._ledger, self._stores, self._client, self._request, None).settle_the_past()

    def compare(self) -> None:
        """Find every difference."""
        if self._marker.is_ahead:
            self._behind = len(self.findings)
            self._find(FindingKind.BEHIND, MARKER_KEY, None, "the ledger does not know what was bought since")
        listed = {info.key: info for info in image_objects(self._store)}
        recorded = {row.key: row for row in self._ledger.deliveries.at(self._store.destination)}
        self._objects, self._recorded = len(listed), len(recorded)
        for key, row in recorded.items():
            if key not in listed:
                self._missing.append((len(self.findings), row))
                self._find(FindingKind.MISSING, key, row.image_id, "the ledger says that it is stored")
        there = [row for key, row in recorded.items() if key in listed]
        sound = [row for row in there if row.bytes in (None, listed[row.key].size)]
        for row in there:
            if row.bytes not in (None, listed[row.key].size):
                detail = f"{listed[row.key].size:,} bytes instead of {row.bytes:,}; {_IN_THE_WAY}"
                self._find(FindingKind.SIZE, row.key, row.image_id, detail)
        if not self._quick:
            for row, info in zip(sound, self._each(lambda row: self._store.head(row.key), sound), strict=True):
                if info is not None and info.sha256 and row.sha256 and info.sha256 != row.sha256:
                    detail = f"SHA-256 {info.sha256[:16]}… instead of {row.sha256[:16]}…; {_IN_THE_WAY}"
                    self._find(FindingKind.CHECKSUM, row.key, row.image_id, detail)
        self._unrecorded([info for key, info in listed.items() if key not in recorded])
        self._unnoted_deliveries(listed)

    def _unrecorded(self, infos: Sequence[ObjectInfo]) -> None:
        heads = infos if self._quick else self._each(lambda info: self._store.head(info.key) or info, infos)
        found = [(info, read_object(info)) for info in heads]
        call_ids = {image.call_id for _, image in found if image is not None}
        known = self._ledger.deliveries.statuses(call_ids, self._store.destination)
        archived = self._ledger.archives.places([image.item_id for _, image in found if image is not None])
        for info, image in found:
            if image is None or image.ledger_id not in (None, self._ledger.id):
                self._find(FindingKind.FOREIGN, info.key, None, "not an image of this ledger")
                continue
            if image.item_id in archived:
                self._archived += 1
                continue
            image_id = f"{image.call_id}-{image.index}"
            status = known.get((image.call_id, image.index))
            if status is None:
                self._strangers.append((len(self.findings), image))
                self._find(FindingKind.STRANGER, info.key, image_id, "the ledger does not know how the call ended")
            elif status.leased:
                continue  # on its way: its row is written in a moment
            else:
                self._orphans.append((len(self.findings), image))
                self._find(FindingKind.ORPHAN, info.key, image_id, f"an image that the ledger calls {status.state}")

    def _unnoted_deliveries(self, listed: dict[str, ObjectInfo]) -> None:
        """Images whose row, and so the catalog, says that they are here, without a delivery."""
        for image in self._ledger.deliveries.unrecorded_at(self._store.destination):
            self._unnoted.append((len(self.findings), image, listed.get(image.key)))
            self._find(FindingKind.CATALOG, image.key, image.image_id, "stored by its row, and no delivery is noted")

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
        self._take_in()
        self._restore()
        if self._behind is not None and all(self.findings[place].mended for place, _ in self._strangers):
            self._marker.catch_up()
            self._mended(self._behind, "all of it is taken in")

    def _mended(self, place: int, how: str) -> None:
        before = self.findings[place]
        self.findings[place] = Finding(before.kind, before.uri, before.image_id, before.detail, how)

    def _note_deliveries(self) -> None:
        for place, row, info in self._unnoted:
            if info is None or row.bytes not in (None, info.size):
                self._missing.append((place, row))
                continue
            self._ledger.deliveries.add(row, self._store.destination, self._store.uri(row.key))
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
            self._ledger.deliveries.reopen_items([image.item_id])
            self._ledger.images.finish([result])
            self._mended(place, "adopted")

    def _take_in(self) -> None:
        """Learn from objects what the ledger bought and does not know any more."""
        if not self._strangers:
            return
        found = [image for _, image in self._strangers]
        if self._quick:
            heads = self._each(lambda image: read_object(self._store.head(image.info.key) or image.info), found)
            found = [image for image in heads if image is not None and image.ledger_id in (None, self._ledger.id)]
        told = {call.id for call in take_in(self._ledger, self._store, found)}
        for place, image in self._strangers:
            if image.call_id in told:
                self._mended(place, "taken in")
            else:
                self._note(place, "its item is held by a process, or the ledger has another outcome of it")

    def _note(self, place: int, detail: str) -> None:
        before = self.findings[place]
        self.findings[place] = Finding(before.kind, before.uri, before.image_id, f"{before.detail}; {detail}")

    def _look_at(self, image: FoundImage, path: Path) -> StoredAt:
        """Read an object whole before the catalog vouches for it."""
        fetched = self._store.get(image.info.key, path)
        facts = inspect(fetched.path, max_pixels=MOST_COUNTED)  # it was accepted once
        found = examine(fetched.path)
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
            damage=facts.damage,
            c2pa=found.c2pa,
            c2pa_issuer=found.manifest.issuer,
            digital_source_type=found.source_type,
            marked="sidecar" if self._store.head(image.info.key + SIDECAR) is not None else None,
        )

    def _restore(self) -> None:
        """Forget that missing objects are there, then deliver them again from wherever their bytes can be had."""
        missing = [row for _, row in self._missing]
        if not missing:
            return
        self._store.preflight()
        self._ledger.deliveries.remove(missing, self._store.destination)
        session = RepairSession(self._ledger, self._stores, self._client, self._request, None)
        session.deliver(list(dict.fromkeys(row.item_id for row in missing)), at=self._store)
        statuses = self._ledger.deliveries.statuses({row.call_id for row in missing}, self._store.destination)
        for place, row in self._missing:
            status = statuses.get((row.call_id, row.index))
            reason = status.reason if status is not None else ""
            if status is not None and status.delivered:
                self._mended(place, "stored again")
            elif status is not None and status.state is ImageState.LOST:
                self._lost += 1
                self._note(place, f"marked lost: {reason}")
            else:
                self._note(place, f"not mended: {reason or 'its item is held, or no run has a destination for it'}")

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
            self._lost,
            self._archived,
            tuple(self.findings[:_LISTED]),
        )
