"""Price and status of the models: those of the registry, unless they are overridden while the sandbox runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.money import usd_to_credits
from ..core.providers.providers import DEFAULT_PROVIDER
from ..core.providers.registry import Registry
from ..core.providers.spec import Contract, Lifecycle, ModelSpec, Price

_DEFAULT_PRICE = Price(usd=Decimal("0.05"), usd_high=Decimal("0.06"), as_of="now", source="the sandbox")
"""Of models whose real price is not public."""

_MEGAPIXEL = 1_048_576
_CHARACTERS_PER_TOKEN = 4
_ANY = "any model"

Status = Literal["listed", "deprecated", "superseded", "withdrawn"]


class ModelOverride(BaseModel):
    """What `PUT /sandbox/models` changes about a model; None keeps the value of the registry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[
        Status | None, Field(description="Listed, announced for withdrawal, or withdrawn: then calls answer 404.")
    ] = None
    deprecated_at: Annotated[str | None, Field(description="Day of the announcement.")] = None
    shutdown_at: Annotated[str | None, Field(description="Day of the withdrawal.")] = None
    replaced_by: Annotated[str | None, Field(description="Id of the model that replaces it.")] = None
    price_usd: Annotated[Decimal | None, Field(ge=0, description="Price of an image.")] = None
    kind: Annotated[
        Literal["fixed", "variable"], Field(description="How the list of models shows the price: variable shows none.")
    ] = "fixed"


class ModelStatus(BaseModel):
    """The current status of a model."""

    model_config = ConfigDict(frozen=True)

    status: Status
    deprecated_at: str | None
    shutdown_at: str | None
    replaced_by: str | None


class ModelStock:
    """The models of one sandbox.

    Attributes:
        overrides: What differs from the registry, by model id.
    """

    def __init__(self, registry: Registry, any_model_usd: Decimal | None = None) -> None:
        self._registry = registry
        self._any_model_usd = any_model_usd
        self.overrides: dict[str, ModelOverride] = {}

    @staticmethod
    def any_model(name: str) -> ModelSpec:
        """A model that the registry does not know, at the price that is set for all such models."""
        contract = Contract(since="now", source="the sandbox", fields={})
        life = Lifecycle(status="listed", source="the sandbox")
        return ModelSpec(
            id=re.sub(r"[\s@]", "_", name) or "_",
            title=name,
            family=_ANY,
            default_contract=_ANY,
            contracts={_ANY: contract},
            price=None,
            lifecycle=life,
        )

    def put(self, overrides: Mapping[str, ModelOverride]) -> None:
        """Replace all overrides.

        Raises:
            UnknownModel: An override names no model.
        """
        self.overrides = {
            self._registry.resolve(name, allow_withdrawn=True).spec.id: override for name, override in overrides.items()
        }

    def _override(self, spec: ModelSpec) -> ModelOverride:
        return self.overrides.get(spec.id, ModelOverride())

    def status_of(self, spec: ModelSpec) -> ModelStatus:
        """The status of a model. A date of the upstream's shutdown alone does not take it off the list."""
        override, life = self._override(spec), spec.lifecycle
        status = override.status or life.status
        listed = status == "listed"
        when = None if listed else life.shutdown_at or life.withdrawn_at
        return ModelStatus(
            status=status,
            deprecated_at=override.deprecated_at or when,
            shutdown_at=override.shutdown_at or when,
            replaced_by=override.replaced_by or (None if listed else life.successor),
        )

    def price(self, spec: ModelSpec) -> Price:
        """The price of one image of a model."""
        override = self._override(spec)
        price = spec.price or _DEFAULT_PRICE
        if override.price_usd is None:
            return price
        return price.model_copy(
            update={"usd": override.price_usd, "usd_high": override.price_usd, "per": "image", "tokens": None}
        )

    def tokens(self, spec: ModelSpec, prompt: str) -> tuple[int, int]:
        """Tokens of the prompt and of one image, varied by the prompt, for a model that is priced by them."""
        price = self.price(spec)
        if price.tokens is None:
            return 0, 0
        digest = hashlib.sha256(f"{spec.id}\x1f{prompt}".encode("utf-8", "surrogatepass")).digest()
        usual = price.usd * 1_000_000 / price.tokens.output
        return -(-len(prompt) // _CHARACTERS_PER_TOKEN), int(usual * (Decimal("0.9") + Decimal(digest[0]) / 1275))

    def quotes(self, spec: ModelSpec) -> bool:
        """Whether the list of models shows its price."""
        return self._override(spec).kind == "fixed"

    def credits_each(self, spec: ModelSpec, width: int, height: int, prompt: str) -> int:
        """The price of one image in credits. A price per token is varied by the prompt, since tokens are not known."""
        if spec.family == _ANY and self._any_model_usd is not None:
            return usd_to_credits(self._any_model_usd)
        price = self.price(spec)
        if price.per == "image":
            return price.credits
        if price.tokens is not None:
            return price.tokens.credits(*self.tokens(spec, prompt))
        if spec.provider != DEFAULT_PROVIDER:
            return min(price.credits_high, price.of_size(width, height))
        if price.per == "megapixel":
            share = max(Decimal(1), Decimal(width * height) / _MEGAPIXEL)
        else:
            digest = hashlib.sha256(f"{spec.id}\x1f{prompt}".encode("utf-8", "surrogatepass")).digest()
            share = Decimal("0.9") + Decimal(digest[0]) / 1275
        return usd_to_credits(min(price.usd_high, (price.usd * share).quantize(Decimal("0.000001"), ROUND_UP)))
