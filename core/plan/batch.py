"""From the options of a user to a batch: prompts with what is asked for, or a plan that says so itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ..errors import BadInput
from ..prompts import PromptSpec
from ..rewrite import RewriteSpec
from .availability import read_fallback
from .file import PlanFile, open_plan
from .spec import BatchSpec

AnyBatch = BatchSpec | PlanFile
"""What a run can be made of."""

_REWRITING: Mapping[str, Any] = {"rewrite": None, "rewrites": 1, "brief": None, "rewrite_price": None}
_WHICH = {option.name for option in fields(PromptSpec)} - {"source", "format", "s3"}


class BatchOptions(TypedDict, total=False):
    """Options of `PromptSpec` and `BatchSpec`, under their names; None is the same as left out.

    Those of `RewriteSpec` are `rewrite` (the model), `rewrites` (variations), `brief` and `rewrite_price`.
    """

    prompt_column: str | None
    template: str | None
    variants: bool
    wildcards: str | None
    exclude: Sequence[str] | None
    per_row: int | None
    limit: int | None
    sample: int | None
    sample_seed: int
    max_prompts: int | None
    model: str
    parameters: Mapping[str, Any] | None
    matrix: Mapping[str, Sequence[Any]] | None
    edition: str
    repeat: int
    skip_invalid: bool
    rewrite: str | None
    rewrites: int
    brief: str | None
    rewrite_price: str | None
    fallback: Sequence[str] | str | None
    lenient: bool


def open_batch(prompts: str | Path | Sequence[str], **options: Unpack[BatchOptions]) -> AnyBatch:
    """Make a batch of what a user gave.

    Args:
        prompts: A file or an object in S3, with prompts or with a plan in it; or prompts as a list.
        options: See `PromptSpec` and `BatchSpec`.

    Raises:
        BadInput: An option out of range; or a plan, together with an option that would change it.

    Example:
        >>> open_batch(["a fox"], repeat=2).check()
        1
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    which = {name: value for name, value in given.items() if name in _WHICH}
    what = {name: value for name, value in given.items() if name not in _WHICH and name not in _REWRITING}
    fallback = read_fallback(given.pop("fallback", None))
    lenient = bool(given.pop("lenient", False))
    what = {name: value for name, value in what.items() if name not in ("fallback", "lenient")}
    plan = open_plan(prompts)
    if plan is None:
        asking: dict[str, Any] = {"rewrite": _rewriting(given), "fallback": fallback, "lenient": lenient}
        return BatchSpec(PromptSpec(prompts, **which), **what, **asking)
    defaults = _defaults()
    changed = [name for name, value in given.items() if value and value != defaults[name]]
    if not given.get("variants", True):
        changed.append("variants")
    if changed:
        raise BadInput(f"{plan.name} is a plan and says itself what is bought; leave out {', '.join(changed)}")
    # Who may stand in for a model that is gone does not change what is wanted.
    return replace(plan, fallback=fallback, lenient=lenient or plan.lenient)


def _rewriting(given: Mapping[str, Any]) -> RewriteSpec | None:
    """How prompts are rewritten, if they are.

    Raises:
        BadInput: A brief or the like, and no model that it is for.
    """
    if "rewrite" not in given:
        for name in ("brief", "rewrite_price", "rewrites"):
            if given.get(name, _REWRITING[name]) not in (_REWRITING[name], ""):
                raise BadInput(
                    f"{name} is about rewriting prompts: name the language model that does it (rewrite, --rewrite)"
                )
        return None
    return RewriteSpec(given["rewrite"], given.get("rewrites", 1), given.get("brief", ""), given.get("rewrite_price"))


def _defaults() -> dict[str, Any]:
    every = (*fields(PromptSpec), *fields(BatchSpec))
    known = {option.name: None if option.default is MISSING else option.default for option in every}
    return {**known, **_REWRITING}
