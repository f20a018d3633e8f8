"""Signing: a C2PA manifest by a certificate of the user's own, with the provider's manifest as its parent."""

from __future__ import annotations

import base64
import functools
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..http.errors import FetchRefused
from ..http.urls import WireUrl
from .errors import MarkRefused, SigningNotPossible
from .look import look
from .manifest import INSTALL, MIME, library
from .xmp import SOURCE_TYPES, Facts, properties

_PARENT = "original"
# A picture of one pixel, which shows whether a certificate can sign.
_DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
_TRIAL = Facts("trial", "", "", "", "", None, datetime(2026, 1, 1, tzinfo=UTC))


class PictureSigner:
    """Signs pictures with one certificate. Thread-safe; the key is never shown.

    Args:
        certificate: PEM text of the certificate, then of those above it, without the root.
        key: PEM text of its private key, not encrypted.
        timestamp_url: A time stamp service (RFC 3161), which every signature then asks.
        names: What messages call certificate and key.

    Raises:
        SigningNotPossible: The certificate does not fit the key or is not valid now, the time stamp service has no
            usable address, or the extra `c2pa` is not installed.
    """

    def __init__(
        self,
        certificate: bytes,
        key: bytes,
        timestamp_url: str | None = None,
        *,
        names: tuple[str, str] = ("the certificate", "the key"),
    ) -> None:
        if library() is None:
            raise SigningNotPossible(f"signing needs c2pa-python: {INSTALL}")
        if timestamp_url is not None:
            try:
                WireUrl.parse(timestamp_url)
            except FetchRefused as error:
                raise SigningNotPossible(f"the time stamp service: {error}") from None
        self._algorithm, self._chain, self._key = _checked(certificate, key, *names)
        # Each signature has an address to ask; the trial needs none.
        self._timestamp_url: str | None = None
        try:
            self.sign(_DOT, _DOT, _TRIAL)
        except MarkRefused as error:
            raise SigningNotPossible(f"{names[0]}: {error}") from None
        self._timestamp_url = timestamp_url

    @classmethod
    def from_files(cls, certificate: str, key: str, timestamp_url: str | None = None) -> PictureSigner:
        """Sign with a certificate and a key in PEM files.

        Raises:
            SigningNotPossible: A file cannot be read; and as above.
        """
        return cls(_content(certificate), _content(key), timestamp_url, names=(certificate, key))

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


def _checked(chain: bytes, key: bytes, certificate_name: str, key_name: str) -> tuple[bytes, bytes, bytes]:
    """C2PA's name of the algorithm that the key signs with; chain and key in the form that its library reads."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise SigningNotPossible(f"{certificate_name}: it is no PEM file of certificates") from None
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise SigningNotPossible(f"{key_name}: it is no PEM file of a private key, or the key is encrypted") from None
    certificate = certificates[0]
    if private.public_key() != certificate.public_key():
        raise SigningNotPossible(f"{key_name}: the key does not belong to the certificate {certificate_name}")
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        begin, end = certificate.not_valid_before_utc.date(), certificate.not_valid_after_utc.date()
        raise SigningNotPossible(f"{certificate_name}: it is valid from {begin} to {end}, and not today")
    if isinstance(private, ec.EllipticCurvePrivateKey):
        by_curve = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
        algorithm = by_curve.get(private.curve.name)
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        algorithm = b"ed25519"
    else:
        algorithm = b"ps256" if isinstance(private, rsa.RSAPrivateKey) else None
    if algorithm is None:
        raise SigningNotPossible(f"{key_name}: C2PA has no algorithm for a key of this kind")
    # A form's field of one line has taken the line ends away, and what stands before a certificate is no part of it.
    pem = Encoding.PEM
    return (
        algorithm,
        b"".join(one.public_bytes(pem) for one in certificates),
        private.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()),
    )
