"""Prompts rewritten against the sandbox's language models and all their faults: texts or named failures, paid once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import ItemState
from prefect_imagen.core.ledger.calls import NOT_RECORDED
from prefect_imagen.core.ledger.schema import calls, images, items
from prefect_imagen.core.ledger.workers import Worker, release_dead_workers, this_host
from prefect_imagen.core.limits import StopReason
from prefect_imagen.core.plan import BatchSpec
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.providers import ImageClient, ImageRequest, RawReply
from prefect_imagen.core.providers.chat_models import resolve_chat_model
from prefect_imagen.core.providers.client import WireRequest
from prefect_imagen.core.purchase import recover_replies
from prefect_imagen.core.purchase.rewrite import classify_rewrite
from prefect_imagen.core.request import RewriteFallback, UnknownPolicy
from prefect_imagen.core.rewrite import RewriteSpec

MINI = RewriteSpec("openai/gpt-4o-mini")
MakeHarness = Callable[..., Any]


def fault(name: str, **options: Any) -> dict[str, Any]:
    return {"fault": name, "match": {"endpoint": "chat"}, **options}


def chats(harness: Any) -> int:
    return sum(call["endpoint"] == "chat" for call in harness.sandbox.calls())


def test_texts_are_bought_once_and_the_images_made_from_them(make_harness: MakeHarness) -> None:
    harness = make_harness(20, rewrite=RewriteSpec("gpt-4o-mini", 2, "calm, hand-drawn"))
    harness.rewrite_all()
    assert harness.texts() == {"delivered": 40}
    texts = harness.written()
    assert len(set(texts.values())) == 40
    assert all(key.partition(" /")[0] in text and len(text) <= 400 for key, text in texts.items())
    harness.buy_all()
    account = harness.reconcile()
    assert (account.rewrites.calls, account.generated.calls) == (40, 40)
    assert account.billed > 40 * 104_000
    sent = {call["prompt"] for call in harness.sandbox.calls() if call["endpoint"] == "images"}
    assert sent == set(texts.values())
    harness.rewrite_all()
    harness.buy_all()
    assert len(harness.sandbox.calls()) == 80, "something was bought again"


def test_the_brief_and_the_other_variations_are_told(make_harness: MakeHarness) -> None:
    harness = make_harness(1, rewrite=RewriteSpec("gpt-4o-mini", 3, "calm"))
    harness.rewrite_all()
    asked = [call["prompt"] for call in harness.sandbox.calls()]
    assert all('"brief": "calm"' in question for question in asked)
    texts = harness.written()
    assert ["different_from" in question for question in asked] == [False, True, True]
    assert texts["fox number 0 / 1"] in asked[2]
    assert texts["fox number 0 / 2"] in asked[2]


def test_more_variations_buy_only_those(make_harness: MakeHarness) -> None:
    first = make_harness(10, rewrite=RewriteSpec("gpt-4o-mini", 1))
    first.rewrite_all()
    more = make_harness(10, rewrite=RewriteSpec("gpt-4o-mini", 3))
    more.rewrite_all()
    assert more.texts() == {"delivered": 30}
    assert chats(more) == 30
    other = make_harness(10, rewrite=RewriteSpec("gpt-4o-mini", 1, "noir"))
    other.rewrite_all()
    assert chats(other) == 40


def test_fifty_prompts_through_every_fault_at_once(make_harness: MakeHarness) -> None:
    """The issue's own test: 50 usable prompts or named failures, the second run buys none, the bill's sum closes."""
    harness = make_harness(50, rewrite=MINI)
    harness.sandbox.set_faults(
        [
            fault("rate_limited", rate=0.06),
            fault("bad_json", rate=0.15),
            fault("bad_json", rate=0.1, form="prose"),
            fault("too_long", rate=0.2),
            fault("chat_refusal", rate=0.08),
            fault("fenced_json", rate=0.3),
            fault("empty_content", rate=0.2),
        ],
        seed=7,
    )
    harness.rewrite_all()
    texts = harness.texts()
    assert sum(texts.values()) == 50
    assert set(texts) <= {"delivered", "refused"}
    assert 40 <= texts["delivered"] < 50
    assert all(reason and "None" not in reason for reason in harness.reasons())
    assert len(harness.written()) == texts["delivered"]
    account = harness.reconcile()
    assert account.rewrites.calls > 50, "no answer was of no use"
    struck = {rule["fault"]: rule["struck"] for rule in harness.sandbox.faults()["rules"]}
    assert all(struck.values()), struck
    before = len(harness.sandbox.calls())
    harness.rewrite_all()
    assert len(harness.sandbox.calls()) == before, "the second run bought again"
    harness.buy_all()
    assert harness.states() == {"generated": texts["delivered"], "failed": texts["refused"]}
    harness.reconcile()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (fault("bad_json"), "not the JSON"),
        (fault("bad_json", form="prose"), "not the JSON"),
        (fault("bad_json", form="keys"), "not the JSON"),
        (fault("too_long"), "900 characters, 400 are allowed (the last of 3 answers)"),
        (fault("empty_content"), "only reasoning"),
        (fault("empty_content", reasoning=False), "empty (the last of 3 answers)"),
    ],
)
def test_answers_without_end_that_are_of_no_use(make_harness: MakeHarness, rule: dict[str, Any], reason: str) -> None:
    harness = make_harness(8, rewrite=MINI)
    harness.sandbox.set_faults([rule])
    harness.rewrite_all()
    assert harness.texts() == {"refused": 8}
    assert all(reason in told for told in harness.reasons())
    account = harness.reconcile()
    assert (account.rewrites.calls, chats(harness)) == (24, 24)
    harness.buy_all()
    assert harness.states() == {"failed": 8}
    harness.sandbox.clear_faults()
    harness.rewrite_all()
    assert chats(harness) == 24, "asked for again without being told to"
    harness.rewrite_all(retry_refused=True)
    assert harness.texts() == {"delivered": 8}
    harness.buy_all()
    assert harness.states() == {"generated": 8}
    harness.reconcile()


@pytest.mark.parametrize("rule", [fault("bad_json"), fault("too_long"), fault("empty_content")])
def test_one_answer_of_no_use_is_asked_for_again(make_harness: MakeHarness, rule: dict[str, Any]) -> None:
    harness = make_harness(8, rewrite=MINI)
    harness.sandbox.set_faults([{**rule, "times": 8}])
    harness.rewrite_all()
    assert harness.texts() == {"delivered": 8}
    assert (harness.reconcile().rewrites.calls, chats(harness)) == (16, 16)


@pytest.mark.parametrize(
    ("form", "reason", "billed"), [("message", "refused", 6), ("filter", "filter", 6), ("http_400", "safety system", 0)]
)
def test_a_refusal_is_final(make_harness: MakeHarness, form: str, reason: str, billed: int) -> None:
    harness = make_harness(6, rewrite=MINI)
    harness.sandbox.set_faults([fault("chat_refusal", form=form)])
    harness.rewrite_all()
    assert harness.texts() == {"refused": 6}
    assert all(reason in told for told in harness.reasons())
    assert chats(harness) == 6
    assert harness.reconcile().rewrites.calls == billed


def test_a_fence_and_prose_around_the_json_do_no_harm(make_harness: MakeHarness) -> None:
    harness = make_harness(6, rewrite=MINI)
    harness.sandbox.set_faults([fault("fenced_json")])
    harness.rewrite_all()
    assert (harness.texts(), chats(harness)) == ({"delivered": 6}, 6)


def test_a_model_is_asked_the_way_it_takes(make_harness: MakeHarness) -> None:
    harness = make_harness(12, rewrite=MINI)
    harness.sandbox.set_faults(
        [
            fault("parameter_rejected", parameter="max_tokens", every=1, times=12),
            fault("system_role_rejected"),
        ]
    )
    harness.rewrite_all()
    assert harness.texts() == {"delivered": 12}
    account = harness.reconcile()
    # What one thread has learnt, the others know: each refusal is met once for each call that was in flight.
    assert account.rewrites.calls == 12
    assert 2 <= account.unbilled.calls <= 3 * 8


def test_a_schema_that_is_refused_is_left_out(make_harness: MakeHarness) -> None:
    harness = make_harness(4, rewrite=MINI)
    harness.sandbox.set_faults([fault("parameter_rejected", parameter="response_format")])
    harness.rewrite_all()
    assert harness.texts() == {"delivered": 4}
    harness.reconcile()


def test_reasoning_models_get_room_to_think(make_harness: MakeHarness) -> None:
    harness = make_harness(4, rewrite=RewriteSpec("gpt-5-nano"))
    harness.rewrite_all()
    assert (harness.texts(), chats(harness)) == ({"delivered": 4}, 4)
    assert {call["model"] for call in harness.sandbox.calls()} == {"openai/gpt-5-nano-2025-08-07"}
    harness.reconcile()


def test_rate_limits_are_waited_out(make_harness: MakeHarness) -> None:
    harness = make_harness(10, rewrite=MINI)
    harness.sandbox.set_faults([fault("rate_limited", times=6)])
    harness.rewrite_all()
    assert harness.texts() == {"delivered": 10}
    assert harness.reconcile().unbilled.calls == 6


@pytest.mark.parametrize("name", ["cut_after_billing", "bad_gateway_billed", "html_200", "truncated_reply_billed"])
def test_what_was_billed_without_a_readable_reply_is_unknown(make_harness: MakeHarness, name: str) -> None:
    harness = make_harness(10, rewrite=MINI)
    harness.sandbox.set_faults([fault(name, every=5)])
    harness.rewrite_all()
    assert harness.texts() == {"delivered": 8, "unknown": 2}
    account = harness.reconcile()
    assert account.unknown.calls == 2
    harness.rewrite_all()
    assert chats(harness) == 10, "an unknown text was bought again without a policy"
    harness.buy_all()
    assert harness.states() == {"generated": 8, "failed": 2}
    harness.sandbox.clear_faults()
    harness.rewrite_all(unknown=UnknownPolicy.RETRY)
    harness.buy_all(unknown=UnknownPolicy.RETRY)
    assert harness.states() == {"generated": 10}
    harness.reconcile()


def test_keeping_the_prompt_where_there_is_no_other(make_harness: MakeHarness) -> None:
    harness = make_harness(10, rewrite=MINI, policy={"rewrite_fallback": RewriteFallback.KEEP})
    harness.sandbox.set_faults([fault("chat_refusal", every=2)])
    harness.rewrite_all()
    harness.buy_all()
    assert harness.states() == {"generated": 10}
    sent = [call["prompt"] for call in harness.sandbox.calls() if call["endpoint"] == "images"]
    kept = [prompt for prompt in sent if "," not in prompt]
    assert len(kept) == 5
    harness.reconcile()
    with harness.ledger.read() as connection:
        query = sa.select(sa.func.count()).where(calls.c.prompt.is_(None), calls.c.contract != "chat")
        assert connection.scalar(query) == 5
    harness.sandbox.clear_faults()
    harness.rewrite_all(retry_refused=True)
    harness.buy_all()
    assert len(harness.sandbox.calls()) == 20, "an image is owned, whatever text it was made from"


def test_a_prompt_that_does_not_fit_cannot_be_kept(make_harness: MakeHarness) -> None:
    harness = make_harness(1, rewrite=MINI, policy={"rewrite_fallback": RewriteFallback.KEEP})
    spec = BatchSpec(PromptSpec(["a long way " * 60]), rewrite=MINI)
    rows = [dataclasses.replace(row, position=1) for row in spec.run_items()]
    harness.ledger.runs.add_items(harness.run, rows)
    harness.items = [row.item.id for row in rows]
    harness.sandbox.set_faults([fault("chat_refusal")])
    harness.rewrite_all()
    harness.buy_all()
    assert harness.states() == {"planned": 1, "failed": 1}
    assert [entry["endpoint"] for entry in harness.sandbox.bill()["entries"]] == ["chat"]


def test_the_provider_does_not_rewrite_once_more(make_harness: MakeHarness) -> None:
    harness = make_harness(2, rewrite=MINI)
    harness.rewrite_all()
    bodies: list[dict[str, Any]] = []

    def remember(client: ImageClient) -> None:
        wire = client.wire

        def remembering(request: ImageRequest, *, seed: int | None = None) -> WireRequest:
            sent = wire(request, seed=seed)
            bodies.append(dict(sent.body))
            return sent

        client.wire = remembering  # type: ignore[method-assign]

    remember(harness.client)
    harness.buy_all()
    assert [body["enhance_prompt"] for body in bodies] == [False, False]
    asked = make_harness(2, rewrite=MINI, enhance_prompt=True)
    remember(asked.client)
    asked.rewrite_all()
    asked.buy_all()
    assert [body["enhance_prompt"] for body in bodies[2:]] == [True, True], "what the user asks for goes before"
    assert chats(asked) == 2, "the texts are the same ones"


def test_a_budget_ends_it_between_two_answers(make_harness: MakeHarness) -> None:
    harness = make_harness(20, rewrite=MINI, budget=9_000)
    harness.sandbox.set_faults([fault("too_long")])
    harness.rewrite_all()
    assert harness.halt.reason is StopReason.BUDGET
    assert harness.reconcile().billed_at_most <= 9_000
    assert harness.texts().get("planned", 0) > 0


@pytest.mark.parametrize(("name", "reason"), [("unauthorized", StopReason.KEY), ("out_of_credit", StopReason.CREDIT)])
def test_what_ends_a_run_of_images_ends_this(make_harness: MakeHarness, name: str, reason: StopReason) -> None:
    harness = make_harness(20, rewrite=MINI)
    harness.sandbox.set_faults([fault(name)])
    harness.rewrite_all()
    assert harness.halt.reason is reason
    assert harness.texts() == {"planned": 20}
    harness.buy_all()
    assert harness.states() == {"planned": 20}
    assert harness.reconcile().billed_at_most == 0


def test_an_unknown_language_model_ends_the_run(make_harness: MakeHarness) -> None:
    harness = make_harness(5, rewrite=RewriteSpec("mistral-small-2603"))
    harness.sandbox.set_faults([])
    harness.client.chat = lambda body, call: RawReply(
        404, {}, b'{"status": 404, "message": "Not found", "error": {"name": "NotFoundException"}}'
    )
    harness.rewrite_all()
    assert harness.halt.reason is StopReason.MODEL


def test_a_reply_that_a_killed_process_left_is_recorded(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the spool and the ledger: the text is not bought again."""
    harness = make_harness(3, rewrite=MINI)
    with monkeypatch.context() as patched:
        patched.setattr(harness.replies, "delete", lambda call_id: None)
        patched.setattr(harness.ledger.calls, "settle", lambda call_id, outcome, after: NOT_RECORDED)
        harness.rewrite_all()
    assert harness.texts() == {"sent": 3}
    holder = harness.ledger.worker.id
    harness.ledger.write(lambda connection: release_dead_workers(connection, None, force=(holder,)))
    assert harness.texts() == {"unknown": 3}
    assert recover_replies(harness.ledger, harness.replies) == 3
    assert harness.texts() == {"delivered": 3}
    assert list(harness.replies.call_ids()) == []
    harness.rewrite_all()
    assert chats(harness) == 3
    harness.reconcile()


