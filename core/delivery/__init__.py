"""From a paid reply to a confirmed object: download, verify, upload, catalog. Nothing in here spends money."""

from .download import Downloader
from .files import FileState, ImageFile
from .marker import MARKER_KEY, Mark, Marker
from .queue import DeliveryQueue
from .spool import Spool, record
from .upload import Uploader

__all__ = [
    "MARKER_KEY",
    "DeliveryQueue",
    "Downloader",
    "FileState",
    "ImageFile",
    "Mark",
    "Marker",
    "Spool",
    "Uploader",
    "record",
]
