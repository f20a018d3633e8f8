"""One task a step: real Prefect tasks (`.map`, `.submit`, `.with_options`), useful alone in flows of one's own."""

from ..core.run.results import Batch, Cataloged, Downloaded, Generated, PlannedRun, Rewritten, Uploaded
from .check import check_images
from .expand import expand_prompts
from .provenance import check_provenance
from .runtime import StepUnavailable
from .steps import catalog_images, download_images, generate_images, rewrite_prompts, upload_images
from .thumbnails import make_thumbnails

__all__ = [
    "Batch",
    "Cataloged",
    "Downloaded",
    "Generated",
    "PlannedRun",
    "Rewritten",
    "StepUnavailable",
    "Uploaded",
    "catalog_images",
    "check_images",
    "check_provenance",
    "download_images",
    "expand_prompts",
    "generate_images",
    "make_thumbnails",
    "rewrite_prompts",
    "upload_images",
]