def test_what_another_process_is_buying_is_waited_for(make_harness: MakeHarness) -> None:
    one, two = make_harness(6, rewrite=MINI), make_harness(6, rewrite=MINI)
    one.sandbox.set_faults([fault("slow_reply", seconds=0.5)])
    threads = [threading.Thread(target=harness.rewrite_all) for harness in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.texts() == two.texts() == {"delivered": 6}
    assert chats(one) == 6


def test_another_contract_asks_for_a_text_of_its_own_limit(make_harness: MakeHarness) -> None:
    harness = make_harness(3, rewrite=MINI, model="google/imagen4/preview@2025-05")
    harness.rewrite_all()
    short = make_harness(3, rewrite=MINI)
    assert short.items == harness.items, "a contract is in no id"
    short.rewrite_all()
    assert chats(short) == 6
    assert short.texts() == {"delivered": 3}
    with short.ledger.read() as connection:
        limits = [row["limit"] for row in connection.scalars(sa.select(items.c.parameters)) if "limit" in row]
    assert sorted(limits) == [400] * 3 + [1500] * 3
    short.buy_all()
    assert short.states() == {"generated": 3}
    long_again = make_harness(3, rewrite=MINI, model="google/imagen4/preview@2025-05")
    long_again.buy_all()
    with long_again.ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(images)) == 3


