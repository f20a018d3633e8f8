"""Events for automations: their names, their payloads, and how they are sent.

    prefect-imagen.run.completed      a run delivered everything      exactly one of the two
    prefect-imagen.run.incomplete     a run left something undone     for each run
    prefect-imagen.buying.paused      no call, or no picture, succeeds
    prefect-imagen.buying.resumed     one succeeded again
    prefect-imagen.budget.warning     four fifths of a cap are spent
    prefect-imagen.unknown.waiting    calls that may have been billed wait for a decision
    prefect-imagen.model.retiring     a model in use will be withdrawn
    prefect-imagen.review.requested   a flow run waits until images are reviewed
    prefect-imagen.review.completed   it goes on

Each payload is a model of this module, and docs/events.md shows its fields. Amounts are US dollars as numbers, so that
a template or a trigger can use them; the ledger has the exact credits. Sending is best effort: a Prefect server that is
gone or refuses an event never changes how a run ends. Within a flow run, Prefect itself adds the flow run, its flow,
deployment, work pool and tags as related resources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import date
from typing import ClassVar, Literal

from prefect.events import emit_event
from prefect.logging import get_logger
from pydantic import BaseModel, ConfigDict, Field

from ..core.money import credits_to_usd
from ..core.run.report import RunReport
from ..tasks.runtime import current_flow_run

MAX_TEXT = 500
_IDS = 100


class Payload(BaseModel, ABC):
    """What an event carries. `event` is its name, `resource` the id of what it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    event: ClassVar[str]

    @property
    @abstractmethod
    def resource(self) -> str:
        """`prefect.resource.id` of the event."""


class _RunEnded(Payload):
    run_id: str = Field(description="The run in the ledger; also the id of its flow run.")
    flow_run_url: str | None = Field(description="The flow run in Prefect's UI, where its address is known.")
    outcome: str = Field(description="How it ended.")
    message: str = Field(description="Why it did not complete; empty otherwise.")
    model: str = Field(description="The model that was asked for.")
    edition: str = Field(description="The edition; empty for none.")
    tags: Mapping[str, str] = Field(description="The run's own tags.")
    destination: str | None = Field(description="URI of the place the images are at.")
    catalog: str = Field(description="Address of the ledger, without its password.")
    rows: int = Field(description="Rows of the source, duplicates included.")
    items: int = Field(description="Distinct items.")
    delivered: int = Field(description="Items delivered, owned ones included.")
    owned: int = Field(description="Items that earlier runs had delivered.")
    states: Mapping[str, int] = Field(description="Items by state, every state present.")
    images: int = Field(description="Stored images of the run's items.")
    quarantined: int = Field(description="Images that were paid and are not images.")
    billed_usd: float = Field(description="What this run's calls surely cost.")
    unknown_calls: int = Field(description="Calls of this run that may have been billed.")
    unknown_usd: float = Field(description="What these cost at most.")
    in_flight_calls: int = Field(description="Calls not over when a stopped run was counted; else 0.")

    @property
    def resource(self) -> str:
        return f"prefect-imagen.run.{self.run_id}"


class RunCompleted(_RunEnded):
    """Every item of a run is delivered."""

    event: ClassVar[str] = "prefect-imagen.run.completed"
    outcome: Literal["Completed"] = Field(description="How it ended.")


class RunIncomplete(_RunEnded):
    """A run ended with items that are not delivered: some failed, the budget was reached, or something blocked it."""

    event: ClassVar[str] = "prefect-imagen.run.incomplete"
    outcome: Literal["Incomplete", "BudgetReached", "Blocked"] = Field(
        description="Some items failed; the budget; or a service, the key, the model or a signal."
    )


class BuyingPaused(Payload):
    """Nothing has succeeded for a while: a run buys nothing but a probe now and then."""

    event: ClassVar[str] = "prefect-imagen.buying.paused"

    run_id: str = Field(description="The run.")
    of: Literal["calls", "pictures", "calls for texts"] = Field(description="What does not succeed.")
    reason: str = Field(description="How many, and why the last one failed.")
    patience_seconds: float = Field(description="When the run ends as `Blocked`, if nothing succeeds until then.")

    @property
    def resource(self) -> str:
        return f"prefect-imagen.run.{self.run_id}"


class BuyingResumed(Payload):
    """After a pause something succeeded: the run goes on."""

    event: ClassVar[str] = "prefect-imagen.buying.resumed"

    run_id: str = Field(description="The run.")
    of: Literal["calls", "pictures", "calls for texts"] = Field(description="What succeeds again.")

    @property
    def resource(self) -> str:
        return f"prefect-imagen.run.{self.run_id}"


