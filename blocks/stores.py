"""Where images go."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from ..core.errors import BadInput
from ..core.storage import LocalStore, ObjectOptions, ObjectStore, S3Options, S3Store
from ..core.storage.object_options import SSE, StorageClass

__all__ = ["LocalImageStore", "S3ImageStore", "store_block"]


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


class S3ImageStore(Block):
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

    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field(default="", description="Goes before every object's key.")
    endpoint_url: str | None = Field(
        default=None, title="Endpoint URL", description="Address of an S3 server that is not AWS."
    )
    region: str | None = Field(default=None, description="Region; else from the environment or the profile.")
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto", description="How the bucket stands in the URL; `path` for most servers that are not AWS."
    )
    access_key_id: SecretStr | None = Field(
        default=None, title="Access key id", description="For servers that are not AWS; else the AWS chain is used."
    )
    secret_access_key: SecretStr | None = Field(
        default=None, title="Secret access key", description="Belongs to the access key id."
    )
    session_token: SecretStr | None = Field(default=None, description="For temporary keys.")
    profile: str | None = Field(default=None, description="A profile of the AWS configuration files.")
    role_arn: str | None = Field(
        default=None, title="Role ARN", description="A role to assume; renewed as long as a run takes."
    )
    external_id: str | None = Field(default=None, description="If the role asks for one.")
    sse: SSE | None = Field(
        default=None,
        title="Server-side encryption",
        description="AES256 (SSE-S3) or KMS, said with each object; else the bucket's default.",
    )
    kms_key_id: str | None = Field(default=None, title="KMS key", description="Key id, alias or ARN; with KMS only.")
    storage_class: StorageClass | None = Field(default=None, description="Of the images; else the bucket's default.")
    object_tags: dict[str, str] = Field(default_factory=dict, description="Tags of every image; S3 takes at most 10.")
    run_tags: bool = Field(default=False, description="Put the tags of a run onto its images, too.")
    multipart_bytes: int = Field(
        default=64 * 1024 * 1024, description="Objects of this size or more are sent in parts, each with a checksum."
    )

    def get_store(self) -> ObjectStore:
        """The store. Nothing is connected yet.

        Raises:
            BadInput: Bucket, prefix or options do not fit.
        """
        options = S3Options(
            endpoint_url=self.endpoint_url,
            region=self.region,
            addressing_style=self.addressing_style,
            access_key_id=_reveal(self.access_key_id),
            secret_access_key=_reveal(self.secret_access_key),
            session_token=_reveal(self.session_token),
            profile=self.profile,
            role_arn=self.role_arn,
            external_id=self.external_id,
        )
        how = ObjectOptions(
            sse=self.sse,
            kms_key_id=self.kms_key_id,
            storage_class=self.storage_class,
            object_tags=self.object_tags,
            run_tags=self.run_tags,
            multipart_bytes=self.multipart_bytes,
        )
        return S3Store(self.bucket, self.prefix, options, how)


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
