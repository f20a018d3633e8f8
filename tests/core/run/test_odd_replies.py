"""What is paid for and can be shown is delivered, in whatever form it comes; each call means what the bill says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.core.ledger.schema import calls, items
from prefect_imagen.sandbox.faults import OddForm
from prefect_imagen.sandbox.process import SandboxServer

from ...bill import check_bill
from ...chain import run_chain

NOT_DELIVERED = {"accepted": "unknown", "task": "unknown", "error": "unknown", "billed_error": "lost"}
FIRST = 10
"""The number of the first prompt with a fault: none is the beginning of another one then."""


@pytest.fixture
def run(sandbox: SandboxServer, tmp_path: Path, open_ledger: Callable[..., Ledger]) -> Callable[..., Any]:
    ledger = open_ledger(str(tmp_path / "ledger.db"))

    def states(faults: list[dict[str, Any]]) -> tuple[Ledger, dict[str, str]]:
        """Runs one prompt with each fault; returns the states of their items by prompt."""
        matched = [
            {**fault, "match": {"prompt_contains": f"number {number}"}} for number, fault in enumerate(faults, FIRST)
        ]
        sandbox.set_faults(matched)
        run_chain(
            catalog=ledger,
            base_url=sandbox.base_url,
            store=str(tmp_path / "images"),
            spool=str(tmp_path / "spool"),
            count=FIRST + len(faults),
        )
        check_bill(ledger, sandbox)
        return ledger, {entry["prompt"]: entry["state"] for entry in _items(ledger)}

    return states


def _items(ledger: Ledger) -> list[dict[str, str]]:
    with ledger.read() as connection:
        return [dict(row._mapping) for row in connection.execute(items.select())]


def test_forms_of_a_success(run: Callable[..., Any]) -> None:
    forms = get_args(OddForm)
    ledger, states = run([{"fault": "odd_reply", "form": form} for form in forms])
    told = {form: states[f"fox number {number}"] for number, form in enumerate(forms, FIRST)}
    assert told == {form: NOT_DELIVERED.get(form, "delivered") for form in forms}
    with ledger.read() as connection:
        reasons = list(connection.scalars(calls.select().with_only_columns(calls.c.reason)))
    for task in ("task-17", "gen-4711"):
        assert any(task in str(reason) for reason in reasons), "the id of a task is not recorded"


def test_errors_in_other_words(run: Callable[..., Any]) -> None:
    expected = {
        ("openai", 400, "moderation_blocked"): "refused",
        ("fastapi", 422, "field required"): "refused",
        ("page", 413, ""): "refused",
        ("page", 451, ""): "refused",
        ("page", 400, ""): "unknown",
        ("openai", 500, "server_error"): "unknown",
    }
    _, states = run(
        [
            {"fault": "other_error", "envelope": envelope, "status": status, "code": code}
            for envelope, status, code in expected
        ]
    )
    assert [states[f"fox number {number}"] for number in range(FIRST, FIRST + len(expected))] == [*expected.values()]


def test_downloads_of_every_kind(run: Callable[..., Any]) -> None:
    always = {"first_attempts": None}
    delivered = [
        {"fault": "browsers_only", **always},
        *(
            {"fault": "encoded_download", "encoding": encoding, "really": really, **always}
            for encoding, really in (("gzip", True), ("deflate", True), ("gzip", False), ("aws-chunked", False))
        ),
        {"fault": "download_status", "status": 202, "first_attempts": 2},
        {"fault": "html_download", "first_attempts": 3},
    ]
    lost = [{"fault": "download_status", "status": status, **always} for status in (400, 401)]
    _, states = run([*delivered, *lost])
    told = [states[f"fox number {number}"] for number in range(FIRST, FIRST + len(delivered) + len(lost))]
    assert told == ["delivered"] * len(delivered) + ["lost"] * len(lost)
