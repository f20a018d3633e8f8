"""What the provider's catalog says today: which models there are, what they cost, which will be withdrawn."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from .spec import ModelSpec, Price, ResolvedModel

_GONE = "withdrawn"
_MEGAPIXEL = 2**20


@dataclass(frozen=True, slots=True)
class DeprecationNotice:
    """What is announced of a model.

    Attributes:
        status: `listed`, `deprecated`, `superseded` or `withdrawn`.
    """

    status: str
    shutdown: date | None = None
    successor: str | None = None
    reason: str = ""

    def withdrawn(self, today: date) -> bool:
        """Whether it cannot be bought any more."""
        announced = self.status in ("deprecated", "superseded") and self.shutdown is not None
        return self.status == _GONE or (announced and self.shutdown is not None and self.shutdown <= today)

    @property
    def retiring(self) -> bool:
        """Whether it will not be there for ever: announced, withdrawn, or shut down by its maker."""
        return self.status != "listed" or self.shutdown is not None


@dataclass(frozen=True, slots=True)
class ProviderCatalog:
    """What the catalogue said. Without anything heard, all answers are the registry's.

    Attributes:
        heard_at: When; None if nothing was heard.
        problem: Why it is not fresh, or nothing was heard; empty where it was asked just now.
        pricing: Name of a model (aliases included) → its `pricing`.
        notices: Name of a model → its row among the deprecations.
    """

    origin: str
    heard_at: datetime | None = None
    problem: str = ""
    pricing: Mapping[str, Any] = field(default_factory=dict)
    notices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def lists(self, spec: ModelSpec) -> bool | None:
        """Whether the model is in the catalogue; None where it was not heard."""
        return any(name in self.pricing for name in spec.names) if self.pricing else None

    def notice(self, spec: ModelSpec) -> DeprecationNotice:
        """Where a model stands, by the catalogue's word and the registry's: the worse of the two."""
        life = spec.lifecycle
        own = DeprecationNotice(
            life.status,
            _day(life.shutdown_at or life.withdrawn_at or life.upstream_shutdown),
            life.successor,
            life.note or "",
        )
        row = next((self.notices[name] for name in spec.names if name in self.notices), None)
        if row is None:
            return own
        status = str(row.get("status") or "deprecated")
        if own.status == _GONE:
            status = _GONE
        return DeprecationNotice(
            status,
            _day(row.get("shutdown_at")) or own.shutdown,
            _text(row.get("replaced_by")) or own.successor,
            _text(row.get("reason")) or own.reason,
        )

    def price(self, model: ResolvedModel) -> Price | None:
        """What an image costs: the catalogue's word for what is expected, the highest that anybody names for what is
        reserved. None where nobody names a price an image."""
        known = model.spec.price
        quoted = next((self.pricing[name] for name in model.spec.names if name in self.pricing), None)
        found = quote(quoted, model) if quoted is not None else None
        if found is None:
            return known
        usd, high = found
        if known is not None:
            high = max(high, known.usd_high)
        heard = self.heard_at.date().isoformat() if self.heard_at is not None else ""
        per = known.per if known is not None else "image"
        return Price(usd=usd, usd_high=high, per=per, as_of=heard, source="the API's catalogue")


def _day(text: Any) -> date | None:
    with contextlib.suppress(ValueError, TypeError):
        return date.fromisoformat(str(text)[:10])
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _amount(row: Mapping[str, Any]) -> Decimal | None:
    """`price` divided by `per`, in USD."""
    with contextlib.suppress(InvalidOperation, ArithmeticError, TypeError, ValueError):
        amount = Decimal(str(row["price"])) / Decimal(str(row.get("per", 1)))
        return amount if amount.is_finite() and 0 <= amount < 1000 else None
    return None


def quote(pricing: Any, model: ResolvedModel) -> tuple[Decimal, Decimal] | None:
    """Expected and highest price of an image by a `pricing` block; None where it names no price an image.

    `fixed` has `units`, `variants` one price for each combination of `dimensions`, `variable` cannot be quoted; prices
    by the token say nothing of an image.
    """
    if not isinstance(pricing, Mapping) or pricing.get("currency", "USD") != "USD":
        return None
    rows = pricing.get("units") if pricing.get("kind") == "fixed" else pricing.get("variants")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return None
    found: list[tuple[bool, Decimal, Decimal]] = []
    for row in rows:
        amount = _amount(row)
        unit = row.get("name") or row.get("unit")
        if amount is None or unit not in ("image", "megapixel"):
            return None
        most = amount * _megapixels(model) if unit == "megapixel" else amount
        found.append((_is_default(row.get("when"), model), amount, max(amount, most)))
    if not found or max(high for *_, high in found) <= 0:
        return None
    ordinary = [usd for default, usd, _ in found if default]
    return max(ordinary or [usd for _, usd, _ in found]), max(high for *_, high in found)


def _megapixels(model: ResolvedModel) -> Decimal:
    """Most megapixels that an image of the model can have."""
    sizing = model.contract.sizing
    most = model.contract.fields[sizing].maximum if sizing else None
    return Decimal(str(most or 1024)) ** 2 / _MEGAPIXEL


def _is_default(when: Any, model: ResolvedModel) -> bool:
    """Whether a variant is what one gets without asking for anything else."""
    if not isinstance(when, Mapping):
        return True
    defaults = {name: spec.default for name, spec in model.contract.fields.items()}
    return all(str(defaults.get(name)).lower() == str(value).lower() for name, value in when.items())
