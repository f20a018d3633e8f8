"""What each answer says of the bill, and that every exception of the package survives a pickle."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import pkgutil
from collections.abc import Iterator
from typing import Any

import prefect_imagen.core
import pytest
from prefect_imagen.core.errors import ImagenError
from prefect_imagen.core.ledger import Unknown
from prefect_imagen.core.providers import RawReply
from prefect_imagen.core.providers.errors import (
    ApiError,
    BadKey,
    Forbidden,
    InvalidByApi,
    NotFound,
    NotSent,
    OutOfCredit,
    ProxyLogin,
    RateLimited,
    ReplyLost,
    ServerError,
    StatusError,
    UnexpectedStatus,
    UnreadableReply,
    read_envelope,
    status_error,
)
from prefect_imagen.core.purchase.decision import classify_error


def problem(status: int, message: Any = "No.", data: Any = None, **more: Any) -> bytes:
    """The newer envelope."""
    error = {"name": "SomeException", "message": message, **({} if data is None else {"data": data})}
    return json.dumps({"title": "T", "status": status, "message": message, "error": error, **more}).encode()


def legacy(status: int | str, message: Any = "No.") -> bytes:
    """The older envelope."""
    return json.dumps({"requestId": "r-1", "statusCode": status, "path": "/v1", "message": message}).encode()


def openai(code: str) -> bytes:
    """OpenAI's envelope."""
    return json.dumps({"error": {"message": "No.", "type": "t", "param": None, "code": code}}).encode()


def litellm(status: int, kind: str) -> bytes:
    """The envelope of LiteLLM's proxy."""
    return json.dumps({"error": {"message": "No.", "type": kind, "param": None, "code": str(status)}}).encode()


def bill(error: ApiError) -> str:
    """What the purchase makes of an error."""
    return "unknown" if isinstance(classify_error(error).outcome, Unknown) else "unbilled"


HTML = b"<!doctype html><html><title>502 Bad gateway</title></html>"
CREDIT = {"kind": "err_insufficent_credits"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "billing"),
    [
        (400, problem(400), InvalidByApi, "unbilled"),
        (400, legacy(400), InvalidByApi, "unbilled"),
        (422, problem(422), InvalidByApi, "unbilled"),
        (401, legacy("401"), BadKey, "unbilled"),
        (401, problem(401), BadKey, "unbilled"),
        (403, problem(403), Forbidden, "unbilled"),
        (403, problem(403, data=CREDIT), OutOfCredit, "unbilled"),
        (403, problem(403, data={"kind": "err_insufficient_credits"}), OutOfCredit, "unbilled"),
        (403, problem(403, data={"kind": "err_scope"}, message="run out of scope"), Forbidden, "unbilled"),
        (403, legacy(403, "You've run out of funds."), OutOfCredit, "unbilled"),
        (404, problem(404), NotFound, "unbilled"),
        (429, problem(429), RateLimited, "unbilled"),
        (429, legacy("429"), RateLimited, "unbilled"),
        (429, HTML, RateLimited, "unbilled"),
        (429, b"", RateLimited, "unbilled"),
        (500, problem(500), ServerError, "unknown"),
        (502, HTML, ServerError, "unknown"),
        (524, HTML, ServerError, "unknown"),
        (400, HTML, UnexpectedStatus, "unknown"),
        (401, b"", BadKey, "unbilled"),
        (402, HTML, OutOfCredit, "unbilled"),
        (407, HTML, ProxyLogin, "unbilled"),
        (413, HTML, InvalidByApi, "unbilled"),
        (451, HTML, InvalidByApi, "unbilled"),
        (408, b"", UnexpectedStatus, "unknown"),
        (400, openai("moderation_blocked"), InvalidByApi, "unbilled"),
        (400, openai("billing_hard_limit_reached"), OutOfCredit, "unbilled"),
        (400, openai("model_not_found"), NotFound, "unbilled"),
        (401, openai("invalid_api_key"), BadKey, "unbilled"),
        (400, litellm(400, "no_db_connection"), BadKey, "unbilled"),
        (400, litellm(400, "auth_error"), BadKey, "unbilled"),
        (400, litellm(400, "budget_exceeded"), OutOfCredit, "unbilled"),
        (403, openai("insufficient_quota"), OutOfCredit, "unbilled"),
        (404, openai("model_not_found"), NotFound, "unbilled"),
        (429, openai("insufficient_quota"), OutOfCredit, "unbilled"),
        (429, openai("rate_limit_exceeded"), RateLimited, "unbilled"),
        (500, openai("insufficient_quota"), ServerError, "unknown"),
        (400, b'{"detail": "prompt blocked"}', InvalidByApi, "unbilled"),
        (422, b'{"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]}', InvalidByApi, "unbilled"),
        (400, b'{"error": "the prompt is empty"}', InvalidByApi, "unbilled"),
        (400, b'{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}', InvalidByApi, "unbilled"),
        (403, b'{"error": "blocked"}', UnexpectedStatus, "unknown"),
        (404, b"not found", UnexpectedStatus, "unknown"),
        (409, problem(409), UnexpectedStatus, "unknown"),
        (302, b"", UnexpectedStatus, "unknown"),
        (100, b"", UnexpectedStatus, "unknown"),
    ],
)
def test_what_a_status_says_of_the_bill(status: int, body: bytes, kind: type[StatusError], billing: str) -> None:
    error = status_error(status, body, request_id="h-1")
    assert type(error) is kind
    assert (bill(error), error.status, error.request_id) == (billing, status, "h-1")
    assert str(status) in str(error)
    assert "h-1" in str(error)
    with pytest.raises(kind):
        RawReply(status, {}, body).read()


