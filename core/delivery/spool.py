"""The spool: files between a paid reply and a confirmed object, on this machine's disk."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import BadInput
from ..files import SpoolUnavailable, bytes_in, make_private_folder, remove_left_over
from ..ledger import ImageResult, ImageState, Ledger
from ..purchase.replies import ReplySpool
from ..request import Delivery

_PROBE_BYTES = 4096  # an empty file can be made on a full disk


class Spool:
    """Folders for replies, downloaded images and quarantine, for one ledger.

    Args:
        root: Shared by all ledgers of a user.
        ledger_id: Two ledgers never share files.
        max_bytes: Most bytes of replies and images that wait here before nothing more is bought.

    Raises:
        BadInput: The folder cannot be made or written.
    """

    def __init__(self, root: Path, ledger_id: str, max_bytes: int = Delivery().spool_max_bytes) -> None:
        self._max_bytes = max_bytes
        self.folder = root / ledger_id
        self.images = self.folder / "images"
        self.quarantine = self.folder / "quarantine"
        try:
            self.replies = ReplySpool(self.folder / "replies")
            for folder in (self.images, self.quarantine):
                make_private_folder(folder)
            for folder in (self.folder, self.replies.folder, self.images):
                remove_left_over(folder)
            self._write_probe()
        except OSError as error:
            raise BadInput(
                f"the spool {self.folder} cannot be written ({error.strerror}); "
                "point PREFECT_IMAGEN_HOME at a folder that can"
            ) from None

    def _write_probe(self) -> None:
        probe = self.folder / f".writable-{uuid.uuid4().hex}"
        try:
            probe.write_bytes(b"\0" * _PROBE_BYTES)
        finally:
            probe.unlink(missing_ok=True)

    def used(self) -> int:
        """Bytes of replies and images; not of the quarantine, which only a person empties."""
        return self.replies.used() + bytes_in(self.images)

    def check(self) -> None:
        """Find out whether the spool takes what the next calls bring; meant to be polled.

        Raises:
            SpoolUnavailable: It is over its cap, full, or read-only.
        """
        used = self.used()
        if used > self._max_bytes:
            raise SpoolUnavailable(
                f"the spool {self.folder} holds {used:,} bytes, more than the {self._max_bytes:,} allowed: nothing is "
                "bought until more of it is stored (spool_max_bytes)"
            )
        try:
            self._write_probe()
        except OSError as error:
            raise SpoolUnavailable(f"the spool {self.folder} cannot be written: {error.strerror or error}") from None

    def image(self, image_id: str) -> Path:
        """Where an image lies between download and upload."""
        return self.images / image_id

    def move_to_quarantine(self, image_id: str) -> Path | None:
        """Move a file that is not an image to the quarantine; None if there is none."""
        target = self.quarantine / image_id
        try:
            shutil.move(self.image(image_id), target)
        except OSError:
            return None
        return target

    def purge(self, call_id: str) -> None:
        """Remove everything of a call: its reply, its images, what was set aside of it."""
        with contextlib.suppress(OSError):
            self.replies.delete(call_id)
        for folder in (self.images, self.quarantine):
            for path in folder.glob(f"{call_id}-*"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def close(self) -> None:
        """Leave what is here to the next run."""
        self.replies.close()

    def discard(self, *image_ids: str) -> None:
        """Remove files that are stored where they belong, or given up."""
        _remove(self.images, image_ids)

    def discard_quarantined(self, *image_ids: str) -> None:
        """Remove what was set aside of images that are stored now."""
        _remove(self.quarantine, image_ids)


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove those files of a folder that are there. Few images of a run were ever written here."""
    over = set(names)
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if path.name in over:
                with contextlib.suppress(OSError):
                    path.unlink()


def record(ledger: Ledger, spool: Spool, results: Sequence[ImageResult]) -> None:
    """Commit results to the catalog in one transaction, then remove the files that are no longer needed.

    In this order: what is written is safe to forget.

    Raises:
        LedgerUnavailable: Nothing was recorded; the files stay, and the next run finds them.
    """
    if not results:
        return
    ledger.images.finish(results)
    image_ids = {f"{result.call_id}-{result.index}": result.state for result in results}
    spool.discard(*(image_id for image_id, state in image_ids.items() if state is not ImageState.PENDING))
    # An earlier download of one that is stored may have been unreadable.
    spool.discard_quarantined(*(image_id for image_id, state in image_ids.items() if state is ImageState.STORED))
    call_ids = {result.call_id for result in results}
    # The ledger knows, the results do not: they may be a part of a reply's images only.
    for call_id in call_ids - ledger.images.pending_calls(sorted(call_ids)):
        spool.replies.delete(call_id)
