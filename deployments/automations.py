"""Automations as code: who is told what, and what becomes of a run whose process died.

    python -m prefect_imagen.deployments.automations --notify slack-webhook/ops

`--notify` names a saved notification block of Prefect (Slack, Teams, e-mail, a webhook of one's own). The same command
again updates what it made. The events and their payloads are in docs/events.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import Posture
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from ..core.errors import BadInput
from ..flows.events import BudgetWarning, ModelRetiring, Payload, ReviewRequested, RunIncomplete, UnknownWaiting
from ..flows.progress import MONEY_LABEL

_FLOWS = ("imagen_pipeline", "imagen_repair", "imagen_fanout", "imagen_shard", "imagen_review_chain")
# A fan-out starts its shards again by itself, and a shard without its fan-out has nobody to report to.
_RESTARTED = ("imagen_pipeline", "imagen_repair", "imagen_review_chain")
# A fan-out reports what became of its shards.
_TOLD = (
    "imagen_pipeline", "imagen_chain", "imagen_fanout", "imagen_regenerate", "imagen_repair", "imagen_deliver",
    "imagen_provenance", "imagen_review", "imagen_review_chain",
)  # fmt: skip
_FAILURES = ("Failed", "Crashed", "TimedOut", "Cancelled", "Late")
"""Names of Prefect's own states. A run that ends as Incomplete, BudgetReached or Blocked sends an event of ours."""

_MISSED_HEARTBEATS = 3
_LINK = "{% if event.payload.flow_run_url %}\n{{ event.payload.flow_run_url }}{% endif %}"


def notifications(block_id: UUID) -> list[AutomationCore]:
    """Tell people: a run is incomplete or failed, money runs low, calls or images wait for them, a model goes away.

    Args:
        block_id: Document id of a notification block.
    """
    return [
        _failure(block_id),
        _tell(
            RunIncomplete,
            "imagen: a run is incomplete",
            block_id,
            "imagen: {{ event.payload.outcome }}, "
            "{{ event.payload.delivered }} of {{ event.payload['items'] }} delivered",
            "{{ event.payload.message }}\n"
            "Billed ${{ '%.2f' | format(event.payload.billed_usd) }} for {{ event.payload.model }}"
            "{% if event.payload.edition %}, edition {{ event.payload.edition }}{% endif %}. "
            "The same run again buys only what is missing." + _LINK,
        ),
        _tell(
            BudgetWarning,
            "imagen: four fifths of a budget are spent",
            block_id,
            "imagen: {{ '%.0f' | format(event.payload.share * 100) }} % of the {{ event.payload.scope }}'s budget",
            "${{ '%.2f' | format(event.payload.spent_usd) }} spent and "
            "${{ '%.2f' | format(event.payload.reserved_usd) }} reserved of "
            "${{ '%.2f' | format(event.payload.cap_usd) }} ({{ event.payload.period }}).",
        ),
        _tell(
            UnknownWaiting,
            "imagen: calls wait for a decision",
            block_id,
            "imagen: {{ event.payload['items'] }} items may have been billed without an answer",
            "At most ${{ '%.2f' | format(event.payload.at_most_usd) }}. `prefect-imagen repair` asks the API's "
            "log about them, which costs nothing; `prefect-imagen status` lists the calls." + _LINK,
        ),
        _tell(
            ModelRetiring,
            "imagen: a model in use goes away",
            block_id,
            "imagen: {{ event.payload.model }} is being withdrawn",
            "{{ event.payload.message }}"
            "{% if event.payload.shutdown_date %}\nLast day: {{ event.payload.shutdown_date }}{% endif %}"
            "{% if event.payload.successor %}\nInstead: {{ event.payload.successor }}{% endif %}",
        ),
        _tell(
            ReviewRequested,
            "imagen: images wait for a review",
            block_id,
            "imagen: {{ event.payload.unreviewed }} of {{ event.payload.images }} images wait for a review",
            "{% if event.payload.link %}{{ event.payload.link }}{% else %}"
            "`prefect-imagen review` opens the page.{% endif %}" + _LINK,
        ),
    ]


