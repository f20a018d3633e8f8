"""Prompts rewritten against the sandbox's language models and all their faults: texts or named failures, paid once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.aimlapi import RawReply
from prefect_imagen.core.aimlapi.chat import resolve_chat_model
from prefect_imagen.core.ledger import ItemState, UnknownPolicy
from prefect_imagen.core.ledger.calls import NOT_RECORDED
from prefect_imagen.core.ledger.items import claim
from prefect_imagen.core.ledger.schema import calls, images, items
from prefect_imagen.core.ledger.workers import Worker, release_dead_workers, this_host
from prefect_imagen.core.limits import HaltReason
from prefect_imagen.core.plan import BatchSpec
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.purchase import replay
from prefect_imagen.core.purchase.rewriting import judge_rewrite
from prefect_imagen.core.rewrite import RewriteFallback, RewriteSpec

MINI = RewriteSpec("openai/gpt-4o-mini")
Tills = Callable[..., Any]


def fault(name: str, **options: Any) -> dict[str, Any]:
    return {"fault": name, "match": {"endpoint": "chat"}, **options}


def chats(shop: Any) -> int:
    return sum(call["endpoint"] == "chat" for call in shop.sandbox.calls())


def test_texts_are_bought_once_and_the_images_made_from_them(till: Tills) -> None:
    shop = till(20, rewrite=RewriteSpec("gpt-4o-mini", 2, "calm, hand-drawn"))
    shop.rewrite_all()
    assert shop.texts() == {"delivered": 40}
    texts = shop.written()
    assert len(set(texts.values())) == 40
    assert all(key.partition(" /")[0] in text and len(text) <= 400 for key, text in texts.items())
    shop.buy_all()
    account = shop.reconcile()
    assert (account.rewrites.calls, account.generated.calls) == (40, 40)
    assert account.billed > 40 * 104_000
    sent = {call["prompt"] for call in shop.sandbox.calls() if call["endpoint"] == "images"}
    assert sent == set(texts.values())
    shop.rewrite_all()
    shop.buy_all()
    assert len(shop.sandbox.calls()) == 80, "something was bought again"


def test_the_brief_and_the_other_variations_are_told(till: Tills) -> None:
    shop = till(1, rewrite=RewriteSpec("gpt-4o-mini", 3, "calm"))
    shop.rewrite_all()
    asked = [call["prompt"] for call in shop.sandbox.calls()]
    assert all('"brief": "calm"' in question for question in asked)
    texts = shop.written()
    assert ["different_from" in question for question in asked] == [False, True, True]
    assert texts["fox number 0 / 1"] in asked[2]
    assert texts["fox number 0 / 2"] in asked[2]


def test_more_variations_buy_only_those(till: Tills) -> None:
    first = till(10, rewrite=RewriteSpec("gpt-4o-mini", 1))
    first.rewrite_all()
    more = till(10, rewrite=RewriteSpec("gpt-4o-mini", 3))
    more.rewrite_all()
    assert more.texts() == {"delivered": 30}
    assert chats(more) == 30
    other = till(10, rewrite=RewriteSpec("gpt-4o-mini", 1, "noir"))
    other.rewrite_all()
    assert chats(other) == 40


def test_fifty_prompts_through_every_fault_at_once(till: Tills) -> None:
    """The issue's own test: 50 usable prompts or named failures, the second run buys none, the bill's sum closes."""
    shop = till(50, rewrite=MINI)
    shop.sandbox.set_faults(
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
    shop.rewrite_all()
    texts = shop.texts()
    assert sum(texts.values()) == 50
    assert set(texts) <= {"delivered", "refused"}
    assert 40 <= texts["delivered"] < 50
    assert all(reason and "None" not in reason for reason in shop.reasons())
    assert len(shop.written()) == texts["delivered"]
    account = shop.reconcile()
    assert account.rewrites.calls > 50, "no answer was of no use"
    struck = {rule["fault"]: rule["struck"] for rule in shop.sandbox.faults()["rules"]}
    assert all(struck.values()), struck
    before = len(shop.sandbox.calls())
    shop.rewrite_all()
    assert len(shop.sandbox.calls()) == before, "the second run bought again"
    shop.buy_all()
    assert shop.states() == {"generated": texts["delivered"], "failed": texts["refused"]}
    shop.reconcile()


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
def test_answers_without_end_that_are_of_no_use(till: Tills, rule: dict[str, Any], reason: str) -> None:
    shop = till(8, rewrite=MINI)
    shop.sandbox.set_faults([rule])
    shop.rewrite_all()
    assert shop.texts() == {"refused": 8}
    assert all(reason in told for told in shop.reasons())
    account = shop.reconcile()
    assert (account.rewrites.calls, chats(shop)) == (24, 24)
    shop.buy_all()
    assert shop.states() == {"failed": 8}
    shop.sandbox.clear_faults()
    shop.rewrite_all()
    assert chats(shop) == 24, "asked for again without being told to"
    shop.rewrite_all(retry_refused=True)
    assert shop.texts() == {"delivered": 8}
    shop.buy_all()
    assert shop.states() == {"generated": 8}
    shop.reconcile()


@pytest.mark.parametrize("rule", [fault("bad_json"), fault("too_long"), fault("empty_content")])
def test_one_answer_of_no_use_is_asked_for_again(till: Tills, rule: dict[str, Any]) -> None:
    shop = till(8, rewrite=MINI)
    shop.sandbox.set_faults([{**rule, "times": 8}])
    shop.rewrite_all()
    assert shop.texts() == {"delivered": 8}
    assert (shop.reconcile().rewrites.calls, chats(shop)) == (16, 16)


@pytest.mark.parametrize(
    ("form", "reason", "billed"), [("message", "refused", 6), ("filter", "filter", 6), ("http_400", "safety system", 0)]
)
def test_a_refusal_is_final(till: Tills, form: str, reason: str, billed: int) -> None:
    shop = till(6, rewrite=MINI)
    shop.sandbox.set_faults([fault("chat_refusal", form=form)])
    shop.rewrite_all()
    assert shop.texts() == {"refused": 6}
    assert all(reason in told for told in shop.reasons())
    assert chats(shop) == 6
    assert shop.reconcile().rewrites.calls == billed


def test_a_fence_and_prose_around_the_json_do_no_harm(till: Tills) -> None:
    shop = till(6, rewrite=MINI)
    shop.sandbox.set_faults([fault("fenced_json")])
    shop.rewrite_all()
    assert (shop.texts(), chats(shop)) == ({"delivered": 6}, 6)


def test_a_model_is_asked_the_way_it_takes(till: Tills) -> None:
    shop = till(12, rewrite=MINI)
    shop.sandbox.set_faults(
        [
            fault("parameter_rejected", parameter="max_tokens", every=1, times=12),
            fault("system_role_rejected"),
        ]
    )
    shop.rewrite_all()
    assert shop.texts() == {"delivered": 12}
    account = shop.reconcile()
    # What one thread has learnt, the others know: each refusal is met once for each call that was in flight.
    assert account.rewrites.calls == 12
    assert 2 <= account.unbilled.calls <= 3 * 8


def test_a_schema_that_is_refused_is_left_out(till: Tills) -> None:
    shop = till(4, rewrite=MINI)
    shop.sandbox.set_faults([fault("parameter_rejected", parameter="response_format")])
    shop.rewrite_all()
    assert shop.texts() == {"delivered": 4}
    shop.reconcile()


def test_reasoning_models_get_room_to_think(till: Tills) -> None:
    shop = till(4, rewrite=RewriteSpec("gpt-5-nano"))
    shop.rewrite_all()
    assert (shop.texts(), chats(shop)) == ({"delivered": 4}, 4)
    assert {call["model"] for call in shop.sandbox.calls()} == {"openai/gpt-5-nano-2025-08-07"}
    shop.reconcile()


def test_rate_limits_are_waited_out(till: Tills) -> None:
    shop = till(10, rewrite=MINI)
    shop.sandbox.set_faults([fault("rate_limited", times=6)])
    shop.rewrite_all()
    assert shop.texts() == {"delivered": 10}
    assert shop.reconcile().unbilled.calls == 6


@pytest.mark.parametrize("name", ["cut_after_billing", "bad_gateway_billed", "html_200", "truncated_reply_billed"])
def test_what_was_billed_without_a_readable_reply_is_unknown(till: Tills, name: str) -> None:
    shop = till(10, rewrite=MINI)
    shop.sandbox.set_faults([fault(name, every=5)])
    shop.rewrite_all()
    assert shop.texts() == {"delivered": 8, "unknown": 2}
    account = shop.reconcile()
    assert account.unknown.calls == 2
    shop.rewrite_all()
    assert chats(shop) == 10, "an unknown text was bought again without a policy"
    shop.buy_all()
    assert shop.states() == {"generated": 8, "failed": 2}
    shop.sandbox.clear_faults()
    shop.rewrite_all(unknown=UnknownPolicy.RETRY)
    shop.buy_all(unknown=UnknownPolicy.RETRY)
    assert shop.states() == {"generated": 10}
    shop.reconcile()


def test_keeping_the_prompt_where_there_is_no_other(till: Tills) -> None:
    shop = till(10, rewrite=MINI, settings={"rewrite_fallback": RewriteFallback.KEEP})
    shop.sandbox.set_faults([fault("chat_refusal", every=2)])
    shop.rewrite_all()
    shop.buy_all()
    assert shop.states() == {"generated": 10}
    sent = [call["prompt"] for call in shop.sandbox.calls() if call["endpoint"] == "images"]
    kept = [prompt for prompt in sent if "," not in prompt]
    assert len(kept) == 5
    shop.reconcile()
    with shop.ledger.read() as connection:
        query = sa.select(sa.func.count()).where(calls.c.prompt.is_(None), calls.c.contract != "chat")
        assert connection.scalar(query) == 5
    shop.sandbox.clear_faults()
    shop.rewrite_all(retry_refused=True)
    shop.buy_all()
    assert len(shop.sandbox.calls()) == 20, "an image is owned, whatever text it was made from"


def test_a_prompt_that_does_not_fit_cannot_be_kept(till: Tills) -> None:
    shop = till(1, rewrite=MINI, settings={"rewrite_fallback": RewriteFallback.KEEP})
    spec = BatchSpec(PromptSpec(["a long way " * 60]), rewrite=MINI)
    rows = [dataclasses.replace(row, position=1) for row in spec.run_items()]
    shop.ledger.runs.add_items(shop.run, rows)
    shop.items = [row.item.id for row in rows]
    shop.sandbox.set_faults([fault("chat_refusal")])
    shop.rewrite_all()
    shop.buy_all()
    assert shop.states() == {"planned": 1, "failed": 1}
    assert [entry["endpoint"] for entry in shop.sandbox.bill()["entries"]] == ["chat"]


def test_the_provider_does_not_rewrite_once_more(till: Tills) -> None:
    shop = till(2, rewrite=MINI)
    shop.rewrite_all()
    bodies: list[dict[str, Any]] = []
    send = shop.client.generate
    shop.client.generate = lambda body, call: (bodies.append(dict(body)), send(body, call))[1]
    shop.buy_all()
    assert [body["enhance_prompt"] for body in bodies] == [False, False]
    asked = till(2, rewrite=MINI, enhance_prompt=True)
    asked.client.generate = lambda body, call: (bodies.append(dict(body)), send(body, call))[1]
    asked.rewrite_all()
    asked.buy_all()
    assert [body["enhance_prompt"] for body in bodies[2:]] == [True, True], "what the user asks for goes before"
    assert chats(asked) == 2, "the texts are the same ones"


def test_a_budget_ends_it_between_two_answers(till: Tills) -> None:
    shop = till(20, rewrite=MINI, budget=9_000)
    shop.sandbox.set_faults([fault("too_long")])
    shop.rewrite_all()
    assert shop.halt.reason is HaltReason.BUDGET
    assert shop.reconcile().billed_at_most <= 9_000
    assert shop.texts().get("planned", 0) > 0


@pytest.mark.parametrize(("name", "reason"), [("unauthorized", HaltReason.KEY), ("out_of_credit", HaltReason.CREDIT)])
def test_what_ends_a_run_of_images_ends_this(till: Tills, name: str, reason: HaltReason) -> None:
    shop = till(20, rewrite=MINI)
    shop.sandbox.set_faults([fault(name)])
    shop.rewrite_all()
    assert shop.halt.reason is reason
    assert shop.texts() == {"planned": 20}
    shop.buy_all()
    assert shop.states() == {"planned": 20}
    assert shop.reconcile().billed_at_most == 0


def test_an_unknown_language_model_ends_the_run(till: Tills) -> None:
    shop = till(5, rewrite=RewriteSpec("mistral-small-2603"))
    shop.sandbox.set_faults([])
    shop.client.chat = lambda body, call: RawReply(
        404, {}, b'{"status": 404, "message": "Not found", "error": {"name": "NotFoundException"}}'
    )
    shop.rewrite_all()
    assert shop.halt.reason is HaltReason.MODEL


def test_a_reply_that_a_killed_process_left_is_recorded(till: Tills, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the spool and the ledger: the text is not bought again."""
    shop = till(3, rewrite=MINI)
    with monkeypatch.context() as patched:
        patched.setattr(shop.replies, "drop", lambda call_id: None)
        patched.setattr(shop.ledger.calls, "settle", lambda call_id, outcome: NOT_RECORDED)
        shop.rewrite_all()
    assert shop.texts() == {"sent": 3}
    holder = shop.ledger.worker.id
    shop.ledger.write(lambda connection: release_dead_workers(connection, None, force=(holder,)))
    assert shop.texts() == {"unknown": 3}
    assert replay(shop.ledger, shop.replies) == 3
    assert shop.texts() == {"delivered": 3}
    assert list(shop.replies.call_ids()) == []
    shop.rewrite_all()
    assert chats(shop) == 3
    shop.reconcile()


