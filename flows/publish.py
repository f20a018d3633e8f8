"""Publishing a run in Prefect: artifacts, assets, tags, events, for people and automations.

The run has ended on the ledger before this begins. So nothing here may change how it ended: what a Prefect server
refuses, or what cannot be drawn, is a warning in the run's log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import prefect.runtime
from prefect import get_run_logger
from prefect.client.orchestration import get_client

from ..core.contact_sheet import ContactSheet, contact_sheet
from ..core.limits import StopReason
from ..core.money import format_usd
from ..core.run.report import RunReport
from ..core.run.run import Run
from .artifacts import leave_contact_sheet, leave_report
from .assets import record_assets
from .events import emit_run_ended, emit_unknown_waiting
from .progress import label_money

_SHEET_BYTES = 300_000


def publish(report: RunReport, run: Run, *, source: str | None = None) -> None:
    """Publish a finished run's artifacts, assets and events to Prefect.

    Args:
        report: Of the run.
        run: The run, still open.
        source: Address of the prompts, if they have one.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="imagen-sheet") as thread:
        sheet = thread.submit(_contact_sheet, report, run)  # the store is asked while Prefect is
        _attempt("its report", lambda: leave_report(report, run.ledger))
        _attempt("its assets", lambda: _record_assets(report, run, source))
        _attempt("its contact sheet", lambda: _leave_contact_sheet(sheet.result(), report))
    emit_end(report, run)


def emit_end(report: RunReport, run: Run) -> None:
    """Send the event that a run has ended, and one for items that wait for a decision; label the flow run."""
    _attempt("its cost", lambda: label_money(_money(report)))
    _attempt("its event", lambda: _emit_end(report, run))


def tag_flow_run(tags: Mapping[str, str]) -> None:
    """Add a run's tags to its flow run, each as `name=value`, so that the UI can filter by them."""
    if tags:
        _attempt("its tags", lambda: _tag(tags))


def _attempt(what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - see the module: nothing here changes how a run ends
        get_run_logger().warning("the run left %s incomplete in Prefect: %s: %s", what, type(error).__name__, error)


def _contact_sheet(report: RunReport, run: Run) -> ContactSheet | None:
    if run.services.store is None or run.services.halt.reason is StopReason.STORE:
        return None
    return contact_sheet(run.ledger, run.services.store, report.run_id)


def _leave_contact_sheet(sheet: ContactSheet | None, report: RunReport) -> None:
    if sheet is not None:
        leave_contact_sheet(sheet.jpeg(max_bytes=_SHEET_BYTES), sheet.shown, report)


def _record_assets(report: RunReport, run: Run, source: str | None) -> None:
    row = run.ledger.runs.get(report.run_id)
    new = run.ledger.images.count_stored_by(report.run_id)
    record_assets(report, model=row["model"], edition=row["edition"], tags=row["tags"], new_images=new, source=source)


def _emit_end(report: RunReport, run: Run) -> None:
    row = run.ledger.runs.get(report.run_id)
    emit_run_ended(report, model=row["model"], edition=row["edition"], tags=row["tags"])
    emit_unknown_waiting(report)


def _money(report: RunReport) -> str:
    text = f"{format_usd(report.account.billed)} billed"
    unknown = report.account.unknown
    return f"{text}, at most {format_usd(unknown.credits)} more for unknown calls" if unknown.calls else text


def _tag(tags: Mapping[str, str]) -> None:
    flow_run_id = prefect.runtime.flow_run.id
    if flow_run_id is None:
        return
    there = list(prefect.runtime.flow_run.tags)
    wanted = [tag for name, value in tags.items() if (tag := f"{name}={value}") not in there]
    if wanted:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run_id)), tags=[*there, *wanted])
