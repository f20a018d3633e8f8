"""Chains: what one step makes goes into the next. Each step is a run of its own, whose items are bought once.

Which pictures go into a step is known when the step before it has ended: what was not delivered there costs nothing
further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..ledger import Ledger
from ..money import credits_to_usd, format_usd, usd_to_credits
from ..plan import AnyBatch, make_plan
from ..plan.combinations import ParameterSet
from ..plan.images import CATALOG
from ..prompts.folders import COLUMN
from ..providers import Endpoint, ImageClient
from ..request import ChainStep, RunRequest
from ..storage import ObjectStore
from .checks import CheckedBatch, Prepared, check_request, open_terms, prepare, with_budget_left
from .report import RunReport

_SAME_PROMPT = "{{ prompt }}"
_UNITS: dict[str, Callable[[int], float]] = {"credits": int, "usd": lambda credits_: float(credits_to_usd(credits_))}


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
    def images(self) -> int:
        """That all steps make."""
        return sum(step.images for step in self.steps)

    @property
    def price(self) -> int:
        """In credits."""
        return sum(step.price for step in self.steps)

    @property
    def price_high(self) -> int:
        """The most, in credits."""
        return sum(step.price_high for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        steps = [
            {"model": step.model, "items": step.items, "images": step.images, **_priced(step.price, step.price_high)}
            for step in self.steps
        ]
        return {"steps": steps, "images": self.images, **_priced(self.price, self.price_high)}

    def summary(self) -> str:
        """In a sentence."""
        steps = "; ".join(f"{step.items:,} of {step.model}: {format_usd(step.price)}" for step in self.steps)
        return f"{format_usd(self.price)} expected, {format_usd(self.price_high)} at most: {steps}"


def _priced(price: int, price_high: int) -> dict[str, Any]:
    prices = {"price": price, "price_high": price_high}
    return {f"{name}_{unit}": to(credits_) for name, credits_ in prices.items() for unit, to in _UNITS.items()}


class BudgetUsedUp(BadInput):
    """Too little is left of a chain's budget for one item of the next step."""


class Chain:
    """A chain that was checked and priced as a whole; nothing is bought in here.

    Args:
        prompts: Of the first step: a file, an object in S3, or a list.
        common: What all steps have in common: budget, edition, tags, limits and so on.
        steps: What each does.
        connect: Opens the client of a model.
        ledger: Open.
        store: The destination of all steps.

    Attributes:
        plan: What it would buy, as if all of it succeeded.

    Raises:
        BadInput: Parameters that do not fit a model, a model that takes no pictures, a budget that does not cover one
            item of each step.
    """

    def __init__(
        self,
        prompts: str | Path | Sequence[str],
        common: RunRequest,
        steps: Sequence[ChainStep],
        *,
        connect: Callable[[str], ImageClient],
        ledger: Ledger,
        store: ObjectStore,
    ) -> None:
        self._requests = _step_requests(common, steps)
        self._connect, self._ledger, self._store = connect, ledger, store
        self._first = self._checked(prompts, self._requests[0])
        self.plan = _plan_chain(self._first.batch, self._requests[1:], self._at, ledger)
        budget = common.budget_usd
        if budget is not None and usd_to_credits(budget) < self.plan.cheapest:
            raise BadInput(
                f"the budget of ${budget:,.2f} is below the price of one item of each step: "
                f"{format_usd(self.plan.cheapest)}"
            )

    def __len__(self) -> int:
        return len(self._requests)

    def next_step(self, reports: Sequence[RunReport]) -> Prepared | None:
        """The step that follows, ready to be run.

        Args:
            reports: Of the steps that have ended, in their order.

        Returns:
            None where the chain has ended: with its last step, one that was stopped, or one that has delivered nothing.

        Raises:
            BudgetUsedUp: Nothing more is bought.
        """
        if len(reports) == len(self) or (reports and (reports[-1].stop is not None or not reports[-1].images)):
            return None
        request = self._requests[len(reports)]
        checked = self._checked(f"{CATALOG}run={reports[-1].run_id}", request) if reports else self._first
        client = self._connect(request.model)
        whole = prepare(request, client=client, ledger=self._ledger, store=self._store, checked=checked)
        affordable = with_budget_left(whole, sum(report.account.billed_at_most for report in reports))
        if affordable is None:
            raise BudgetUsedUp(
                f"the budget is used up before step {len(reports) + 1}; the rest is left for another time"
            )
        return affordable

    def _checked(self, prompts: str | Path | Sequence[str], request: RunRequest) -> CheckedBatch:
        endpoint = self._at(request.model)
        return check_request(prompts, request, endpoint, ledger=lambda: self._ledger, store=self._store)

    def _at(self, model: str) -> Endpoint:
        return Endpoint.of(self._connect(model))


def _step_requests(request: RunRequest, steps: Sequence[ChainStep]) -> list[RunRequest]:
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


def _plan_chain(
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
