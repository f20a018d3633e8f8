"""The model registry: what is known of each model, as data (the files in `models/` beside this one).

A *model* is what is bought; its id is part of what an item is. A *contract* is how one asks for it: the same model id
has had several request schemas over time. Contracts never enter an item's identity, so the same prompt asked through
another contract is still the same purchase.

Which contract is used:

* `google/imagen4/preview` uses the model's default contract, the one the provider documents today;
* an alias may bind a contract: `imagen4/preview` is sent as that id, with the fields its own page lists;
* `MODEL@CONTRACT` picks one by name: `google/imagen4/preview@2025-05` is the contract of the original page.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from ..errors import BadInput
from .data import ModelFileError, known_models, open_contract, read_user_models
from .providers import DEFAULT_PROVIDER, Provider, find_provider, shipped_providers, split_name
from .spec import Lifecycle, ModelSpec, Price, ResolvedModel

MODELS_VARIABLE = "PREFECT_IMAGEN_MODELS"
"""Environment variable with the path of a user's own file of models."""


@dataclass(eq=False, repr=False)
class UnknownModel(BadInput):
    """No model of that name is in the registry."""

    name: str
    nearest: tuple[str, ...]

    def __str__(self) -> str:
        hint = f" Did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        return f"unknown model {self.name!r}.{hint} `prefect-imagen models` lists what is known."


@dataclass(eq=False, repr=False)
class WithdrawnModel(BadInput):
    """The provider has withdrawn the model."""

    name: str
    withdrawn_at: str | None
    successor: str | None
    lenient: bool = False
    """Whether the successor cannot do everything that was asked for."""

    def __str__(self) -> str:
        when = f" on {self.withdrawn_at}" if self.withdrawn_at else ""
        hint = ""
        if self.successor:
            more = " --lenient, since it cannot do everything that was asked for" if self.lenient else ""
            hint = (
                f" Its successor is {self.successor}: --fallback {self.successor}{more} buys what is missing from it, "
                f"--model {self.successor} asks for it from now on."
            )
        return f"model {self.name!r} was withdrawn by the provider{when}.{hint}"


