"""Where images go."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Field

from ..core.errors import BadInput
from ..core.storage import LocalStore, ObjectStore, S3Store
from ..core.store_options import ObjectOptions, ObjectWriting, S3Access, S3Options, StoreOptions
from .travel import TravelsByName


class _Place(BaseModel):
    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field(default="", description="Goes before every object's key.")


class S3ImageStore(TravelsByName, StoreOptions, _Place, Block):
    """A place in an S3 bucket, on AWS or any server that speaks S3.

    Without key and secret the AWS chain is used: environment, profile, role of the machine.

    Example:
        Load a saved place:
        ```python
        from prefect_imagen.blocks import S3ImageStore

        store = S3ImageStore.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "S3 Image Store"
    _block_type_slug = "s3-image-store"
    _description = "A bucket and prefix that generated images are delivered to."
    _documentation_url = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html"  # type: ignore[assignment]

    model_config = ConfigDict(frozen=False)

    def _holds_secret(self) -> bool:
        return self.holds_key

    def get_store(self) -> ObjectStore:
        """The store. Nothing is connected yet.

        Raises:
            BadInput: Bucket, prefix or options do not fit.
        """
        access = {name: getattr(self, name) for name in S3Access.model_fields}
        writing = {name: getattr(self, name) for name in ObjectWriting.model_fields}
        return S3Store(self.bucket, self.prefix, S3Options(**access), ObjectOptions(**writing))


class LocalImageStore(Block):
    """A folder on this machine, with the same promises as a bucket: nothing is overwritten, nothing is half there.

    Example:
        Load a saved folder:
        ```python
        from prefect_imagen.blocks import LocalImageStore

        store = LocalImageStore.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Local Image Store"
    _block_type_slug = "local-image-store"
    _description = "A folder that generated images are delivered to."
    _documentation_url = "https://docs.python.org/3/library/pathlib.html"  # type: ignore[assignment]

    folder: str = Field(description="Path of the folder; made if it is not there.")

    def get_store(self) -> ObjectStore:
        """The store.

        Raises:
            BadInput: The path cannot be used.
        """
        return LocalStore(Path(self.folder).expanduser())


def store_block(uri: str, *, endpoint_url: str | None = None) -> S3ImageStore | LocalImageStore:
    """The block for a destination as one types it: `s3://bucket/prefix`, `file:///folder` or the path of a folder.

    Args:
        uri: Destination.
        endpoint_url: Address of an S3 server that is not AWS; path addressing is then used.

    Raises:
        BadInput: Another scheme, or an endpoint for a folder.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        style: Literal["auto", "path"] = "path" if endpoint_url else "auto"
        return S3ImageStore(bucket=bucket, prefix=prefix, endpoint_url=endpoint_url, addressing_style=style)
    if endpoint_url:
        raise BadInput(f"an S3 endpoint goes with s3://bucket/prefix, not with {uri}")
    if separator and scheme != "file":
        raise BadInput(f"{uri}: images go to s3://bucket/prefix or to a folder, not to {scheme}://")
    if not uri.strip():
        raise BadInput("the destination is empty: give s3://bucket/prefix or a folder")
    return LocalImageStore(folder=unquote(urlsplit(uri).path) if separator else uri)
