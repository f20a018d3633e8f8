"""Signed pictures, as providers send them: a C2PA manifest by a certificate of the sandbox's own.

Keys are made when the sandbox starts and are never written anywhere: nobody can take such a signature for a real one.
"""

from __future__ import annotations

import datetime
import io
from dataclasses import dataclass
from typing import Any

from ..core.errors import BadInput
from ..core.provenance.manifest import INSTALL, library
from ..core.provenance.xmp import GENERATED, SOURCE_TYPES

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, and the root above it; all PEM.

    Attributes:
        chain: The certificate, then its root.
        key: Of the certificate.
        root: What has to be trusted.
    """

    chain: bytes
    key: bytes
    root: bytes


def make_identity(organization: str, *, days: int = 30) -> Identity:
    """Make a root and a certificate below it, as C2PA wants them.

    Args:
        organization: Whom the certificate names.
        days: How long the certificate holds from now on; with a negative number it has expired.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def named(what: str) -> x509.Name:
        name = f"{organization} {what}"
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )

    def certificate(subject: str, key: Any, above: Any, until: datetime.datetime, *, is_root: bool) -> x509.Certificate:
        others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * _DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False)
        )
        if not is_root:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(above, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("root", root_key, root_key, now + 3650 * _DAY, is_root=True)
    leaf = certificate("signer", key, root_key, now + days * _DAY, is_root=False)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Identity(leaf.public_bytes(pem) + root.public_bytes(pem), secret, root.public_bytes(pem))


class PictureSigner:
    """Signs the sandbox's pictures.

    Raises:
        BadInput: The extra `c2pa` is not installed.
    """

    def __init__(self, organization: str = "prefect-imagen sandbox") -> None:
        if library() is None:
            raise BadInput(f"signed pictures need c2pa-python: {INSTALL}")
        self.identity = make_identity(organization)

    def sign(self, data: bytes, content_type: str, model: str) -> bytes:
        """The picture with a manifest that says which model made it."""
        return sign(data, content_type, model, self.identity)


def sign(data: bytes, content_type: str, model: str, identity: Identity) -> bytes:
    """A picture with a manifest as a provider's."""
    c2pa = library()
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + GENERATED, "softwareAgent": {"name": model}}
    manifest = {
        "claim_generator_info": [{"name": "prefect-imagen sandbox"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    context = c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", identity.chain, identity.key, None))
    out = io.BytesIO()
    c2pa.Builder(manifest, context).sign(signer, content_type, io.BytesIO(data), out)
    return out.getvalue()