def test_nothing_but_these_is_unbilled() -> None:
    errors = [kind(400, "x") if issubclass(kind, StatusError) else kind("x") for kind in subclasses(ApiError)]
    kinds = {type(error) for error in errors if bill(error) == "unbilled"}
    assert kinds == {NotSent, InvalidByApi, BadKey, Forbidden, OutOfCredit, NotFound, ProxyLogin, RateLimited}


def test_trusted_statuses() -> None:
    trusted = {status for status in range(500, 600) if ServerError(status, "").trusted_unbilled()}
    assert trusted == {500, 502, 503, 504}


def test_validation_issues_are_named() -> None:
    issue = {"code": "too_big", "path": ["num_images"], "message": "Too big"}
    text = str(status_error(400, problem(400, "Invalid payload", [issue, {"code": "x"}, "odd"])))
    assert "Invalid payload — num_images: Too big; body: x" in text


@pytest.mark.parametrize("message", [["a is wrong", "b is wrong"], "a is wrong; b is wrong"])
def test_messages_may_be_lists(message: Any) -> None:
    envelope = read_envelope(problem(400, message))
    assert envelope is not None
    assert envelope.message == "a is wrong; b is wrong"


def test_the_requests_id_is_taken_from_the_body_where_no_header_has_it() -> None:
    assert status_error(400, legacy(400)).request_id == "r-1"


def test_a_message_is_bounded() -> None:
    assert len(str(status_error(400, problem(400, "x" * 100_000)))) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"status": 400}',
        b'{"message": "x"}',
        b"\xff",
        b"[" * 100_000,
        b'{"status":' * 100_000,
        HTML,
    ],
)
def test_what_is_no_envelope(body: bytes) -> None:
    assert read_envelope(body) is None


def test_an_envelope_with_nonsense_inside() -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    for body in (problem(400, deep), problem(400, data=deep), problem(400, 7), problem(400, error=deep)):
        assert isinstance(status_error(400, body), StatusError)


def test_retry_after_is_kept() -> None:
    assert isinstance(error := status_error(429, b"", retry_after=2.5), RateLimited)
    assert error.retry_after == 2.5


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def all_exceptions() -> list[type[ImagenError]]:
    for module in pkgutil.walk_packages(prefect_imagen.core.__path__, "prefect_imagen.core."):
        importlib.import_module(module.name)
    found = {kind for kind in subclasses(ImagenError) if kind.__module__.startswith("prefect_imagen.core")}
    return sorted(found, key=lambda kind: kind.__qualname__)


def a_value(kind: type[ImagenError], name: str, annotation: str) -> Any:
    """Some value of a parameter, by its annotation."""
    if name == "report":
        from prefect_imagen.core.ledger import CostLine, CostSummary
        from prefect_imagen.core.run.report import RunReport

        account = CostSummary(*([CostLine(1, 2)] * len(CostSummary.__dataclass_fields__)))
        states = {"delivered": 1, "planned": 1}
        return RunReport("r", "Incomplete", "why", None, "c", 2, 2, states, 0, 1, 0, account)
    if name == "audit":
        from prefect_imagen.core.provenance.audit import Audit

        return Audit(())
    for part, value in (
        ("tuple[str", ("a", "b")),
        ("tuple[Problem", ()),
        ("tuple[InvalidPrompt", ()),
        ("Path", "some/path"),
        ("str", "text"),
        ("int", 429),
        ("float", 1.5),
    ):
        if part in annotation:
            return value
    return None


@pytest.mark.parametrize("kind", all_exceptions(), ids=lambda kind: kind.__qualname__)
def test_every_exception_survives_a_pickle(kind: type[ImagenError]) -> None:
    signature = inspect.signature(kind.__init__)
    positional = [
        parameter
        for parameter in list(signature.parameters.values())[1:]
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY)
    ]
    assert not [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY], "cannot be unpickled"
    arguments = [a_value(kind, p.name, str(p.annotation)) for p in positional] or ["what is wrong"]
    error = kind(*arguments)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))
    assert str(error)


def test_lost_replies_and_unreadable_ones_are_unknown() -> None:
    assert bill(ReplyLost("x")) == bill(UnreadableReply("x")) == "unknown"
