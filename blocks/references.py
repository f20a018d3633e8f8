"""How blocks travel: by name, never by value.

A task gets a block, or its name. What is handed on to other tasks is a *reference*: the slug of a saved block, the word
`env`, a plain address, or a token that only this process can turn back into an unsaved block. So no secret is ever in
a task's parameters or in what a distributed task runner pickles.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.blocks.core import Block
from pydantic import SecretStr

from ..core.errors import BadInput
from ..core.ledger import has_password
from ..core.provenance import MarkMode, PictureSigner
from ..core.request import DEFAULT_MODEL
from .catalog import ImageCatalog
from .credentials import AimlApiCredentials, ApiCredentials, ImageApiCredentials, credentials_from_environment
from .signing import SigningCertificate
from .stores import LocalImageStore, S3ImageStore, store_block

ENV = "env"
"""Reference to what the environment says."""

_PREFIX = "unsaved:"
_lock = threading.Lock()
_unsaved: dict[str, Block] = {}

B = TypeVar("B", bound=Block)


@contextmanager
def references(*blocks: Block | str | None) -> Iterator[list[str | None]]:
    """Turn blocks into references that are good as long as the context lasts."""
    tokens: list[str] = []
    made: list[str | None] = []
    for block in blocks:
        if block is None or isinstance(block, str):
            made.append(block)
            continue
        saved = getattr(block, "_block_document_name", None)
        if saved and not getattr(block, "_is_anonymous", False):
            made.append(f"{block.get_block_type_slug()}/{saved}")
            continue
        token = f"{_PREFIX}{secrets.token_hex(8)}"
        with _lock:
            _unsaved[token] = block
        tokens.append(token)
        made.append(token)
    try:
        yield made
    finally:
        with _lock:
            for token in tokens:
                _unsaved.pop(token, None)


def _unsaved_block(token: str, what: str) -> Block:
    with _lock:
        block = _unsaved.get(token)
    if block is None:
        raise BadInput(f"an unsaved {what} cannot travel to another process: save the block and pass its name")
    return block


def _load(reference: str, kind: type[B]) -> B:
    """A saved block by name, with or without the slug before it."""
    name = reference.removeprefix(f"{kind.get_block_type_slug()}/")
    try:
        loaded = kind.load(name)
    except ValueError as error:
        raise BadInput(f"there is no {kind.__name__} block called {name!r}: {error}") from None
    if not isinstance(loaded, kind):
        raise BadInput(f"the block {reference!r} is not a {kind.__name__}")
    return loaded


def credentials_block(reference: ApiCredentials | str | None, model: str = DEFAULT_MODEL) -> ApiCredentials:
    """Credentials from a block, its slug, or the environment (None and `env`).

    Args:
        reference: A name without a slug is that of an `AimlApiCredentials` block.
        model: What is to be bought: which of the keys of the environment is meant.

    Raises:
        BadInput: No such block, or no key in the environment.
    """
    if isinstance(reference, ApiCredentials):
        return reference
    if reference is None or reference == ENV:
        return credentials_from_environment(model)
    if reference.startswith(_PREFIX):
        block = _unsaved_block(reference, "credentials block")
        if not isinstance(block, ApiCredentials):
            raise BadInput(f"AimlApiCredentials are needed here, or ImageApiCredentials, not a {type(block).__name__}")
        return block
    if reference.startswith(f"{ImageApiCredentials.get_block_type_slug()}/"):
        return _load(reference, ImageApiCredentials)
    return _load(reference, AimlApiCredentials)


def image_store_block(reference: S3ImageStore | LocalImageStore | str) -> S3ImageStore | LocalImageStore:
    """A store from a block, its slug (`s3-image-store/main`), or an address (`s3://bucket/prefix`, a path).

    Raises:
        BadInput: No such block; not an address.
    """
    if not isinstance(reference, str):
        return reference
    kind: type[S3ImageStore | LocalImageStore]
    for kind in (S3ImageStore, LocalImageStore):
        if reference.startswith(f"{kind.get_block_type_slug()}/"):
            return _load(reference, kind)
    if reference.startswith(_PREFIX):
        block = _unsaved_block(reference, "image store")
        if not isinstance(block, S3ImageStore | LocalImageStore):
            raise BadInput(f"an image store is needed here, not a {type(block).__name__}")
        return block
    return store_block(reference)


def catalog_block(reference: ImageCatalog | str | None) -> ImageCatalog:
    """A catalog from a block, its slug (`image-catalog/main`), an address, or this user's own (None).

    Raises:
        BadInput: No such block; an address with a password in it, which would end up in logs and parameters.
    """
    if isinstance(reference, ImageCatalog):
        return reference
    if reference is None:
        return ImageCatalog.default()
    if reference.startswith(f"{ImageCatalog.get_block_type_slug()}/"):
        return _load(reference, ImageCatalog)
    if reference.startswith(_PREFIX):
        block = _unsaved_block(reference, "ImageCatalog block")
        if not isinstance(block, ImageCatalog):
            raise BadInput(f"an ImageCatalog is needed here, not a {type(block).__name__}")
        return block
    if has_password(reference):
        raise BadInput(
            "a catalog URL with a password, or with options that may hold one, belongs into an ImageCatalog block, not "
            "into a parameter"
        )
    return ImageCatalog(url=SecretStr(reference))


def picture_signer(
    mark: MarkMode, certificate: SigningCertificate | str | None, key: str | None, timestamp_url: str | None
) -> PictureSigner | None:
    """What signs the copies of a delivery; None where they are not signed.

    Args:
        mark: How copies are marked.
        certificate: A block, its slug (`picture-signing-certificate/main`), or the path of a PEM file.
        key: Path of the private key's PEM file, with that of a certificate.
        timestamp_url: A time stamp service, in place of the block's.

    Raises:
        BadInput: They do not go together; there is no such block.
        SigningNotPossible: They cannot sign.
    """
    if mark is not MarkMode.C2PA:
        if certificate is not None or key is not None or timestamp_url is not None:
            raise BadInput("certificate, key and time stamp service go with the mark c2pa")
        return None
    if isinstance(certificate, str) and certificate.startswith(f"{SigningCertificate.get_block_type_slug()}/"):
        certificate = _load(certificate, SigningCertificate)
    if isinstance(certificate, str) and key is not None:
        return PictureSigner.from_files(certificate, key, timestamp_url)
    if not isinstance(certificate, SigningCertificate) or key is not None:
        slug = SigningCertificate.get_block_type_slug()
        raise BadInput(f"the mark c2pa goes with a certificate and its key: two PEM files, or a block ({slug}/NAME)")
    if timestamp_url is not None:
        certificate = certificate.model_copy(update={"timestamp_url": timestamp_url})
    return certificate.get_signer()
