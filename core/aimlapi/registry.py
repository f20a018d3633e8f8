"""The model registry: what is known of each model, as data (`models.json` beside this file).

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
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import BadInput
from ..money import usd_to_credits

__all__ = [
    "Contract",
    "FieldSpec",
    "Lifecycle",
    "ModelSpec",
    "Price",
    "Registry",
    "ResolvedModel",
    "UnknownModel",
    "WithdrawnModel",
    "load_registry",
]


class UnknownModel(BadInput):
    """No model of that name is in the registry."""

    def __init__(self, name: str, nearest: tuple[str, ...]) -> None:
        super().__init__(name, nearest)
        self.name = name
        self.nearest = nearest

    def __str__(self) -> str:
        hint = f" Did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        return f"unknown model {self.name!r}.{hint} `prefect-imagen models` lists what is known."


class WithdrawnModel(BadInput):
    """The provider has withdrawn the model."""

    def __init__(self, name: str, withdrawn_at: str | None, successor: str | None) -> None:
        super().__init__(name, withdrawn_at, successor)
        self.name = name
        self.withdrawn_at = withdrawn_at
        self.successor = successor

    def __str__(self) -> str:
        when = f" on {self.withdrawn_at}" if self.withdrawn_at else ""
        hint = f" Use its successor: --model {self.successor}" if self.successor else ""
        return f"model {self.name!r} was withdrawn by the provider{when}.{hint}"


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSpec(_Data):
    """One request field of a contract.

    Attributes:
        kind: `choice` (one of `choices`), `integer`, `boolean`, `text`, or `size` (a preset of `choices`, or pixels).
        choices: Allowed values of a `choice`, presets of a `size`.
        minimum: Smallest integer; of a `size`, smallest side in pixels.
        maximum: Largest integer; of a `size`, largest side in pixels.
        multiple_of: Each side of a `size` must be a multiple of it, in pixels.
        default: What the provider assumes when the field is absent. Frozen once released: it decides identity.
        identity: Whether the field shapes the image, and so is part of what an item is.
        description: One sentence for a person.
    """

    kind: Literal["choice", "integer", "boolean", "text", "size"]
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None
    default: Any = None
    identity: bool = True
    description: str


class Contract(_Data):
    """The request schema of a model in one era.

    Attributes:
        since: Day the provider's documentation showed it first, ISO 8601.
        source: Where it is documented.
        wire_model: Value of the body's `model`, where it is not the model's id.
        prompt_limit: Longest prompt in UTF-16 code units, or None where none is stated.
        aspect_ratios: For models without an `aspect_ratio` field: aspect ratio to `image_size` preset.
        fields: Request fields beside `model` and `prompt`.
    """

    since: str
    source: str
    wire_model: str | None = None
    prompt_limit: int | None = None
    aspect_ratios: Mapping[str, str] | None = None
    fields: Mapping[str, FieldSpec]


class Price(_Data):
    """USD an image: the expected price and the highest that is known, which is what gets reserved."""

    usd: Decimal
    usd_high: Decimal
    as_of: str
    source: str

    @property
    def credits(self) -> int:
        """Expected price of one image, in credits."""
        return usd_to_credits(self.usd)

    @property
    def credits_high(self) -> int:
        """Highest known price of one image, in credits."""
        return usd_to_credits(self.usd_high)


class Lifecycle(_Data):
    """Whether the provider still offers the model, and what to use instead."""

    status: Literal["listed", "deprecated", "withdrawn"]
    withdrawn_at: str | None = None
    upstream_shutdown: str | None = None
    successor: str | None = None
    note: str | None = None
    source: str


class Alias(_Data):
    """Another name of a model; `contract` says which contract the name asks for (None: the default one)."""

    name: str
    contract: str | None = None


class ModelSpec(_Data):
    """All that is known of one model.

    Attributes:
        id: Canonical id, the one that enters an item's identity.
        title: Name for a person.
        aliases: Other names.
        default_contract: Contract used when none is named.
        contracts: Contracts by name.
        price: USD an image.
        lifecycle: Listed, deprecated or withdrawn; successor.
        pixels: Width and height in pixels by aspect ratio or size preset.
    """

    id: str
    title: str
    aliases: tuple[Alias, ...] = ()
    default_contract: str
    contracts: Mapping[str, Contract]
    price: Price
    lifecycle: Lifecycle
    pixels: Mapping[str, tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]] = {}

    @model_validator(mode="after")
    def _contracts_exist(self) -> ModelSpec:
        named = [self.default_contract, *(alias.contract for alias in self.aliases if alias.contract)]
        for name in named:
            if name not in self.contracts:
                raise ValueError(f"model {self.id}: there is no contract {name!r}")
        return self


class ResolvedModel(NamedTuple):
    """A model together with the contract it is asked through."""

    spec: ModelSpec
    contract_name: str

    @property
    def contract(self) -> Contract:
        """The request schema."""
        return self.spec.contracts[self.contract_name]

    @property
    def wire_model(self) -> str:
        """Value of the request body's `model`."""
        return self.contract.wire_model or self.spec.id

    @property
    def name(self) -> str:
        """A name that resolves to this model and contract again."""
        if self.contract_name == self.spec.default_contract:
            return self.spec.id
        return f"{self.spec.id}@{self.contract_name}"


class Registry(_Data):
    """All known models."""

    comment: str = Field(default="", alias="$comment")
    version: Literal[1]
    models: tuple[ModelSpec, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Registry:
        names = [name for spec in self.models for name in (spec.id, *(a.name for a in spec.aliases))]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"names used twice: {sorted(doubled)}")
        return self

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
        raise UnknownModel(name, tuple(difflib.get_close_matches(base, self.names(), n=3, cutoff=0.5)))


@cache
def load_registry() -> Registry:
    """Read the registry that ships with the package (once a process)."""
    text = resources.files(__package__).joinpath("models.json").read_text(encoding="utf-8")
    return Registry.model_validate_json(text)
