"""From a paid reply to a confirmed object: download, verify, upload, catalog. Nothing in here spends money."""

from .catalog import record
from .conveyor import Conveyor
from .download import Downloader
from .files import FileState, ImageFile
from .spool import MAX_BYTES, Spool
from .upload import Uploader

__all__ = ["MAX_BYTES", "Conveyor", "Downloader", "FileState", "ImageFile", "Spool", "Uploader", "record"]
