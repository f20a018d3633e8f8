"""Who sells images: providers as data, and where each is reached.

A model of any provider but the AI/ML API has the provider in its id: `openai:gpt-image-2`. So the same picture from two
shops is two purchases. An address that belongs to nobody here (one's own server, a gateway) is a provider of its own,
named after its protocol and host: `openai.local:sd` on this machine, `openai.gpu-box.lan:sd` elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from ..errors import BadInput
from .addresses import api_origin, is_loopback
from .spec import Data

DEFAULT_PROVIDER = "aimlapi"
Api = Literal["aimlapi", "openai", "gemini", "queue"]
"""The protocols; each is a folder here."""

_NAME = r"[a-z0-9][a-z0-9.-]*"
_PREFIX = re.compile(rf"({_NAME}):(.+)")


class ProviderContract(Data):
    """What a provider promises of its paid calls.

    Attributes:
        recover: What becomes of a call whose answer was lost. `none`: it stays unknown. `job`: the provider's id of it
            is asked for its result. `key`: it is sent again under the same key, and billed once.
        bills_on_5xx: Whether a call that ends with a server error is billed.
        returns: How pictures come: by address, or within the reply. Those of a reply are nowhere else until stored.
    """

    recover: Literal["none", "job", "key"] = "none"
    bills_on_5xx: Literal["yes", "no", "unknown"] = "unknown"
    returns: Literal["url", "bytes"] = "bytes"
    as_of: str = ""
    source: str = ""


class Provider(Data):
    """A provider.

    Attributes:
        name: What stands before the colon in the ids of its models.
        api: The protocol that it speaks.
        base_url: Where it is.
        key_variable: Environment variable with the key to it.
        url_variable: Environment variable with another address of it.
        key_required: Whether it is never asked without a key; else only at `base_url`.
        default_model: The model that is meant where none is named.
    """

    name: str = Field(pattern=rf"^{_NAME}$")
    title: str = ""
    api: Api
    base_url: str | None = None
    key_variable: str = ""
    url_variable: str = ""
    key_required: bool = False
    default_model: str | None = None
    contract: ProviderContract = ProviderContract()

    @property
    def label(self) -> str:
        """How it is called in a sentence."""
        return self.title or self.name

    def wants_key(self, base_url: str) -> bool:
        """Whether nothing can be sent there without a key."""
        if self.key_required:
            return True
        at_home = self.base_url is not None and api_origin(base_url) == api_origin(self.base_url)
        return at_home and bool(self.key_variable)

    def key(self) -> str:
        """The key of the environment; empty where there is none."""
        return os.environ.get(self.key_variable, "").strip() if self.key_variable else ""


@cache
def shipped_providers() -> tuple[Provider, ...]:
    """The providers that this package knows."""
    text = resources.files(__package__).joinpath("providers.json").read_text(encoding="utf-8")
    return tuple(Provider.model_validate(entry) for entry in json.loads(text)["providers"])


def home_of(api: str, providers: Sequence[Provider]) -> Provider:
    """Who is meant where only a protocol is named."""
    return next(provider for provider in providers if provider.api == api)


def split_name(name: str) -> tuple[str, str]:
    """The provider in the name of a model, and the rest; the AI/ML API's names have none.

    Example:
        >>> split_name("openai:gpt-image-2"), split_name("google/imagen4/preview")
        (('openai', 'gpt-image-2'), ('aimlapi', 'google/imagen4/preview'))
    """
    match = _PREFIX.fullmatch(name)
    return (match[1], match[2]) if match else (DEFAULT_PROVIDER, name)


def find_provider(name: str, providers: Sequence[Provider]) -> Provider | None:
    """A provider by its name: a known one, or one's own server; None if it is neither."""
    for provider in providers:
        if provider.name == name:
            return provider
    api, dot, host = name.partition(".")
    home = next((provider for provider in providers if provider.api == api), None)
    return _unnamed(home, host) if home is not None and dot and host else None


def provider_at(api: str, base_url: str, providers: Sequence[Provider]) -> Provider:
    """Whose address it is: that of a known provider, or a server that nobody has named."""
    home = home_of(api, providers)
    if home.key_required:
        return home  # one contract, wherever it answers
    for provider in providers:
        known = provider.base_url
        if provider.api == api and known is not None and api_origin(known) == api_origin(base_url):
            return provider
    host = urlsplit(base_url).hostname or ""
    return _unnamed(home, "local" if is_loopback(host) else host)


def _unnamed(home: Provider, host: str) -> Provider:
    """A server that nobody has named: it promises nothing."""
    try:
        return Provider(
            name=f"{home.api}.{re.sub('[^a-z0-9.-]', '-', host.lower())}",
            api=home.api,
            key_variable=home.key_variable,
            url_variable=home.url_variable,
            contract=ProviderContract(
                recover="job" if home.contract.recover == "job" else "none",
                returns=home.contract.returns,
                source="nothing is known of this server; a file of models can say it",
            ),
        )
    except ValueError:
        raise BadInput(f"{host!r} is not the name of a host") from None