def _failure(block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name="imagen: a run failed",
        description="A run failed, crashed, timed out, was cancelled, or is late.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in _FAILURES},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(_TOLD)},
            posture=Posture.Reactive,
        ),
        actions=[
            SendNotification(
                block_document_id=block_id,
                subject="imagen: {{ flow_run.name }}: {{ event.event.split('.')[-1] }}",
                body="{{ event.payload.validated_state.message or 'Prefect gives no reason.' }}\n"
                "{% if event.event == 'prefect.flow-run.Late' %}"
                "No worker has started it, so it has cost nothing. `prefect-imagen doctor` shows what is missing."
                "{% else %}"
                f"Last recorded cost: {{{{ flow_run.labels['{MONEY_LABEL}'] or 'none' }}}}. "
                "`prefect-imagen status {{ flow_run.id }}` shows the exact amount. When the cause is mended, "
                "`prefect flow-run retry {{ flow_run.id }}` goes on, and buys only what is missing."
                "{% endif %}\n{{ flow_run|ui_url }}",
            )
        ],
    )


def _tell(kind: type[Payload], name: str, block_id: UUID, subject: str, body: str) -> AutomationCore:
    return AutomationCore(
        name=name,
        description=(kind.__doc__ or "").strip(),
        trigger=EventTrigger(
            expect={kind.event}, match={"prefect.resource.id": "prefect-imagen.*"}, posture=Posture.Reactive
        ),
        actions=[SendNotification(block_document_id=block_id, subject=subject, body=body)],
    )


def watchdog(heartbeat: timedelta | None = None) -> AutomationCore:
    """Mark runs as crashed whose process died without a word: a killed pod, a machine that went away.

    Until then such a run stays "Running", and holds the one place of its deployment.

    Args:
        heartbeat: How often a run shows that it lives; `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` of the workers if left out.
    """
    beat = heartbeat or timedelta(seconds=get_current_settings().flows.heartbeat_frequency or 180)
    return AutomationCore(
        name="imagen: mark runs whose process died",
        description="A run of prefect-imagen that shows no sign of life any more is Crashed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            # Any state, too: our final states have names of their own (Incomplete, BudgetReached, Blocked).
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(_FLOWS)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=beat * _MISSED_HEARTBEATS,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no sign of life: its process is gone")],
    )


def restart() -> AutomationCore:
    """Start a crashed run of a deployment again: the same run, so the same edition and budget.

    It buys only what is missing; calls that were in flight when it died are unknown, and stay so. A run that kills its
    process every time (for want of memory, say) is started again every time.
    """
    return AutomationCore(
        name="imagen: start crashed runs again",
        description="A crashed run of prefect-imagen is scheduled again, as the same run.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(_RESTARTED)},
            posture=Posture.Reactive,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", message="its process had died", force=True
            )
        ],
    )


def apply(automations: Sequence[AutomationCore]) -> list[str]:
    """Create each automation, or update the one of that name.

    Returns:
        `created NAME` or `updated NAME` for each.
    """
    said = []
    with get_client(sync_client=True) as client:
        for automation in automations:
            found = client.read_automations_by_name(automation.name)
            if found:
                client.update_automation(found[0].id, automation)
                said.append(f"updated {automation.name}")
            else:
                client.create_automation(automation)
                said.append(f"created {automation.name}")
    return said


def _block_id(slug: str) -> UUID:
    """The document id of a saved block.

    Raises:
        BadInput: No such block.
    """
    kind, _, name = slug.partition("/")
    with get_client(sync_client=True) as client:
        try:
            return client.read_block_document_by_name(name=name, block_type_slug=kind, include_secrets=False).id
        except ObjectNotFound:
            raise BadInput(
                f"there is no block {slug!r}: save a notification block (Blocks → + in Prefect's UI), and name it as "
                "TYPE/NAME, such as slack-webhook/ops"
            ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Create or update the automations."""
    parser = argparse.ArgumentParser(
        prog="python -m prefect_imagen.deployments.automations", description="Create or update the automations."
    )
    parser.add_argument("--notify", metavar="TYPE/NAME", help="notification block, such as slack-webhook/ops")
    parser.add_argument("--restart", action="store_true", help="start crashed runs again by themselves")
    given = parser.parse_args(arguments)
    try:
        wanted = [watchdog(), *([restart()] if given.restart else [])]
        if given.notify:
            wanted = [*notifications(_block_id(given.notify)), *wanted]
        print("\n".join(apply(wanted)))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