class BudgetWarning(Payload):
    """What is spent and reserved has reached 80 % of a cap."""

    event: ClassVar[str] = "prefect-imagen.budget.warning"

    scope: Literal["run", "day", "month"] = Field(description="Whose cap.")
    period: str = Field(description="The run's id, the day (2026-03-01), or the month (2026-03).")
    provider: str | None = Field(default=None, description="Whose calls count, where it is not all of them.")
    spent_usd: float = Field(description="Billed in that scope.")
    reserved_usd: float = Field(description="Reserved for calls in flight and unknown ones.")
    cap_usd: float = Field(description="The cap.")
    share: float = Field(description="(spent + reserved) / cap.")
    run_id: str | None = Field(default=None, description="The run that noticed.")

    @property
    def resource(self) -> str:
        whose = f".{self.provider}" if self.provider else ""
        return f"prefect-imagen.budget.{self.scope}.{self.period}{whose}"


class UnknownWaiting(Payload):
    """Calls of a run may have been billed without an answer, and their items wait for a decision."""

    event: ClassVar[str] = "prefect-imagen.unknown.waiting"

    run_id: str = Field(description="The run whose items they are.")
    flow_run_url: str | None = Field(description="The flow run in Prefect's UI, where its address is known.")
    items: int = Field(description="Items that wait.")
    at_most_usd: float = Field(description="What is reserved for the run's unknown calls.")
    client_request_ids: tuple[str, ...] = Field(description="To ask the provider about; at most 100 of them.")

    @property
    def resource(self) -> str:
        return f"prefect-imagen.run.{self.run_id}"


class ModelRetiring(Payload):
    """A model in use is announced for withdrawal."""

    event: ClassVar[str] = "prefect-imagen.model.retiring"

    model: str = Field(description="Canonical id.")
    shutdown_date: date | None = Field(description="When the provider withdraws it, where announced.")
    successor: str | None = Field(description="What to use instead, where known.")
    message: str = Field(default="", description="As the provider or the registry says it.")
    run_id: str | None = Field(default=None, description="The run that uses it.")

    @property
    def resource(self) -> str:
        return f"prefect-imagen.model.{self.model}"


class _Review(Payload):
    flow_run_id: str = Field(description="The flow run that waits, or has waited.")
    flow_run_url: str | None = Field(description="The flow run in Prefect's UI, where its address is known.")
    catalog: str = Field(description="Address of the ledger, without its password.")
    images: int = Field(description="Images that are meant.")
    approved: int = Field(description="Approved ones.")
    rejected: int = Field(description="Rejected ones.")
    unreviewed: int = Field(description="Images without a verdict.")

    @property
    def resource(self) -> str:
        return f"prefect-imagen.review.{self.flow_run_id}"


class ReviewRequested(_Review):
    """A flow run waits until people have reviewed images."""

    event: ClassVar[str] = "prefect-imagen.review.requested"
    link: str | None = Field(default=None, description="Address of the review page, where one was given.")


class ReviewCompleted(_Review):
    """The images that a flow run waited for are reviewed, or somebody has let it go on."""

    event: ClassVar[str] = "prefect-imagen.review.completed"


def emit_run_ended(report: RunReport, *, model: str, edition: str, tags: Mapping[str, str]) -> None:
    """Send the one event of a run that ended."""
    kind = RunCompleted if report.complete else RunIncomplete
    account = report.account
    send(
        kind(
            run_id=report.run_id,
            flow_run_url=current_flow_run().url,
            outcome=report.outcome,
            message=report.message[:MAX_TEXT],
            model=model,
            edition=edition,
            tags=tags,
            destination=report.destination,
            catalog=report.catalog,
            rows=report.rows,
            items=report.items,
            delivered=report.delivered,
            owned=report.owned,
            states={str(state): count for state, count in report.states.items()},
            images=report.images,
            quarantined=report.quarantined,
            billed_usd=float(credits_to_usd(account.billed)),
            unknown_calls=account.unknown.calls,
            unknown_usd=float(credits_to_usd(account.unknown.credits)),
            in_flight_calls=account.in_flight.calls,
        )
    )


def emit_unknown_waiting(report: RunReport) -> None:
    """Send that items of a run wait for a decision, if any do."""
    waiting = report.states.get("unknown", 0)
    if not waiting:
        return
    ids = [item.client_request_id for item in report.open if item.state == "unknown" and item.client_request_id]
    send(
        UnknownWaiting(
            run_id=report.run_id,
            flow_run_url=current_flow_run().url,
            items=waiting,
            at_most_usd=float(credits_to_usd(report.account.unknown.credits)),
            client_request_ids=tuple(ids[:_IDS]),
        )
    )


def send(payload: Payload) -> None:
    """Send an event; where that fails, the run's log has a warning."""
    try:
        emit_event(
            payload.event,
            resource={"prefect.resource.id": payload.resource, "prefect.resource.name": payload.resource},
            payload=payload.model_dump(mode="json"),
        )
    except Exception as error:  # noqa: BLE001 - an event is for automations; it never changes how a run ends
        get_logger("prefect_imagen.events").warning("the event %s was not sent: %s", payload.event, error)
