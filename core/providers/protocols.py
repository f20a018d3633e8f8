"""The protocols that are known, each in a folder here, and the way from what a user names to a client."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, ImagenError
from ..request import DEFAULT_MODEL
from .addresses import normalise_base_url
from .aimlapi import AimlApiClient
from .catalog import ProviderCatalog
from .client import ImageClient
from .gemini import GeminiClient
from .openai import OpenAiClient
from .providers import DEFAULT_PROVIDER, Provider, home_of, provider_at, split_name
from .queue import QueueClient
from .registry import load_registry
from .spec import ResolvedModel

PROTOCOLS: Mapping[str, type[ImageClient]] = {
    "aimlapi": AimlApiClient,
    "openai": OpenAiClient,
    "gemini": GeminiClient,
    "queue": QueueClient,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider, and where it is asked: its own address, a sandbox, a gateway.

    Attributes:
        base_url: In the form that clients have.
    """

    provider: Provider
    base_url: str

    @classmethod
    def find(cls, *, api: str | None = None, base_url: str | None = None, model: str | None = None) -> Endpoint:
        """Who is meant by what a user says.

        Args:
            api: Name of a protocol; None: that of the model's provider.
            base_url: None: what the environment says, or the provider's own address.
            model: Its name, which may begin with a provider.

        Raises:
            BadInput: There is no such protocol or provider; the model's provider speaks another protocol; a base URL
                that cannot be used; an address is needed.
        """
        registry = load_registry()
        if api is None and model is None:
            model = DEFAULT_MODEL
        if api is not None and api not in PROTOCOLS:
            raise BadInput(f"api: {api!r} is not allowed (one of {', '.join(PROTOCOLS)})")
        owner = split_name(model)[0] if model is not None else DEFAULT_PROVIDER
        if owner != DEFAULT_PROVIDER:
            provider = registry.provider(owner)
            if api is not None and provider.api != api:
                raise BadInput(f"model {model!r} is sold through the protocol {provider.api}, not {api}")
        elif api is None:
            provider = registry.provider(DEFAULT_PROVIDER)
        else:
            provider = home_of(api, registry.providers)
        address = base_url or _from_environment(provider) or provider.base_url
        if not address:
            raise BadInput(f"{provider.label}: say where it is (--base-url, or base_url of the credentials)")
        address = normalise_base_url(address, PROTOCOLS[provider.api].default_path)
        if owner == DEFAULT_PROVIDER and not _lists(provider, model):
            provider = provider_at(provider.api, address, registry.providers)
        return cls(provider, address)

    @classmethod
    def of_provider(cls, name: str) -> Endpoint:
        """Where the environment, or its own address, says that a provider is.

        Raises:
            BadInput: There is none of that name, or nobody says where it is.
        """
        return cls.find(model=f"{name}:" + "-") if name != DEFAULT_PROVIDER else cls.find(api=DEFAULT_PROVIDER)

    @classmethod
    def of(cls, client: ImageClient) -> Endpoint:
        """Where a client asks."""
        return cls(client.provider, client.base_url)

    def choose(self, name: str) -> str:
        """A model as it is called here; where none was named, the one that is meant then.

        Raises:
            BadInput: A model has to be named.
        """
        if name != DEFAULT_MODEL or split_name(name)[0] == self.provider.name:
            return self.model(name)
        if self.provider.default_model is None:
            raise BadInput(f"{self.provider.label}: name the model (--model, or model of the flow)")
        return self.provider.default_model

    def check(self, model: ResolvedModel) -> None:
        """Whether a model is sold here.

        Raises:
            BadInput: It is another provider's.
        """
        if model.spec.provider != self.provider.name:
            raise BadInput(
                f"{model.name} is sold by {model.spec.provider}, and these credentials are for {self.provider.label}"
            )

    def model(self, name: str) -> str:
        """A model as it is called here: with its provider, where it has one."""
        if self.provider.name == DEFAULT_PROVIDER or split_name(name)[0] != DEFAULT_PROVIDER:
            return name
        return f"{self.provider.name}:{name}"

    def stand_in(self, name: str) -> str:
        """A model that may stand in, of this provider or of another."""
        registry = load_registry()
        mine = self.model(name)
        known = registry.names()
        return name if mine.partition("@")[0] not in known and name.partition("@")[0] in known else mine

    def open(self, api_key: str | None = None, **options: Any) -> ImageClient:
        """Make the client; sends nothing.

        Args:
            api_key: None: that of the environment.
            options: As of `ImageClient`.

        Raises:
            BadInput: The key cannot be used, or there is none where one is needed.
        """
        key = self.provider.key() if api_key is None else api_key
        return PROTOCOLS[self.provider.api](key, provider=self.provider, base_url=self.base_url, **options)

    def catalog(self, folder: Path, *, offline: bool = False, fresh: bool = False) -> ProviderCatalog:
        """What the API's catalogue says, without a key: see `ImageClient.catalog`."""
        return PROTOCOLS[self.provider.api].catalog(self.base_url, folder, offline=offline, fresh=fresh)


def _from_environment(provider: Provider) -> str | None:
    return os.environ.get(provider.url_variable, "").strip() or None if provider.url_variable else None


def _lists(provider: Provider, model: str | None) -> bool:
    """Whether a model is one of those that are listed for a provider: then its price is known, wherever it is asked."""
    listed = {name for spec in load_registry().sold_by(provider.name) for name in spec.names}
    return model is not None and f"{provider.name}:{model.partition('@')[0]}" in listed


def open_client(
    api_key: str | None,
    *,
    base_url: str | None = None,
    api: str | None = None,
    model: str | None = None,
    **options: Any,
) -> ImageClient:
    """Make the client of an API; sends nothing. See `Endpoint.find` and `Endpoint.open`."""
    return Endpoint.find(api=api, base_url=base_url, model=model).open(api_key, **options)


def client_of_any(providers: Sequence[str]) -> ImageClient | None:
    """The client of the first provider for which the environment has what it takes; None for none of them."""
    for name in providers or (DEFAULT_PROVIDER,):
        with contextlib.suppress(ImagenError):
            return Endpoint.of_provider(name).open()
    return None
