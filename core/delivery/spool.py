"""The spool: files between a paid reply and a confirmed object, on this machine's disk."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ..errors import BadInput
from ..purchase.replies import ReplySpool

__all__ = ["Spool"]


class Spool:
    """Folders for replies, downloaded images and quarantine, for one ledger.

    Args:
        root: Shared by all ledgers of a user.
        ledger_id: Two ledgers never share files.

    Raises:
        BadInput: The folder cannot be made or written.
    """

    def __init__(self, root: Path, ledger_id: str) -> None:
        self.folder = root / ledger_id
        self.images = self.folder / "images"
        self.quarantine = self.folder / "quarantine"
        try:
            self.replies = ReplySpool(self.folder / "replies")
            for folder in (self.images, self.quarantine):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.folder / ".writable"
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise BadInput(
                f"the spool {self.folder} cannot be written ({error.strerror}); "
                "point PREFECT_IMAGEN_HOME at a folder that can"
            ) from None

    def image(self, image_id: str) -> Path:
        """Where an image lies between download and upload."""
        return self.images / image_id

    def set_aside(self, image_id: str) -> Path | None:
        """Move a file that is not an image to the quarantine; None if there is none."""
        target = self.quarantine / image_id
        try:
            shutil.move(self.image(image_id), target)
        except OSError:
            return None
        return target

    def discard(self, image_id: str) -> None:
        """Remove a file that is stored where it belongs."""
        with contextlib.suppress(OSError):
            self.image(image_id).unlink()
