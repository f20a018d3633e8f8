"""The key to the API."""

from __future__ import annotations

import os
from typing import Any

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, PrivateAttr, SecretStr

from ..core.errors import BadInput
from ..core.providers import DEFAULT_BASE_URL
from ..core.providers.aimlapi import AimlApiClient
from .travel import TravelsByName

KEY_VARIABLE = "AIMLAPI_API_KEY"
URL_VARIABLE = "AIMLAPI_BASE_URL"


class AimlApiCredentials(TravelsByName, CredentialsBlock):
    """Key and address of the AI/ML API (`api.aimlapi.com`), or of a sandbox that stands in for it.

    Example:
        Load the saved key:
        ```python
        from prefect_imagen.blocks import AimlApiCredentials

        credentials = AimlApiCredentials.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "AIML API Credentials"
    _block_type_slug = "aimlapi-credentials"
    _description = "Key and address of the AI/ML API, for bulk image generation."
    _documentation_url = "https://docs.aimlapi.com/"  # type: ignore[assignment]

    api_key: SecretStr = Field(title="API key", description="Bearer key of the AI/ML API.")
    base_url: str = Field(
        default=DEFAULT_BASE_URL,
        title="Base URL",
        description="Where the API is; the address of a sandbox for trying things.",
    )
    connect_timeout: float = Field(default=10.0, gt=0, le=120, description="Seconds to reach the host.")
    read_timeout: float = Field(
        default=180.0, gt=0, le=900, description="Seconds for an answer; image models take 3 to 60."
    )

    _client: AimlApiClient | None = PrivateAttr(default=None)

    @classmethod
    def from_env(cls, **fields: Any) -> AimlApiCredentials:
        """Take the key from `AIMLAPI_API_KEY`, and the address from `AIMLAPI_BASE_URL` if that is set.

        Args:
            fields: Other fields; `base_url` goes before the environment.

        Raises:
            BadInput: It is not set.
        """
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key:
            raise BadInput(f"there is no API key: set {KEY_VARIABLE}, or save an AimlApiCredentials block")
        if not fields.get("base_url"):
            fields["base_url"] = os.environ.get(URL_VARIABLE, "").strip() or DEFAULT_BASE_URL
        return cls(api_key=SecretStr(key), **fields)

    def get_client(self, *args: Any, **kwargs: Any) -> AimlApiClient:
        """The client, made once a block. Thread-safe; holds no more than one pool of connections.

        Raises:
            BadInput: The key or the base URL cannot be used.
        """
        if self._client is None:
            self._client = AimlApiClient(
                self.api_key.get_secret_value(),
                base_url=self.base_url,
                connect_timeout=self.connect_timeout,
                read_timeout=self.read_timeout,
            )
        return self._client
