"""What a user saves in Prefect: credentials, where images go, where the catalog is, what signs.

This module is the package's `prefect.collections` entry point, so that every process that has the package installed
knows these block types.
"""

from .catalog import ImageCatalog
from .credentials import AimlApiCredentials, ImageApiCredentials
from .signing import SigningCertificate
from .stores import LocalImageStore, S3ImageStore

__all__ = [
    "AimlApiCredentials",
    "ImageApiCredentials",
    "ImageCatalog",
    "LocalImageStore",
    "S3ImageStore",
    "SigningCertificate",
]
