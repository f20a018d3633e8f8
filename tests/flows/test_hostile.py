"""Prompts that try to be something else: SQL, HTML, markdown, other directions of writing. And a NUL."""

from __future__ import annotations

from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect_imagen.core.errors import BadInput

from .conftest import FlowHarness

PROMPTS = [
    "a fox'); DROP TABLE imagen_items; --",
    "<script>alert('fox')</script> <img src=x onerror=alert(1)>",
    "a fox | with | pipes |\n| in a | table |",
    "\u202etxt.fox a\u202c \u2066inside\u2069",
    "[a link](javascript:alert(1)) ![x](http://127.0.0.1/beacon) `code`",
    "../../../../etc/passwd",
    "{{ 7 * 7 }} %s %(key)s $(id) ${HOME}",
]


def test_prompts_are_text_and_nothing_else(harness: FlowHarness) -> None:
    harness.sandbox.set_faults([{"fault": "safety_block", "match": {"prompt_contains": "fox"}}])
    report = first = harness.run(PROMPTS, no_variants=True)
    assert report.states["delivered"] + report.states["refused"] == len(PROMPTS)
    harness.sandbox.clear_faults()
    report = harness.run(PROMPTS, no_variants=True, retry_refused=True)
    assert report.states["delivered"] == len(PROMPTS), report.summary()
    assert sorted(row[0] for row in harness.query("SELECT prompt FROM catalog")) == sorted(
        entry["prompt"] for entry in harness.sandbox.bill()["entries"]
    )
    assert harness.query("SELECT count(*) FROM imagen_items") == [(len(PROMPTS),)]
    for key in harness.objects():
        assert ".." not in key
        assert key.isascii()
    harness.assert_sum_closes()

    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(first.run_id)])))
    texts = [artifact.data for artifact in artifacts if artifact.type == "markdown" and isinstance(artifact.data, str)]
    refused = [text for text in texts if "DROP TABLE" in text]
    assert refused, "the refused prompts are not listed"
    for text in refused:
        assert "<script>" not in text.replace("\\<script\\>", "")
        assert "\u202e" not in text
        assert "](javascript" not in text.replace("\\]", "")


def test_a_nul_is_bad_input_before_anything_is_sent(harness: FlowHarness) -> None:
    with pytest.raises(BadInput, match="character"):
        harness.run(["a fox \x00 in the snow"], no_variants=True)
    assert harness.sandbox.calls() == []
