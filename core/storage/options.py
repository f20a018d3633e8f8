"""How to reach an S3 store."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from ..errors import BadInput

AddressingStyle = Literal["auto", "path", "virtual"]
_SECRET = ("access_key_id", "secret_access_key", "session_token", "external_id")


@dataclass(frozen=True, repr=False)
class S3Options:
    """Everything about an S3 store but bucket and prefix; all parts may be left out.

    Attributes:
        endpoint_url: For a store that is not AWS, `http://127.0.0.1:8333` for instance.
        region: Else from the environment or the profile.
        addressing_style: `path` for most stores that are not AWS, `virtual`, or `auto`.
        access_key_id: With `secret_access_key`; without both, the AWS chain decides (environment, profile, role).
        secret_access_key: See above. Never shown.
        session_token: For temporary keys.
        profile: A named profile of the AWS configuration files.
        role_arn: A role to assume with these credentials; it is assumed again before it expires.
        external_id: That the role's owner asks for. Not a secret, but not shown either.
        role_session_name: How the role's use is called in the owner's logs.

    Raises:
        BadInput: An unknown style, half a key pair, an endpoint that is more than scheme, host and port, or a role that
            is none.
    """

    endpoint_url: str | None = None
    region: str | None = None
    addressing_style: AddressingStyle = "auto"
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    role_session_name: str = "prefect-imagen"

    def __post_init__(self) -> None:
        if self.addressing_style not in ("auto", "path", "virtual"):
            raise BadInput(f"addressing_style {self.addressing_style!r}: use 'auto', 'path' or 'virtual'")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise BadInput("access_key_id and secret_access_key belong together: give both or none")
        if self.session_token and not self.access_key_id:
            raise BadInput("session_token needs access_key_id and secret_access_key")
        if self.endpoint_url and not re.fullmatch(r"https?://[^/@?#\s]+/?", self.endpoint_url):
            raise BadInput("endpoint_url must be http:// or https:// with host and port, without path or credentials")
        if self.role_arn and not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}", self.role_arn):
            raise BadInput(f"role_arn {self.role_arn[:100]!r}: a role is arn:aws:iam::ACCOUNT:role/NAME")
        if self.external_id and not self.role_arn:
            raise BadInput("external_id goes with role_arn")
        if self.external_id and not re.fullmatch(r"[\w+=,.@:/-]{2,1224}", self.external_id):
            raise BadInput("external_id: 2 to 1,224 letters, digits and + = , . @ : / -")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", self.role_session_name):
            raise BadInput("role_session_name: 2 to 64 letters, digits and + = , . @ -")

    def __repr__(self) -> str:
        shown = (
            f"{item.name}={'********' if item.name in _SECRET else repr(value)}"
            for item in fields(self)
            if (value := getattr(self, item.name)) is not None
        )
        return f"S3Options({', '.join(shown)})"