def test_what_another_process_is_buying_is_waited_for(till: Tills) -> None:
    one, two = till(6, rewrite=MINI), till(6, rewrite=MINI)
    one.sandbox.set_faults([fault("slow_reply", seconds=0.5)])
    threads = [threading.Thread(target=shop.rewrite_all) for shop in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.texts() == two.texts() == {"delivered": 6}
    assert chats(one) == 6


def test_another_contract_asks_for_a_text_of_its_own_limit(till: Tills) -> None:
    shop = till(3, rewrite=MINI, model="google/imagen4/preview@2025-05")
    shop.rewrite_all()
    short = till(3, rewrite=MINI)
    assert short.items == shop.items, "a contract is in no id"
    short.rewrite_all()
    assert chats(short) == 6
    assert short.texts() == {"delivered": 3}
    with short.ledger.read() as connection:
        limits = [row["limit"] for row in connection.scalars(sa.select(items.c.parameters)) if "limit" in row]
    assert sorted(limits) == [400] * 3 + [1500] * 3
    short.buy_all()
    assert short.states() == {"generated": 3}
    long_again = till(3, rewrite=MINI, model="google/imagen4/preview@2025-05")
    long_again.buy_all()
    with long_again.ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(images)) == 3


def test_costs_that_the_reply_does_not_name() -> None:
    model = resolve_chat_model("gpt-4o-mini")
    answer = b'{"choices": [{"message": {"content": "{\\"prompt\\": \\"a fox\\"}"}}], "usage": %s}'

    def judged(usage: bytes) -> Any:
        return judge_rewrite(RawReply(200, {}, answer % usage), limit=400, model=model, assumed=999)

    named = judged(b'{"prompt_tokens": 1000, "completion_tokens": 100}')
    assert (named.text, named.credits, named.cost_source) == ("a fox", 446, "price list")
    assert judged(b"null").credits == 999, "at its highest price, where there is no other"
    empty = judge_rewrite(RawReply(200, {}, b"{}"), limit=400, model=model, assumed=999)
    assert (empty.text, empty.credits, empty.item_state) == (None, 0, ItemState.PLANNED)


def test_asking_again_means_once_a_run(till: Tills) -> None:
    """Chunks with other forms of the same prompts must not pay for the same failure again."""
    shop = till(4, rewrite=MINI)
    shop.sandbox.set_faults([fault("too_long")])
    shop.rewrite_all()
    assert chats(shop) == 12
    rewriter = shop.rewriter(retry_refused=True, unknown=UnknownPolicy.RETRY)
    for _ in range(3):
        shop.rewrite_with(rewriter)
    assert chats(shop) == 24
    shop.reconcile()


def test_what_a_dead_process_held_is_bought(till: Tills, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_imagen.core.purchase.rewriter._REAP_EVERY", 1)
    shop = till(2, rewrite=MINI)
    texts = shop.ledger.rewrites.missing(shop.items)
    dead = Worker("dead", this_host(), "another boot", 2**22 + 1)
    shop.ledger.write(dead.register)
    shop.ledger.write(lambda connection: claim(connection, texts, dead.id))
    shop.rewrite_all()
    assert (shop.texts(), chats(shop)) == ({"delivered": 2}, 2)
