"""From the parameters of `imagen_pipeline` to what the steps below it take: what to ask for, and how to go about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..core.plan import BatchOptions
from ..core.purchase import PurchaseSettings
from ..core.rewrite import RewriteFallback
from ..core.run.services import RunSettings
from .edition import resolve_edition

__all__ = ["batch_options", "run_settings"]

_SAME_NAME = (
    "concurrency",
    "requests_per_minute",
    "shared_concurrency",
    "unknown",
    "retry_refused",
    "drain_seconds",
    "spool_max_bytes",
    "patience",
    "key_template",
)
_OWN_FIELDS = ("aspect_ratio", "num_images", "seed")


def run_settings(given: Mapping[str, Any]) -> RunSettings:
    """How a run goes about it, from the flow's parameters by name.

    Raises:
        BadInput: A value out of range.
    """
    return RunSettings(
        **{name: given[name] for name in _SAME_NAME},
        purchase=PurchaseSettings(
            trust_unbilled_5xx=given["trust_unbilled_5xx"], rewrite_fallback=RewriteFallback(given["rewrite_fallback"])
        ),
    )


def batch_options(given: Mapping[str, Any]) -> BatchOptions:
    """What a run asks for, from the flow's parameters by name.

    Raises:
        BadInput: No such time zone.
    """
    own = {**{name: given[name] for name in _OWN_FIELDS}, **(given["parameters"] or {})}
    options: dict[str, Any] = {name: given[name] for name in BatchOptions.__annotations__}
    options["parameters"] = {name: value for name, value in own.items() if value is not None}
    options["edition"] = resolve_edition(given["edition"], given["edition_timezone"])
    return cast(BatchOptions, options)
