"""What the sandbox sells: the registry's models, at prices and in states that can be changed while it runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.aimlapi.registry import Registry
from ..core.aimlapi.spec import ModelSpec, Price
from ..core.money import usd_to_credits

_MADE_UP = Price(usd=Decimal("0.05"), usd_high=Decimal("0.06"), as_of="now", source="the sandbox")
"""For models whose real price is not public."""

_MEGAPIXEL = 1_048_576

Status = Literal["listed", "deprecated", "superseded", "withdrawn"]


class ModelOverride(BaseModel):
    """What is changed about a model, as `PUT /sandbox/models` takes it; None leaves the registry's word.

    Attributes:
        status: Whether it is listed, announced for withdrawal, or withdrawn (then calls answer 404).
        deprecated_at: Day of the announcement.
        shutdown_at: Day of the withdrawal.
        replaced_by: Its successor.
        price_usd: Price of an image.
        kind: How the catalogue quotes it; `variable` says nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status | None = None
    deprecated_at: str | None = None
    shutdown_at: str | None = None
    replaced_by: str | None = None
    price_usd: Annotated[Decimal | None, Field(ge=0)] = None
    kind: Literal["fixed", "variable"] = "fixed"


class ModelStatus(BaseModel):
    """Where a model stands now."""

    model_config = ConfigDict(frozen=True)

    status: Status
    deprecated_at: str | None
    shutdown_at: str | None
    replaced_by: str | None


class ModelStock:
    """The models of one sandbox. Thread-safe.

    Args:
        registry: What there is.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._overrides: dict[str, ModelOverride] = {}

    def put(self, overrides: Mapping[str, ModelOverride]) -> None:
        """Replace all overrides.

        Raises:
            UnknownModel: An override names no model.
        """
        known = {
            self._registry.resolve(name, allow_withdrawn=True).spec.id: override for name, override in overrides.items()
        }
        with self._lock:
            self._overrides = known

    def overrides(self) -> dict[str, ModelOverride]:
        """What is changed."""
        with self._lock:
            return dict(self._overrides)

    def _override(self, spec: ModelSpec) -> ModelOverride:
        with self._lock:
            return self._overrides.get(spec.id, ModelOverride())

    def status_of(self, spec: ModelSpec) -> ModelStatus:
        """Where a model stands; models with a date of the upstream's shutdown alone are listed, as they were."""
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
        """What an image of a model costs here."""
        override = self._override(spec)
        price = spec.price or _MADE_UP
        if override.price_usd is None:
            return price
        return price.model_copy(update={"usd": override.price_usd, "usd_high": override.price_usd, "per": "image"})

    def quotes(self, spec: ModelSpec) -> bool:
        """Whether the catalogue says what it costs."""
        return self._override(spec).kind == "fixed"

    def credits_each(self, spec: ModelSpec, width: int, height: int, prompt: str) -> int:
        """What one image of a request costs, in credits: by the image, by its pixels, or by tokens nobody foresees."""
        price = self.price(spec)
        if price.per == "image":
            return price.credits
        if price.per == "megapixel":
            share = max(Decimal(1), Decimal(width * height) / _MEGAPIXEL)
        else:
            digest = hashlib.sha256(f"{spec.id}\x1f{prompt}".encode("utf-8", "surrogatepass")).digest()
            share = Decimal("0.9") + Decimal(digest[0]) / 1275
        return usd_to_credits(min(price.usd_high, (price.usd * share).quantize(Decimal("0.000001"), ROUND_UP)))
