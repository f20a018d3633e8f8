"""The certificate that delivered copies are signed with."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from ..core.provenance import PictureSigner
from .travel import TravelsByName


class SigningCertificate(TravelsByName, Block):
    """A certificate with its private key, to sign pictures with (C2PA).

    Example:
        Load a saved certificate:
        ```python
        from prefect_imagen.blocks import SigningCertificate

        certificate = SigningCertificate.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Picture Signing Certificate"
    _block_type_slug = "picture-signing-certificate"
    _description = "Certificate and key that delivered copies are signed with."
    _documentation_url = "https://opensource.contentauthenticity.org/docs/signing/"  # type: ignore[assignment]

    certificate: str = Field(
        description="The certificate and those above it, without the root: the text of a PEM file.",
    )
    key: SecretStr = Field(description="Its private key, not encrypted: the text of a PEM file.")
    timestamp_url: str | None = Field(
        default=None, title="Time stamp service", description="Asked for each signature (RFC 3161)."
    )

    def get_signer(self) -> PictureSigner:
        """What signs with it.

        Raises:
            SigningNotPossible: The certificate does not fit the key or is not valid now, the time stamp service has no
                usable address, or the extra `c2pa` is not installed.
        """
        return PictureSigner(self.certificate.encode(), self.key.get_secret_value().encode(), self.timestamp_url)