class Registry(BaseModel):
    """All known models."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[ModelSpec, ...]
    providers: tuple[Provider, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Registry:
        names = [name for spec in self.models for name in spec.names]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"names used twice: {sorted(doubled)}")
        return self

    @model_validator(mode="after")
    def _providers_are_known(self) -> Registry:
        for spec in self.models:
            if self.providers and find_provider(spec.provider, self.providers) is None:
                raise ValueError(f"model {spec.id}: there is no provider {spec.provider!r}")
        return self

    def sold_by(self, provider: str) -> tuple[ModelSpec, ...]:
        """The models of a provider."""
        return tuple(spec for spec in self.models if spec.provider == provider)

    def provider(self, name: str) -> Provider:
        """A provider by its name, or one's own server by its protocol and host.

        Raises:
            BadInput: There is none.
        """
        found = find_provider(name, self.providers)
        if found is None:
            known = ", ".join(provider.name for provider in self.providers)
            raise BadInput(f"there is no provider {name!r}; there are {known}, and servers such as openai.local")
        return found

    def names(self) -> tuple[str, ...]:
        """Every name a model can be asked by, canonical ids first."""
        return (
            *(spec.id for spec in self.models),
            *(alias.name for spec in self.models for alias in spec.aliases),
        )

    def resolve(self, name: str, *, allow_withdrawn: bool = False) -> ResolvedModel:
        """Find a model by id or alias, with `@CONTRACT` to pick a contract.

        Args:
            name: `MODEL` or `MODEL@CONTRACT`.
            allow_withdrawn: Do not raise for a withdrawn model (to read what an old run bought).

        Raises:
            UnknownModel: No such model; the nearest names are given.
            WithdrawnModel: The provider no longer offers it; the successor is given.
            BadInput: The model has no such contract.

        Example:
            >>> load_registry().resolve("imagen4/preview").spec.id
            'google/imagen4/preview'
        """
        base, _, wanted = name.partition("@")
        for spec in self.models:
            bound = {spec.id: spec.default_contract}
            bound.update({alias.name: alias.contract or spec.default_contract for alias in spec.aliases})
            if base not in bound:
                continue
            contract = wanted or bound[base]
            if contract not in spec.contracts:
                raise BadInput(
                    f"model {base!r} has no contract {contract!r}; it has {', '.join(sorted(spec.contracts))}"
                )
            if spec.lifecycle.status == "withdrawn" and not allow_withdrawn:
                raise WithdrawnModel(name, spec.lifecycle.withdrawn_at, spec.lifecycle.successor)
            return ResolvedModel(spec, contract)
        unlisted = self._unlisted(base)
        if unlisted is not None and wanted in ("", unlisted.default_contract):
            return ResolvedModel(unlisted, unlisted.default_contract)
        raise UnknownModel(name, tuple(difflib.get_close_matches(base, self.names(), n=3, cutoff=0.5)))

    def _unlisted(self, name: str) -> ModelSpec | None:
        """A model that nobody has described, of a provider that sells more than is listed: it has no price."""
        owner, wire_name = split_name(name)
        provider = find_provider(owner, self.providers)
        if provider is None or owner == DEFAULT_PROVIDER:
            return None
        contract = open_contract(provider.api)
        return ModelSpec(
            id=name,
            title=wire_name,
            provider=owner,
            default_contract=_UNLISTED,
            contracts={_UNLISTED: contract},
            price=None,
            lifecycle=Lifecycle(status="listed", source=contract.source),
        )


_UNLISTED = "open"


def load_registry() -> Registry:
    """The models that ship with the package, and those of the file that `PREFECT_IMAGEN_MODELS` names.

    Read once a process, and again when that file changes.
    """
    own = os.environ.get(MODELS_VARIABLE, "").strip()
    if not own:
        return _load(None, 0)
    path = Path(own).expanduser()
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise ModelFileError(own, (f"it cannot be read: {error.strerror} ({MODELS_VARIABLE})",)) from None
    return _load(path, changed)


@lru_cache(maxsize=8)
def _load(path: Path | None, changed: int) -> Registry:
    del changed  # a part of the key
    models, providers = known_models(), shipped_providers()
    if path is not None:
        models, providers = read_user_models(path, models, providers)
    return Registry(models=models, providers=providers)


def known_price(model: str) -> Price | None:
    """What an image of any known model costs, withdrawn ones included; None where it is not known."""
    try:
        return load_registry().resolve(model, allow_withdrawn=True).spec.price
    except BadInput:
        return None


def list_price(model: str, images: int) -> int:
    """Expected price of images of any known model, withdrawn ones included, in credits; 0 where it is not known."""
    price = known_price(model)
    return price.credits * images if price is not None else 0


_WIDTH_BY_HEIGHT = re.compile(r"(\d{1,6})\s*[xX×*]\s*(\d{1,6})")
_THOUSANDS = re.compile(r"(\d{1,2}(?:\.\d)?)\s*[kK]")


def pixels_asked_for(model: str, parameters: Mapping[str, Any]) -> int | None:
    """The most pixels that an image bought with these parameters may be meant to have; None where nothing says it.

    Sizes in the parameters decide (`2048x2048`, `4K`, width and height), else the largest size that the model is
    documented with.

    Example:
        >>> pixels_asked_for("google/imagen4/preview", {"resolution": "4K"})
        16777216
    """
    asked = list(_pixels(parameters))
    if not asked:
        try:
            spec = load_registry().resolve(model, allow_withdrawn=True).spec
        except BadInput:
            return None
        asked = [width * height for width, height in spec.pixels.values()]
    return max(asked, default=None)


def _pixels(value: Any) -> Iterator[int]:
    """Every size that is named somewhere in a value."""
    match value:
        case {"width": int() as width, "height": int() as height}:
            yield width * height
        case Mapping():
            for inner in value.values():
                yield from _pixels(inner)
        case str():
            if found := _WIDTH_BY_HEIGHT.fullmatch(value.strip()):
                yield int(found[1]) * int(found[2])
            elif found := _THOUSANDS.fullmatch(value.strip()):
                yield int(float(found[1]) * 1024) ** 2
