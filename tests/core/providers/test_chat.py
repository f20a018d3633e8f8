"""Replies of language models in every form that has been seen, and what a 400 teaches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect_imagen.core.providers.chat_reply import read_chat
from prefect_imagen.core.providers.chat_request import ChatDialect, ChatForm
from prefect_imagen.core.providers.errors import UnreadableReply


def read(message: Any, **fields: Any) -> Any:
    body = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], **fields}
    return read_chat(json.dumps(body).encode(), {"X-Inference-Id": "i", "X-Request-Id": "r"})


def test_a_plain_answer() -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 46, "total_tokens": 52, "prompt_tokens_details": None}
    meta = {"usage": {"credits_used": 2480, "usd_spent": 0.00124}}
    reply = read({"role": "assistant", "content": "Hi", "refusal": None}, usage=usage, meta=meta)
    assert (reply.content, reply.refusal, reply.finish_reason, reply.reasoned) == ("Hi", None, "stop", False)
    assert (reply.input_tokens, reply.output_tokens, reply.credits) == (6, 46, 2480)
    assert (reply.inference_id, reply.request_id, reply.empty) == ("i", "r", False)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "fox"}], "a fox"),
        (["a ", "fox"], "a fox"),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a fox"}], "a fox"),
        ({"prompt": "a fox"}, '{"prompt": "a fox"}'),
        (None, ""),
        (7, ""),
    ],
)
def test_content_in_other_forms(content: Any, text: str) -> None:
    assert read({"content": content}).content == text


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_details"])
def test_reasoning_beside_it(name: str) -> None:
    assert read({"content": "", name: ["hm"]}).reasoned


@pytest.mark.parametrize("body", ["{}", '{"choices": []}', '{"choices": null}', '{"choices": ["x"]}'])
def test_no_answer_at_all(body: str) -> None:
    reply = read_chat(body.encode(), {})
    assert (reply.content, reply.empty, reply.credits) == ("", True, None)


@pytest.mark.parametrize(
    "usage", [None, "many", {"prompt_tokens": "6"}, {"prompt_tokens": True}, {"prompt_tokens": -1}]
)
def test_usage_that_says_nothing(usage: Any) -> None:
    assert read({"content": "x"}, usage=usage).input_tokens is None


def test_a_cost_in_a_header_alone() -> None:
    assert read_chat(b'{"choices": []}', {"x-aimlapi-credits-used": "625"}).credits == 625


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"7", b'{"choices"', b"[" * 100_000])
def test_what_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableReply):
        read_chat(body, {})


@pytest.mark.parametrize(
    ("message", "form"),
    [
        (
            "Invalid payload provided — messages.0.role: Invalid enum value. Expected 'user' | 'assistant', received "
            "'system'",
            ChatForm(system=False),
        ),
        ("Developer instruction is not enabled for this system prompt", ChatForm(system=False)),
        (
            "max_tokens: use max_completion_tokens instead",
            ChatForm(limit="max_completion_tokens"),
        ),
        ("response_format: json_schema is not supported", ChatForm(answer="json_object")),
        ("This model does not support structured output", ChatForm(answer="json_object")),
    ],
)
def test_what_a_400_teaches(message: str, form: ChatForm) -> None:
    dialect = ChatDialect()
    asked = dialect.form
    assert dialect.learn(asked, message)
    assert dialect.form == form
    assert dialect.learn(asked, message), "another thread that asked in the old form asks again"
    assert dialect.form == form


@pytest.mark.parametrize("message", ["messages.0.content: Required", "Your request was rejected by our safety checks."])
def test_what_no_other_form_would_help(message: str) -> None:
    dialect = ChatDialect()
    assert not dialect.learn(dialect.form, message)
    assert dialect.form == ChatForm()


def test_there_is_an_end_to_it() -> None:
    dialect = ChatDialect()
    for _ in range(2):
        assert dialect.learn(dialect.form, "response_format is not supported")
    assert dialect.form.answer == "text"
    assert not dialect.learn(dialect.form, "response_format is not supported")
