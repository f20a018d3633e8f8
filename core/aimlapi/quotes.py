"""Prices as the provider's catalog quotes them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from .spec import ResolvedModel

_MEGAPIXEL = 2**20


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
