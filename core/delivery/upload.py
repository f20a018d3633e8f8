"""From a verified file to a confirmed object, create-only, and to what the catalog will say."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ImagenError
from ..images import EXTENSIONS, NotAnImage, save_bytes
from ..ledger import ImageResult, ImageState, ImageTask, StoredAt
from ..limits import Backoff, HealthGate, StopReason, StopSignal
from ..provenance import MarkMode
from ..storage import KeyTemplate, ObjectStore, Stored, StoreNotUsable, StoreUnavailable, header_value
from .files import FileState, ImageFile
from .sidecars import facts_of, put_sidecar
from .spool import Spool

_NOTE = 200
_ROOM = 1800
"""S3 takes 2,048 bytes of names and values (Amazon S3 user guide); the rest is for the checksum and the store's own."""


class Uploader:
    """Puts images into the store. Thread-safe; never calls the paid endpoint.

    Args:
        ledger_id: Written into each object's metadata, to say which ledger owns it.
        gate: Closed while the store fails; also holds back paid calls.
        patience: Seconds to wait for a failing store, for one image.
        run_tags: Returns the tags of the run, for stores that keep them with objects.
        source_of: Returns line and columns of the row that asked for an image, for keys that are made of them.
        marking: Returns how the run marks its images, as its row says; None for not at all.
        origin: Address of the API that the images come from, for their marks.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        keys: KeyTemplate,
        ledger_id: str,
        spool: Spool,
        gate: HealthGate,
        halt: StopSignal,
        patience: float,
        run_tags: Callable[[], Mapping[str, str]] = dict,
        source_of: Callable[[ImageTask], tuple[int | None, Mapping[str, Any]]] = lambda _: (None, {}),
        marking: Callable[[], Mapping[str, Any] | None] = lambda: None,
        origin: str | None = None,
        backoff: Backoff = Backoff(first=0.5, maximum=10.0),  # noqa: B008 - immutable
    ) -> None:
        self._store = store
        self._keys = keys
        self._ledger_id = ledger_id
        self._run_tags = run_tags
        self._source_of = source_of
        self._marking = marking
        self._origin = origin
        self._spool = spool
        self._gate = gate
        self._halt = halt
        self._patience = patience
        self._backoff = backoff

    def upload(self, file: ImageFile, data: bytes | None = None) -> ImageResult:
        """Store one image and say what became of it. Failures are data, not exceptions.

        Args:
            data: Its bytes, where they are not in the spool. They get there before anything is waited for.
        """
        if file.state is FileState.GONE:
            return self._found_or_lost(file)
        if file.state is FileState.READY:
            return self._put(file, data)
        state = ImageState.QUARANTINED if file.state is FileState.BAD else ImageState.PENDING
        return _result(file, state, reason=file.reason)

    def _key(self, file: ImageFile, ext: str) -> str:
        task = file.task
        line, row = self._source_of(task) if self._keys.needs_row else (None, {})
        return self._keys.key(
            model=task.model,
            item_id=task.item_id,
            call=task.call_id,
            index=task.index,
            ext=ext,
            edition=task.edition or "default",
            date=task.sent_on.isoformat(),
            sha256=file.sha256 or "unknown",
            slug=task.prompt,
            line=line,
            row=row,
        )

    def _put(self, file: ImageFile, data: bytes | None = None) -> ImageResult:
        if file.path is None:
            return _result(file, ImageState.PENDING, reason="the file left the spool")
        source: Path | bytes = file.path if data is None else data
        metadata = object_metadata(self._ledger_id, file)
        deadline = time.monotonic() + self._patience
        for tries in itertools.count(1):
            try:
                if isinstance(source, bytes) and (tries > 1 or self._gate.is_closed):
                    # What is paid is not kept in memory alone while a store is waited for.
                    source = save_bytes(source, file.path).path
                if not self._gate.wait(lambda: self._halt.is_stopped):
                    return _result(file, ImageState.PENDING, reason="the run stopped before the upload")
            except StoreNotUsable as error:
                return self._unusable(file, error)
            except (ImagenError, OSError) as error:
                return _result(file, ImageState.PENDING, reason=str(error))
            try:
                key = self._key(file, file.ext)
                # First: an image that is to be marked is never there without its mark.
                marked = self._mark(key, file)
                stored = self._store.put(
                    key,
                    source,
                    sha256=file.sha256,
                    content_type=file.content_type,
                    metadata=metadata,
                    run_tags=self._run_tags(),
                )
            except StoreUnavailable as error:
                self._gate.record_failure(error)
                # A store may answer the probe and refuse the put: the pause keeps this from being a tight loop.
                if time.monotonic() >= deadline or self._halt.pause(self._backoff.delay(tries)):
                    return _result(file, ImageState.PENDING, reason=str(error))
            except StoreNotUsable as error:
                return self._unusable(file, error)
            except (ImagenError, OSError) as error:
                return _result(file, ImageState.PENDING, reason=str(error))
            else:
                self._gate.record_success()
                return _result(file, ImageState.STORED, stored=self._stored_at(file, stored, marked))
        raise AssertionError("unreachable")

    def _unusable(self, file: ImageFile, error: StoreNotUsable) -> ImageResult:
        """Stop the run: a permission or the bucket is gone, so further images could not be stored."""
        self._halt.set(StopReason.STORE, str(error))
        return _result(file, ImageState.PENDING, reason=str(error))

    def _mark(self, key: str, file: ImageFile) -> str | None:
        """Write the sidecar, if the run wants one; returns how the image is marked now."""
        mark = self._marking()
        if mark is None:
            return None
        put_sidecar(self._store, key, facts_of(file, self._origin, mark), self._run_tags)
        return MarkMode.SIDECAR.value

    def _stored_at(self, file: ImageFile, stored: Stored, marked: str | None) -> StoredAt:
        return StoredAt(
            destination=self._store.destination,
            key=stored.key,
            uri=stored.uri,
            etag=stored.etag or None,
            content_type=file.content_type,
            width=file.width,
            height=file.height,
            bytes=file.bytes,
            sha256=file.sha256,
            damage=file.damage,
            c2pa=file.c2pa,
            c2pa_issuer=file.c2pa_issuer,
            digital_source_type=file.digital_source_type,
            marked=marked,
        )

    def _found_or_lost(self, file: ImageFile) -> ImageResult:
        """The source is dead, but a run that died after its upload may have stored the image."""
        if file.task.copy_from is not None:
            return _result(file, ImageState.PENDING, reason=file.reason)
        try:
            found = self._find(file)
        except NotAnImage as error:
            return _result(file, ImageState.LOST, reason=f"{file.reason}; the stored object is {error.reason}")
        except ImagenError as error:
            return _result(file, ImageState.PENDING, reason=str(error))
        if found is None:
            return _result(file, ImageState.LOST, reason=file.reason)
        return self._put(found)

    def _find(self, file: ImageFile) -> ImageFile | None:
        for ext in EXTENSIONS:
            key = self._key(file, ext)
            if self._store.head(key) is not None:
                return ImageFile.ready(file.task, self._store.get(key, self._spool.image(file.task.image_id)))
        return None


def _result(
    file: ImageFile, state: ImageState, *, stored: StoredAt | None = None, reason: str | None = None
) -> ImageResult:
    task = file.task
    return ImageResult(task.call_id, task.index, task.item_id, state, stored, reason)


def object_metadata(ledger_id: str, file: ImageFile) -> dict[str, str]:
    """What is written beside an image's bytes. A long prompt may not fit; the item's id still says which it is."""
    task = file.task
    metadata = {
        "ledger-id": ledger_id,
        "item-id": task.item_id,
        "call-id": task.call_id,
        "image-index": str(task.index),
        "sent-on": task.sent_on.isoformat(),
    }
    if file.width and file.height:
        metadata |= {"width": str(file.width), "height": str(file.height)}
    if file.damage:
        metadata["damage"] = file.damage[:_NOTE]
    used = sum(len(name) + len(value) for name, value in metadata.items())
    for name, value in task.facts.items():
        size = len(name) + len(header_value(value))
        if used + size <= _ROOM:
            metadata[name] = value
            used += size
    return metadata
