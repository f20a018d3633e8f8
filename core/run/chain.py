"""Chains: what one step makes goes into the next. Each step is a run of its own, whose items are bought once.

Which pictures go into a step is known when the step before it has ended: what was not delivered there costs nothing
further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from ..ledger import Ledger
from ..money import format_usd
from ..plan import AnyBatch, make_plan
from ..plan.combinations import ParameterSet
from ..plan.images import CATALOG
from ..prompts.folders import COLUMN
from ..providers import Endpoint
from ..request import ChainStep, RunRequest
from .checks import open_terms

_SAME_PROMPT = "{{ prompt }}"


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step of a chain.

    Attributes:
        items: Items of the first step; of a later one, at most.
        images: They make.
        price: For those that are not owned; of a later step, for all. In credits.
    """

    model: str
    items: int
    images: int
    price: int
    price_high: int


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """A chain, counted and priced as a whole, as if all of it succeeded."""

    steps: tuple[StepPlan, ...]
    cheapest: int  # credits of one item of each step

    @property
    def price(self) -> int:
        """In credits."""
        return sum(step.price for step in self.steps)

    @property
    def price_high(self) -> int:
        """The most, in credits."""
        return sum(step.price_high for step in self.steps)

    def summary(self) -> str:
        """In a sentence."""
        steps = "; ".join(f"{step.items:,} of {step.model}: {format_usd(step.price)}" for step in self.steps)
        return f"{format_usd(self.price)} expected, {format_usd(self.price_high)} at most: {steps}"


def step_requests(request: RunRequest, steps: Sequence[ChainStep]) -> list[RunRequest]:
    """The request of each step.

    Args:
        request: What all steps have in common; which prompts are taken is for the first one.
        steps: What each does.

    Raises:
        BadInput: There is no step.
    """
    if not steps:
        raise BadInput("a chain has at least one step")
    made = []
    for number, step in enumerate(steps):
        changes: dict[str, Any] = {"model": step.model, "aspect_ratio": step.aspect_ratio, "image": step.image}
        if number:
            select = type(request.select)(skip_invalid=request.select.skip_invalid, variants=step.template is not None)
            changes |= {"template": step.template or _SAME_PROMPT, "select": select}
        else:
            changes["template"] = step.template
        made.append(request.model_copy(update=changes))
    return made


def source_of(run_id: str) -> str:
    """The source of the step after a run."""
    return f"{CATALOG}run={run_id}"


def plan_chain(
    first: AnyBatch, later: Sequence[RunRequest], at: Callable[[str], Endpoint], ledger: Ledger | None
) -> ChainPlan:
    """Count and price a chain, and check the models and parameters of all its steps.

    Args:
        first: The batch of the first step, checked.
        later: The requests of the others.
        at: Where a model is bought.
        ledger: Says what is owned.

    Raises:
        BadInput: Parameters that do not fit a model, or a model that takes no pictures.
    """
    counted = make_plan(first, ledger)
    images = counted.items * sum(form.num_images for form in first.forms()) // len(first.forms())
    steps = [StepPlan(counted.model.name, counted.items, images, counted.price, counted.price_high)]
    cheapest = min(form.price_high for form in first.forms())
    for request in later:
        forms = _forms(request, at(request.model))
        items = steps[-1].images * request.image.repeat
        steps.append(
            StepPlan(
                request.model,
                items * len(forms),
                items * sum(form.num_images for form in forms),
                items * sum(form.price for form in forms),
                items * sum(form.price_high for form in forms),
            )
        )
        cheapest += min(form.price_high for form in forms)
    return ChainPlan(tuple(steps), cheapest)


def _forms(request: RunRequest, endpoint: Endpoint) -> Sequence[ParameterSet]:
    image = request.image
    if not image.image_columns:
        image = image.model_copy(update={"image_columns": (COLUMN,)})
    return open_terms(["a picture"], request.model_copy(update={"image": image, "template": None}), endpoint).forms()
