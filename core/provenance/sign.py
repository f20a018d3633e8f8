"""Signing: a C2PA manifest by a certificate of the user's own, with the provider's manifest as its parent."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import MarkRefused, SigningNotPossible
from .look import look
from .manifest import INSTALL, MIME, library
from .xmp import SOURCE_TYPES, Facts, properties

_PARENT = "original"


@dataclass(frozen=True, slots=True)
class SigningFiles:
    """Where certificate and key are.

    Attributes:
        certificate: PEM file with the certificate, then those above it, without the root.
        key: PEM file with its private key, not encrypted.
        timestamp_url: A time stamp service (RFC 3161), which every signature then asks.
    """

    certificate: str
    key: str
    timestamp_url: str | None = None


class PictureSigner:
    """Signs pictures with one certificate. Thread-safe; the key is never shown.

    Args:
        files: Where it is.

    Raises:
        SigningNotPossible: A file cannot be read, the certificate does not fit the key or is not valid now, or the
            extra `c2pa` is not installed.
    """

    def __init__(self, files: SigningFiles) -> None:
        if library() is None:
            raise SigningNotPossible(f"signing needs c2pa-python: {INSTALL}")
        self._chain, self._key = _content(files.certificate), _content(files.key)
        self._timestamp_url = files.timestamp_url
        self._algorithm = _checked(files, self._chain, self._key)

    def __repr__(self) -> str:
        return "PictureSigner()"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a PictureSigner holds a private key and is not pickled")

    def sign(self, original: bytes, prepared: bytes, facts: Facts) -> bytes:
        """Sign a copy.

        Args:
            original: As the provider sent it; its manifest becomes the parent's.
            prepared: What is signed: the original, or with XMP in it.
            facts: What the manifest says.

        Raises:
            MarkRefused: It cannot be signed; the message says why.
        """
        c2pa, seen = library(), look(original)
        if seen.kind is None:
            raise MarkRefused("it is no PNG, JPEG or WebP file")
        mime = MIME[seen.kind]
        out = io.BytesIO()
        try:
            builder = c2pa.Builder(_manifest(facts, parent=seen.c2pa), _writing())
            if seen.c2pa:
                parent = {"relationship": "parentOf", "label": _PARENT, "instance_id": _PARENT}
                builder.add_ingredient(parent, mime, io.BytesIO(original))
            info = c2pa.C2paSignerInfo(self._algorithm, self._chain, self._key, self._timestamp_url)
            builder.sign(c2pa.Signer.from_info(info), mime, io.BytesIO(prepared), out)
        except c2pa.C2paError as error:
            raise MarkRefused(f"it cannot be signed: {error}") from None
        return out.getvalue()


@functools.cache
def _writing() -> Any:
    """How manifests are made: without thumbnails, and nothing is fetched but time stamps."""
    verify = {"remote_manifest_fetch": False, "ocsp_fetch": False}
    settings = {"builder": {"thumbnail": {"enabled": False}}, "verify": verify}
    return library().Context(library().Settings.from_dict(settings))


def _manifest(facts: Facts, *, parent: bool) -> dict[str, Any]:
    said = properties(facts)
    created = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPES + facts.source_type,
        "softwareAgent": {"name": facts.model, "version": facts.version},
    }
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}}
    name, _, version = said["xmp:CreatorTool"].partition(" ")
    return {
        "title": facts.image_id,
        "claim_generator_info": [{"name": name, "version": version}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened if parent else created]}}],
    }


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SigningNotPossible(f"{path} cannot be read: {error.strerror or error}") from None


def _checked(files: SigningFiles, chain: bytes, key: bytes) -> bytes:
    """C2PA's name of the algorithm that the key signs with."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise SigningNotPossible(f"{files.certificate}: it is no PEM file of certificates") from None
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise SigningNotPossible(f"{files.key}: it is no PEM file of a private key, or the key is encrypted") from None
    if private.public_key() != certificate.public_key():
        raise SigningNotPossible(f"{files.key}: the key does not belong to the certificate {files.certificate}")
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        begin, end = certificate.not_valid_before_utc.date(), certificate.not_valid_after_utc.date()
        raise SigningNotPossible(f"{files.certificate}: it is valid from {begin} to {end}, and not today")
    if isinstance(private, ec.EllipticCurvePrivateKey):
        by_curve = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
        algorithm = by_curve.get(private.curve.name)
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        algorithm = b"ed25519"
    else:
        algorithm = b"ps256" if isinstance(private, rsa.RSAPrivateKey) else None
    if algorithm is None:
        raise SigningNotPossible(f"{files.key}: C2PA has no algorithm for a key of this kind")
    return algorithm
