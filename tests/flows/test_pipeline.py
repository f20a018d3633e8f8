"""The main job on real parts, held to the sandbox's bill."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.blocks import ImageCatalog, LocalImageStore
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Period
from prefect_imagen.core.plan import InvalidPrompts
from prefect_imagen.flows import imagen_pipeline
from pydantic import SecretStr

from .conftest import PARTI, FlowHarness


def test_parti_prompts_are_bought_once_an_edition(either: FlowHarness) -> None:
    first = either.run(str(PARTI), limit=100)
    assert (first.complete, first.delivered, first.images) == (True, 100, 100)
    assert len(either.billed()) == 100
    assert len(either.objects()) == 100

    again = either.run(str(PARTI), limit=100)
    assert (again.complete, again.owned, again.account.billed) == (True, 100, 0)
    assert len(either.billed()) == 100

    fresh = either.run(str(PARTI), limit=100, edition="2")
    assert (fresh.complete, fresh.owned) == (True, 0)
    assert len(either.billed()) == 200
    assert len(either.objects()) == 200
    either.assert_sum_closes()


def test_what_is_stored_is_what_was_served_and_what_the_catalog_says(harness: FlowHarness) -> None:
    report = harness.run(["a {red|blue} fox", "a dog"], num_images=2, aspect_ratio="16:9", tag={"team": "spring"})
    assert (report.items, report.images) == (3, 6)
    rows = harness.query(
        "SELECT uri, object_key, sha256, bytes, width, height, content_type, cost_credits, state, tags, source_line,"
        " seed, client_request_id FROM catalog"
    )
    assert len(rows) == 6
    client = harness.s3.client()
    for uri, key, sha256, size, width, height, content_type, credits_, state, tags, line, seed, call in rows:
        assert uri == f"s3://{harness.bucket}/out/{key}"
        stored = client.get_object(Bucket=harness.bucket, Key=f"out/{key}", ChecksumMode="ENABLED")
        body = stored["Body"].read()
        assert hashlib.sha256(body).hexdigest() == sha256
        assert len(body) == size
        assert stored["ContentType"] == content_type == "image/png"
        assert stored["Metadata"]["call-id"] == call
        assert (width, height) == (1408, 768)
        assert (credits_, state, tags) == (104_000, "stored", '{"team": "spring"}')
        assert line in (1, 2)
        assert 0 <= int(seed) < 2**32
    assert {call["client_request_id"] for call in harness.sandbox.calls()} == {row[12] for row in rows}
    assert harness.sandbox.leaks() == []
    harness.assert_sum_closes()


def test_a_deployment_buys_nothing_without_a_budget_of_its_own_or_of_the_ledger(
    harness: FlowHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "00000000-0000-0000-0000-000000000000")
    with pytest.raises(BadInput, match=r"needs a budget.*`budget_usd`.*prefect-imagen budget --day 20"):
        harness.run(["a fox"])
    assert harness.sandbox.calls() == []
    assert harness.run(["a fox"], budget_usd=1).complete
    harness.ledger.budgets.set(Period.DAY, 20_000_000)
    assert harness.run(["a dog"]).complete
    assert len(harness.billed()) == 2


def test_duplicates_are_bought_once_and_stay_traceable(either: FlowHarness) -> None:
    report = either.run(["a fox", "a dog", "a fox"])
    assert (report.rows, report.items, report.delivered) == (3, 2, 2)
    assert len(either.billed()) == 2
    lines = either.query("SELECT line FROM imagen_run_items ORDER BY position")
    assert lines == [(1,), (2,), (3,)]


def test_prompts_beyond_the_limit_are_all_reported_before_anything_is_sent(either: FlowHarness, tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,style\n" + "".join(f"{'long ' * n},oil\n" for n in (1, 90, 2, 100)), encoding="utf-8")
    template = "{{ prompt }} in {{ style }}"
    with pytest.raises(InvalidPrompts) as caught:
        either.run(str(path), template=template)
    assert [(problem.line, "limit is 400" in problem.problem) for problem in caught.value.problems] == [
        (3, True),
        (5, True),
    ]
    assert either.sandbox.calls() == []
    rest = either.run(str(path), template=template, skip_invalid=True)
    assert (rest.complete, rest.items, len(either.billed())) == (True, 2, 2)


FAULTS: dict[str, dict[str, Any]] = {
    "429 with Retry-After": {"fault": "rate_limited", "every": 7, "retry_after": 1},
    "429 without": {"fault": "rate_limited", "every": 11, "retry_after": None, "envelope": "legacy"},
    "500": {"fault": "server_error", "every": 10},
    "502 after billing": {"fault": "bad_gateway_billed", "every": 10},
    "cut before billing": {"fault": "cut_before_billing", "every": 10},
    "cut after billing": {"fault": "cut_after_billing", "every": 10},
    "reply cut in its middle": {"fault": "truncated_reply_billed", "every": 10},
    "HTML with 200": {"fault": "html_200", "every": 10},
    "safety block, 200": {"fault": "safety_block", "form": "empty_200", "every": 10},
    "safety block, billed": {"fault": "safety_block", "form": "empty_200", "billed": True, "every": 10},
    "safety block, 400": {"fault": "safety_block", "form": "http_400", "every": 10},
    "truncated download": {"fault": "truncated_download", "every": 5},
    "HTML download": {"fault": "html_download", "every": 5},
    "corrupt picture, always": {"fault": "corrupt_image", "every": 10, "first_attempts": None},
    "download gone, always": {"fault": "download_404", "every": 10, "first_attempts": None},
    "download 500": {"fault": "download_500", "every": 5},
}

EXPECTED: dict[str, dict[str, int]] = {
    "429 with Retry-After": {"delivered": 30},
    "429 without": {"delivered": 30},
    "500": {"delivered": 27, "unknown": 3},
    "502 after billing": {"delivered": 27, "unknown": 3},
    "cut before billing": {"delivered": 27, "unknown": 3},
    "cut after billing": {"delivered": 27, "unknown": 3},
    "reply cut in its middle": {"delivered": 27, "unknown": 3},
    "HTML with 200": {"delivered": 27, "unknown": 3},
    "safety block, 200": {"delivered": 27, "refused": 3},
    "safety block, billed": {"delivered": 27, "refused": 3},
    "safety block, 400": {"delivered": 27, "refused": 3},
    "truncated download": {"delivered": 30},
    "HTML download": {"delivered": 30},
    "corrupt picture, always": {"delivered": 27, "lost": 3},
    "download gone, always": {"delivered": 27, "lost": 3},
    "download 500": {"delivered": 30},
}


IN_PREFECT = ("502 after billing", "corrupt picture, always")
"""Those that the short tests also send through the flow: a call and a picture that come to nothing."""


@pytest.mark.parametrize(
    ("either", "name"),
    [
        *(("alone", name) for name in FAULTS),
        *(pytest.param("in Prefect", name, marks=[] if name in IN_PREFECT else [pytest.mark.long]) for name in FAULTS),
    ],
    indirect=["either"],
)
def test_each_fault_alone_leaves_a_sum_that_closes(either: FlowHarness, name: str) -> None:
    either.sandbox.set_faults([FAULTS[name]])
    report = either.run([f"prompt number {n} for {name}" for n in range(30)])
    assert {state: count for state, count in report.states.items() if count} == EXPECTED[name]
    assert report.complete == (EXPECTED[name] == {"delivered": 30})
    assert report.images == report.delivered == len(either.objects())
    assert len(report.open) == 30 - report.delivered
    assert all(item.reason for item in report.open)
    either.assert_sum_closes()
    # The same again asks for nothing that was bought, refused or may have been billed; what the API's log says was not
    # billed is bought now.
    calls = len(either.sandbox.calls())
    known = dict(either.query("SELECT id, outcome FROM imagen_calls"))
    failed = {call for call, outcome in known.items() if outcome == "unknown"} - set(either.billed())
    either.sandbox.clear_faults()
    again = either.run([f"prompt number {n} for {name}" for n in range(30)])
    assert len(either.sandbox.calls()) == calls + len(failed)
    assert (again.states["unknown"], again.delivered) == (0, report.delivered + len(failed))


@pytest.mark.parametrize(
    ("policy", "first", "then"), [("hold", "unknown", 0), ("retry", "unknown", 5), ("fail", "failed", 5)]
)
def test_unknown_items_are_held_bought_again_or_given_up(
    either: FlowHarness, policy: str, first: str, then: int
) -> None:
    prompts = [f"unknown {n}" for n in range(20)]
    either.sandbox.set_faults([{"fault": "cut_after_billing", "times": 5}])
    report = either.run(prompts, unknown=policy)
    assert (report.delivered, report.states[first]) == (15, 5)
    assert (report.account.unknown.calls, report.account.unknown.credits) == (5, 5 * 106_000)
    again = either.run(prompts, unknown=policy)
    assert len(either.billed()) == 20 + then
    assert again.complete == bool(then)
    either.assert_sum_closes()


def test_a_5xx_can_be_trusted_to_be_unbilled(either: FlowHarness) -> None:
    either.sandbox.set_faults([{"fault": "server_error", "every": 10}])
    report = either.run([f"trusted {n}" for n in range(30)], trust_unbilled_5xx=True)
    assert (report.complete, report.account.unknown.calls) == (True, 0)
    assert report.account.unbilled.calls >= 3
    assert len(either.billed()) == 30
    either.assert_sum_closes()


def test_fewer_images_than_asked_are_delivered_and_counted(either: FlowHarness) -> None:
    either.sandbox.set_faults([{"fault": "fewer_images", "every": 5, "billed": "requested"}])
    report = either.run([f"prompt {n}" for n in range(50)], num_images=2)
    assert (report.complete, report.delivered, report.images) == (True, 50, 90)
    assert either.query("SELECT count(*) FROM imagen_calls WHERE returned < requested") == [(10,)]
    either.assert_sum_closes()


def test_out_of_credit_stops_the_run_and_the_same_run_goes_on(harness: FlowHarness) -> None:
    prompts = [f"credit {n}" for n in range(50)]
    harness.sandbox.set_faults([{"fault": "out_of_credit", "after": 20}])
    state = harness.state(prompts, concurrency=4)
    assert (state.name, state.is_failed()) == ("Blocked", True)
    report = harness.report(state)
    assert "out of credit" in report.message
    assert report.states["planned"] == 50 - report.delivered
    assert report.delivered == len(harness.billed()) == 20
    harness.assert_sum_closes()
    harness.sandbox.clear_faults()
    assert harness.run(prompts).complete
    assert len(harness.billed()) == 50


def test_the_budget_is_never_passed_and_the_rest_can_be_bought_later(harness: FlowHarness) -> None:
    prompts = [f"budget {n}" for n in range(30)]
    state = harness.state(prompts, budget_usd=0.53)
    assert state.name == "BudgetReached"
    report = harness.report(state)
    assert report.delivered == len(harness.billed()) == 10
    assert harness.sandbox.bill()["credits"] <= 1_060_000
    assert harness.run(prompts).complete
    assert len(harness.billed()) == 30
    harness.assert_sum_closes()


def test_a_budget_below_one_item_is_refused(either: FlowHarness) -> None:
    with pytest.raises(BadInput, match="below the price of one item"):
        either.run(["a fox"], budget_usd=0.01)
    assert either.sandbox.calls() == []


def test_an_owned_item_that_is_wanted_elsewhere_is_copied_not_bought(harness: FlowHarness, tmp_path: Path) -> None:
    harness.run(["a fox", "a dog"])
    elsewhere = S3_PREFIX(harness, "second")
    state = imagen_pipeline(
        ["a fox", "a dog", "a cat"], elsewhere, harness.credentials, harness.catalog, return_state=True
    )
    report = state.result()
    assert (report.delivered, report.owned, len(harness.billed())) == (3, 2, 3)
    assert sum(key.startswith("second/") for key in harness.objects()) == 3
    again = imagen_pipeline(["a fox"], elsewhere, harness.credentials, harness.catalog, return_state=True)
    assert again.is_completed()
    assert len(harness.billed()) == 3


def S3_PREFIX(harness: FlowHarness, prefix: str) -> Any:  # noqa: N802
    return harness.store.model_copy(update={"prefix": prefix})


def test_a_destination_of_another_ledger_is_not_filled(harness: FlowHarness, tmp_path: Path) -> None:
    harness.run(["a fox"])
    other = ImageCatalog(url=SecretStr(str(tmp_path / "other.db")))
    with pytest.raises(BadInput, match="destination of another ledger"):
        imagen_pipeline(["a fox"], harness.store, harness.credentials, other)
    assert len(harness.billed()) == 1


def test_a_place_that_lost_its_mark_is_not_taken_for_the_one_delivered_to(either: FlowHarness) -> None:
    either.run(["a fox"])
    either.s3.client().delete_object(Bucket=either.bucket, Key="out/.prefect-imagen-ledger.json")
    with pytest.raises(BadInput, match="does not know this catalog"):
        either.run(["a fox"])
    assert either.run(["a fox"], adopt_ledger=True).owned == 1


def test_base64_replies_are_delivered_from_the_spool(either: FlowHarness) -> None:
    report = either.run([f"inline {n}" for n in range(10)], set={"convert_base64_to_url": False})
    assert (report.complete, report.images, len(either.objects())) == (True, 10, 10)
    assert either.sandbox.stats()["cdn_gets"] == 0
    assert list((Path(either.database).parent / "imagen-home").rglob("replies"))
    assert list((Path(either.database).parent / "imagen-home").rglob("replies/*")) == []


def test_the_other_contract_and_the_other_model_run_too(either: FlowHarness) -> None:
    assert either.run(["a fox"], model="imagen4/preview").complete
    # The alias is the same model: the same prompt is owned.
    assert either.run(["a fox"]).owned == 1
    flux = either.run(["a fox"], model="flux/schnell", aspect_ratio="16:9")
    assert flux.complete
    assert either.query("SELECT width, height, cost_credits FROM catalog WHERE model = 'flux/schnell'") == [
        (1024, 576, 8000)
    ]
    either.assert_sum_closes()


def test_a_folder_is_a_store_too(harness: FlowHarness, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    state = imagen_pipeline(
        ["a fox"], LocalImageStore(folder=str(folder)), harness.credentials, harness.catalog, return_state=True
    )
    report = state.result()
    assert report.complete
    assert [path.suffix for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")] == [".png"]


def test_warn_ends_as_completed_with_the_outcome_for_a_name(harness: FlowHarness) -> None:
    harness.sandbox.set_faults([{"fault": "server_error", "every": 2}])
    state = harness.state(["a", "b"], on_incomplete="warn")
    assert (state.is_completed(), state.name) == (True, "Incomplete")
