"""What language models answer, and which of it is a prompt."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.providers.chat_reply import ChatReply
from prefect_imagen.core.rewrite import UnusableAnswer, read_answer

PLAIN = ChatReply("", None, "stop", False, 10, 10, 100, None, None)


def reply(content: str, **fields: object) -> ChatReply:
    return dataclasses.replace(PLAIN, content=content, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        '{"prompt": "a fox in snow"}',
        '  {\n "prompt" : "a fox\\n in   snow" }\n',
        '{"prompt": "a fox\nin snow"}',
        '```json\n{"prompt": "a fox in snow"}\n```',
        'Sure! Here it is:\n\n{"prompt": "a fox in snow"}\n\nShall I make it {longer}?',
        'He said "draw". {"prompt": "a fox in snow"}',
        '<think>{"prompt": "no"} perhaps? </think>{"prompt": "a fox in snow"}',
        '"{\\"prompt\\": \\"a fox in snow\\"}"',
        '{"Prompt": "a fox in snow", "note": "calm"}',
        '{"rewritten_prompt": "a fox in snow"}',
        '{"prompts": ["a fox in snow"]}',
        '[{"prompt": "a fox in snow"}]',
        '{"result": {"prompt": "a fox in snow"}}',
        '{"prompt": "a fox in snow"}{"prompt": "another"}',
        '{broken {"prompt": "a fox in snow"}',
    ],
)
def test_a_prompt_is_found(content: str) -> None:
    assert read_answer(reply(content), 400) == "a fox in snow"


@pytest.mark.parametrize(
    ("answer", "problem", "final", "cut"),
    [
        (reply("A fox in the snow, soft light."), "not the JSON", False, False),
        (reply("I'm sorry, I can't help with that."), "not the JSON", False, False),
        (reply('"a fox"'), "not the JSON", False, False),
        (reply('{"a": "x", "b": "y"}'), "not the JSON", False, False),
        (reply('{"prompts": ["one", "two"]}'), "not the JSON", False, False),
        (reply('{"prompt": 7}'), "not the JSON", False, False),
        (reply('{"prompt": "  \\n"}'), "is empty", False, False),
        (reply('{"prompt": "a fo', finish_reason="length"), "ran out of tokens", False, True),
        (reply(""), "the answer is empty", False, False),
        (reply("", reasoned=True), "only reasoning", False, True),
        (reply("", reasoned=True, finish_reason="length"), "ran out of tokens", False, True),
        (reply("<think>a fox, hm</think>"), "the answer is empty", False, False),
        (reply("", refusal="No."), "refused: 'No.'", True, False),
        (reply("", finish_reason="content_filter"), "filter", True, False),
        (reply(json.dumps({"prompt": "🦊" * 201})), "402 characters, 400 are allowed", False, False),
    ],
)
def test_what_is_none_says_why(answer: ChatReply, problem: str, final: bool, cut: bool) -> None:
    with pytest.raises(UnusableAnswer, match=problem) as raised:
        read_answer(answer, 400)
    assert (raised.value.final, raised.value.cut) == (final, cut)


def test_the_limit_itself_is_allowed() -> None:
    assert read_answer(reply(json.dumps({"prompt": "🦊" * 200})), 400) == "🦊" * 200


@given(st.text())
def test_no_answer_crashes_it(content: str) -> None:
    try:
        found = read_answer(reply(content), 400)
    except UnusableAnswer:
        return
    assert found == " ".join(found.split()) != ""


@given(st.text(min_size=1, max_size=100), st.sampled_from(["{}", "```json\n{}\n```", "Well: {} ok?"]))
def test_every_text_comes_through(text: str, around: str) -> None:
    answer = reply(around.replace("{}", json.dumps({"prompt": text})))
    kept = " ".join("".join(" " if ord(c) < 32 or ord(c) == 127 or c in "\ufffe\uffff" else c for c in text).split())
    if kept:
        assert read_answer(answer, 400) == kept
    else:
        with pytest.raises(UnusableAnswer, match="empty"):
            read_answer(answer, 400)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 50_000, '{"' * 100_000, '"' * 200_000])
def test_an_answer_that_means_harm_takes_no_time(content: str) -> None:
    with pytest.raises(UnusableAnswer):
        read_answer(reply(content), 400)
