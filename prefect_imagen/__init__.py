"""Bulk image generation for Prefect, with a ledger of every paid call.

The names that users need are imported from here, and each is loaded when it is first asked for: `import prefect_imagen`
alone imports neither Prefect nor SQLAlchemy.

Example:
    >>> from prefect_imagen import Limits, RunRequest
    >>> RunRequest(aspect_ratio="16:9", limits=Limits(concurrency=16)).limits.concurrency
    16
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from .blocks import AimlApiCredentials as AimlApiCredentials
    from .blocks import ImageApiCredentials as ImageApiCredentials
    from .blocks import ImageCatalog as ImageCatalog
    from .blocks import LocalImageStore as LocalImageStore
    from .blocks import S3ImageStore as S3ImageStore
    from .blocks import SigningCertificate as SigningCertificate
    from .core.errors import BadInput as BadInput
    from .core.errors import ImagenError as ImagenError
    from .core.errors import Unavailable as Unavailable
    from .core.request import ChainStep as ChainStep
    from .core.request import CheckOptions as CheckOptions
    from .core.request import Delivery as Delivery
    from .core.request import ImageChoice as ImageChoice
    from .core.request import ImageOptions as ImageOptions
    from .core.request import Limits as Limits
    from .core.request import Policy as Policy
    from .core.request import PromptOptions as PromptOptions
    from .core.request import Rewrite as Rewrite
    from .core.request import RunRequest as RunRequest
    from .core.run.report import IncompleteRun as IncompleteRun
    from .core.run.report import RunReport as RunReport
    from .flows import imagen_chain as imagen_chain
    from .flows import imagen_deliver as imagen_deliver
    from .flows import imagen_fanout as imagen_fanout
    from .flows import imagen_pipeline as imagen_pipeline
    from .flows import imagen_provenance as imagen_provenance
    from .flows import imagen_regenerate as imagen_regenerate
    from .flows import imagen_repair as imagen_repair
    from .flows import imagen_review as imagen_review
    from .flows import imagen_review_chain as imagen_review_chain
    from .flows import imagen_review_resume as imagen_review_resume
    from .tasks import catalog_images as catalog_images
    from .tasks import check_images as check_images
    from .tasks import check_provenance as check_provenance
    from .tasks import download_images as download_images
    from .tasks import expand_prompts as expand_prompts
    from .tasks import generate_images as generate_images
    from .tasks import make_thumbnails as make_thumbnails
    from .tasks import rewrite_prompts as rewrite_prompts
    from .tasks import upload_images as upload_images

_NAMES = {
    "flows": """imagen_chain imagen_deliver imagen_fanout imagen_pipeline imagen_provenance imagen_regenerate
        imagen_repair imagen_review imagen_review_chain imagen_review_resume""",
    "tasks": """catalog_images check_images check_provenance download_images expand_prompts generate_images
        make_thumbnails rewrite_prompts upload_images""",
    "blocks": "AimlApiCredentials ImageApiCredentials ImageCatalog LocalImageStore S3ImageStore SigningCertificate",
    "core.request": """ChainStep CheckOptions Delivery ImageChoice ImageOptions Limits Policy PromptOptions Rewrite
        RunRequest""",
    "core.run.report": "IncompleteRun RunReport",
    "core.errors": "BadInput ImagenError Unavailable",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("prefect-imagen")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
