"""Rewriting within the whole chain: held to the bill, named where it fails, bought once whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.sandbox import SandboxServer

from ..waiting import until
from .conftest import PARTI, FlowHarness

IMAGEN = Path(sys.executable).with_name("prefect-imagen")
REWRITE = {"rewrite": "openai/gpt-4o-mini", "brief": "calm, hand-drawn"}


def chat(name: str, **options: Any) -> dict[str, Any]:
    return {"fault": name, "match": {"endpoint": "chat"}, **options}


def billed(harness: FlowHarness, endpoint: str) -> int:
    return sum(entry["endpoint"] == endpoint for entry in harness.sandbox.bill()["entries"])


def test_fifty_prompts_with_faults_on(either: FlowHarness) -> None:
    """The issue's own test, through the flow: prompts or named failures; again, nothing; kept, the rest."""
    either.sandbox.set_faults(
        [
            chat("rate_limited", rate=0.05),
            chat("bad_json", rate=0.15),
            chat("too_long", rate=0.2),
            chat("chat_refusal", rate=0.06),
            chat("fenced_json", rate=0.3),
            {"fault": "rate_limited", "rate": 0.03},
        ],
        seed=3,
    )
    first = either.run(str(PARTI), limit=50, **REWRITE)
    assert first.rewrites is not None
    written, refused = first.rewrites.states["delivered"], first.rewrites.states["refused"]
    assert (written + refused, first.delivered, first.states["failed"]) == (50, written, refused)
    assert 0 < refused < 10
    assert len(first.rewrites.failed) == refused
    assert all(text.reason and text.source.startswith(str(PARTI)) for text in first.rewrites.failed)
    assert all(item.reason.startswith("no rewritten prompt (refused): ") for item in first.open)
    assert first.account.rewrites.calls == billed(either, "chat") > written
    either.assert_sum_closes()

    calls = len(either.sandbox.calls())
    again = either.run(str(PARTI), limit=50, **REWRITE)
    assert (again.delivered, again.owned, again.states["failed"]) == (written, written, refused)
    assert len(either.sandbox.calls()) == calls

    kept = either.run(str(PARTI), limit=50, rewrite_fallback="keep", **REWRITE)
    assert kept.rewrites is not None
    assert (kept.complete, kept.delivered, kept.rewrites.kept) == (True, 50, refused)
    assert billed(either, "images") == 50
    either.assert_sum_closes()

    rows = either.query("SELECT source_prompt, prompt, rewritten_by, variation, cost_credits FROM catalog")
    assert len(rows) == 50
    assert sum(by is None and source == prompt for source, prompt, by, _, _ in rows) == refused
    assert sum(by == "openai/gpt-4o-mini" and prompt.startswith(source[:20]) for source, prompt, by, _, _ in rows) == (
        written
    )
    # Each text with its cost, as docs/prompts.md shows it.
    costs = either.query(
        "SELECT r.text, sum(c.settled) FROM imagen_rewrites r JOIN imagen_calls c ON c.item_id = r.item_id GROUP BY 1"
    )
    assert len(costs) == written
    assert all(cost > 0 for _, cost in costs)


def test_one_text_for_every_form_repeat_and_edition(either: FlowHarness) -> None:
    options = {"matrix": {"aspect_ratio": ["1:1", "16:9"]}, "repeat": 2, "rewrites": 2, **REWRITE}
    first = either.run(["a fox"], **options)
    assert (first.complete, first.items) == (True, 8)
    assert (billed(either, "chat"), billed(either, "images")) == (2, 8)
    either.run(["an owl", "a fox"], **options, edition="2")
    assert (billed(either, "chat"), billed(either, "images")) == (4, 24)
    either.assert_sum_closes()


def test_a_budget_covers_texts_and_images(harness: FlowHarness) -> None:
    report = harness.run(str(PARTI), limit=40, budget_usd=1, concurrency=4, **REWRITE)
    assert report.outcome == "BudgetReached"
    assert 0 < report.delivered < 20
    assert harness.sandbox.bill()["credits"] <= 2_000_000
    harness.assert_sum_closes()


@pytest.mark.long
def test_killed_between_text_and_image(harness: FlowHarness, prefect_api: str, tmp_path: Path) -> None:
    """kill -9 while texts are written and images made: what is surely bought is not bought again, neither of both."""
    with SandboxServer(pictures="fast", image_bytes=20_000, latency=0.3, jitter=0.1) as sandbox:
        command = [
            *(str(IMAGEN), "run", str(PARTI), "--limit", "60", "--to", str(tmp_path / "out"), "--json"),
            *("--rewrite", "gpt-4o-mini", "--catalog", str(tmp_path / "kill.db"), "--base-url", sandbox.base_url),
            *("--chunk-size", "10", "--concurrency", "4"),
        ]
        environment = {**os.environ, "PREFECT_API_URL": prefect_api, "AIMLAPI_API_KEY": "key-of-the-tests"}

        def start(*options: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

        def bought(endpoint: str) -> int:
            return sum(entry["endpoint"] == endpoint for entry in sandbox.bill()["entries"])

        process = start()

        def some_of_each() -> bool:
            assert process.poll() is None, process.communicate()
            return bought("chat") >= 20 and bought("images") >= 5

        until(some_of_each, "20 billed rewrites and 5 billed images", pause=0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        sandbox.wait_idle()

        out, err = start("--unknown", "retry").communicate(timeout=170)
        report = json.loads(out)
        assert (report["outcome"], report["states"]["delivered"]) == ("Completed", 60), err
        assert report["rewrites"]["states"] == {"delivered": 60}
        bill = sandbox.bill()["entries"]
        prompts = [entry["prompt"] for entry in bill if entry["endpoint"] == "chat"]
        # Bought twice is at most what was in flight when the process died.
        assert len(prompts) - 60 + bought("images") - 60 <= 4
        assert len(set(prompts)) == 60