def test_costs_that_the_reply_does_not_name() -> None:
    model = resolve_chat_model("gpt-4o-mini")
    answer = b'{"choices": [{"message": {"content": "{\\"prompt\\": \\"a fox\\"}"}}], "usage": %s}'

    def judged(usage: bytes) -> Any:
        return classify_rewrite(RawReply(200, {}, answer % usage), limit=400, model=model, assumed=999)[0]

    named = judged(b'{"prompt_tokens": 1000, "completion_tokens": 100}')
    assert (named.text, named.credits, named.cost_source) == ("a fox", 446, "price list")
    assert judged(b"null").credits == 999, "at its highest price, where there is no other"
    empty, _ = classify_rewrite(RawReply(200, {}, b"{}"), limit=400, model=model, assumed=999)
    assert (empty.text, empty.credits, empty.item_state) == (None, 0, ItemState.PLANNED)


def test_asking_again_means_once_a_run(make_harness: MakeHarness) -> None:
    """Chunks with other forms of the same prompts must not pay for the same failure again."""
    harness = make_harness(4, rewrite=MINI)
    harness.sandbox.set_faults([fault("too_long")])
    harness.rewrite_all()
    assert chats(harness) == 12
    rewriter = harness.rewriter(retry_refused=True, unknown=UnknownPolicy.RETRY)
    for _ in range(3):
        harness.rewrite_with(rewriter)
    assert chats(harness) == 24
    harness.reconcile()


def test_what_a_dead_process_held_is_bought(make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_imagen.core.purchase.rewriter._REAP_EVERY", 1)
    harness = make_harness(2, rewrite=MINI)
    texts = harness.ledger.rewrites.missing(harness.items)
    dead = Worker("dead", this_host(), "another boot", 2**22 + 1)
    harness.ledger.write(dead.register)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.ledger, "_worker", dead)
        harness.ledger.items.claim(texts)
    harness.rewrite_all()
    assert (harness.texts(), chats(harness)) == ({"delivered": 2}, 2)
