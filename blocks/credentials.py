"""Keys to image APIs."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, PrivateAttr, SecretStr

from ..core.errors import BadInput
from ..core.providers import Endpoint, ImageClient, load_registry
from ..core.providers.providers import DEFAULT_PROVIDER
from ..core.request import DEFAULT_MODEL
from .travel import TravelsByName

_TIMEOUTS = ("connect_timeout", "read_timeout")


class _ApiCredentials(TravelsByName, CredentialsBlock):
    """What the credentials of all APIs have in common."""

    connect_timeout: float = Field(default=10.0, gt=0, le=120, description="Seconds to reach the host.")
    read_timeout: float = Field(
        default=180.0, gt=0, le=900, description="Seconds for an answer; image models take 3 to 60."
    )

    _clients: dict[str, ImageClient] = PrivateAttr(default_factory=dict)

    def endpoint(self, model: str = DEFAULT_MODEL) -> Endpoint:
        """Where a model is bought with these credentials.

        Raises:
            BadInput: Its provider speaks another protocol; a base URL that cannot be used.
        """
        raise NotImplementedError

    def _key(self) -> str:
        raise NotImplementedError

    def get_client(self, model: str = DEFAULT_MODEL, **kwargs: Any) -> ImageClient:
        """The client, made once a block and provider. Thread-safe; holds no more than one pool of connections.

        Args:
            model: What is to be bought; it decides whose client it is where one address serves several providers.
            kwargs: As of `ImageClient`.

        Raises:
            BadInput: The key or the base URL cannot be used.
        """
        endpoint = self.endpoint(model)
        name = endpoint.provider.name
        if name not in self._clients:
            timeouts = {field: getattr(self, field) for field in _TIMEOUTS}
            self._clients[name] = endpoint.open(self._key(), **timeouts, **kwargs)
        return self._clients[name]


class AimlApiCredentials(_ApiCredentials):
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
        default="https://api.aimlapi.com/v1",
        title="Base URL",
        description="Where the API is; the address of a sandbox for trying things.",
    )

    @classmethod
    def from_env(cls, **fields: Any) -> AimlApiCredentials:
        """Take the key from `AIMLAPI_API_KEY`, and the address from `AIMLAPI_BASE_URL` if that is set.

        Args:
            fields: Other fields; `base_url` goes before the environment.

        Raises:
            BadInput: It is not set.
        """
        provider = load_registry().provider(DEFAULT_PROVIDER)
        key = provider.key()
        if not key:
            raise BadInput(f"there is no API key: set {provider.key_variable}, or save an AimlApiCredentials block")
        if not fields.get("base_url"):
            fields["base_url"] = Endpoint.find(api=DEFAULT_PROVIDER).base_url
        return cls(api_key=SecretStr(key), **fields)

    def endpoint(self, model: str = DEFAULT_MODEL) -> Endpoint:
        return Endpoint.find(api=DEFAULT_PROVIDER, base_url=self.base_url, model=model)

    def _key(self) -> str:
        return self.api_key.get_secret_value()


class ImageApiCredentials(_ApiCredentials):
    """Protocol, address and key of an image API: OpenAI and its like, Gemini, a queue such as fal's, your own server.

    Example:
        A server of one's own, which asks for no key:
        ```python
        from prefect_imagen.blocks import ImageApiCredentials

        credentials = ImageApiCredentials(api="openai", base_url="http://gpu-box.lan:8000/v1")
        ```
    """

    _block_type_name = "Image API Credentials"
    _block_type_slug = "image-api-credentials"
    _description = "Protocol, address and key of an image API, for bulk image generation."

    api: Literal["aimlapi", "openai", "gemini", "queue"] = Field(
        title="Protocol", description="How the API is spoken to: aimlapi, openai, gemini or queue."
    )
    base_url: str | None = Field(
        default=None, title="Base URL", description="Where it is; empty for the protocol's own provider."
    )
    api_key: SecretStr | None = Field(
        default=None, title="API key", description="Empty for a server that asks for none."
    )

    def endpoint(self, model: str = DEFAULT_MODEL) -> Endpoint:
        return Endpoint.find(api=self.api, base_url=self.base_url, model=model)

    def _key(self) -> str:
        return self.api_key.get_secret_value() if self.api_key is not None else ""

    def _holds_secret(self) -> bool:
        return self.api_key is not None


ApiCredentials = AimlApiCredentials | ImageApiCredentials
"""Credentials of any image API."""


def credentials_for(endpoint: Endpoint, key: str | None = None) -> ApiCredentials:
    """The block for an endpoint.

    Args:
        endpoint: The API.
        key: None: that of the environment.
    """
    key = endpoint.provider.key() if key is None else key
    if endpoint.provider.name == DEFAULT_PROVIDER:
        return AimlApiCredentials(api_key=SecretStr(key), base_url=endpoint.base_url)
    return ImageApiCredentials(
        api=endpoint.provider.api, base_url=endpoint.base_url, api_key=SecretStr(key) if key else None
    )


def credentials_from_environment(model: str = DEFAULT_MODEL) -> ApiCredentials:
    """What the environment has for the provider of a model.

    Raises:
        BadInput: There is no key, and one is needed.
    """
    endpoint = Endpoint.find(model=model)
    if endpoint.provider.name == DEFAULT_PROVIDER:
        return AimlApiCredentials.from_env()
    endpoint.open().close()  # says if there is no key
    return credentials_for(endpoint)
