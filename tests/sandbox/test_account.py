"""Balance, log and transactions: what somebody who reconciles would ask."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

KEY = {"Authorization": "Bearer test-key"}
AMOUNT = {
    "type": "object",
    "required": ["usd", "credits"],
    "additionalProperties": False,
    "properties": {"usd": {"type": "number", "minimum": 0}, "credits": {"type": "integer", "minimum": 0}},
}
TEXT, NULLABLE = {"type": "string", "minLength": 1}, {"type": ["string", "null"]}
# Hand-written in the shapes of the provider's documents, and strict: no key beyond those named.
LOG_ROW = {
    "type": "object",
    "additionalProperties": False,
    "required": ["created", "status", "origin", "model", "cost", "tokens", "request_id", "inference_id"],
    "properties": {
        "created": TEXT,
        "status": {"enum": ["succeeded", "failed"]},
        "origin": {"enum": ["api", "playground"]},
        "model": TEXT,
        "cost": AMOUNT,
        "tokens": {"type": "object", "required": ["input", "output", "total"]},
        "request_id": NULLABLE,
        "inference_id": TEXT,
        "client_request_id": NULLABLE,
    },
}
MOVEMENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["created_at", "direction", "type", "amount", "model", "reference_id"],
    "properties": {
        "created_at": TEXT,
        "direction": {"enum": ["TOPUP", "CHARGE"]},
        "type": {"enum": ["PAYMENT", "MODEL_USAGE"]},
        "amount": AMOUNT,
        "model": NULLABLE,
        "reference_id": NULLABLE,
    },
}


def logs(api: Any, query: str = "period=24h", key: dict[str, str] = KEY) -> Any:
    return api.get(f"/v2/logs?{query}", headers=key)


def send(api: Any, name: str, prompt: str = "A red fox", **fields: Any) -> Any:
    body = {"model": "imagen4/preview", "prompt": prompt, **fields}
    return api.post("/v1/images/generations", body, **{"X-Client-Request-Id": name})


def test_the_log_tells_of_every_call_newest_first(api) -> None:
    api.server.set_faults(
        [
            {"fault": "server_error", "match": {"prompt_contains": "broken"}},
            {"fault": "bad_gateway_billed", "match": {"prompt_contains": "gone"}},
        ]
    )
    good = send(api, "c-1", num_images=2)
    send(api, "c-2", "broken")
    send(api, "c-3", "gone")
    send(api, "c-4", num_images=9)
    body = logs(api).json()
    for row in body["data"]:
        jsonschema.validate(row, LOG_ROW)
    told = [(row["client_request_id"], row["status"], row["cost"]["credits"]) for row in body["data"]]
    assert told == [
        ("c-4", "failed", 0),
        ("c-3", "succeeded", 104_000),
        ("c-2", "failed", 0),
        ("c-1", "succeeded", 208_000),
    ]
    first = body["data"][-1]
    assert first["model"] == "google/imagen4/preview"
    assert first["inference_id"] == good.headers["x-inference-id"]
    assert first["request_id"] == good.headers["x-request-id"]
    assert body["pagination"] == {"limit": 50, "offset": 0, "total": 4, "has_more": False}


def test_pages_and_filters(api) -> None:
    for n in range(5):
        send(api, f"c-{n}", num_images=1 if n % 2 else 9)
    page = logs(api, "period=1d&limit=2&offset=1").json()
    assert [row["client_request_id"] for row in page["data"]] == ["c-3", "c-2"]
    assert page["pagination"] == {"limit": 2, "offset": 1, "total": 5, "has_more": True}
    assert logs(api, "period=1d&status=succeeded").json()["pagination"]["total"] == 2
    assert logs(api, "period=1d&status=succeeded&status=failed").json()["pagination"]["total"] == 5
    assert logs(api, "period=1d&model=imagen4/preview").json()["pagination"]["total"] == 5
    assert logs(api, "period=1d&model=a,b").json()["data"] == []
    assert logs(api, "start=2020-01-01&end=2020-02-01T00:00:00Z").json()["data"] == []


def test_a_key_sees_its_own_calls(api) -> None:
    send(api, "mine")
    assert logs(api, key={"Authorization": "Bearer other"}).json()["data"] == []
    assert logs(api, "period=1h&key_prefix=test").json()["pagination"]["total"] == 1
    assert logs(api, "period=1h&key_prefix=some").status_code == 403
    assert logs(api, key={}).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        "",
        "period=24h&start=2026-01-01&end=2026-01-02",
        "start=2026-01-01",
        "period=0h",
        "period=24m",
        "period=93d",
        "start=x&end=2026-01-02",
        "start=2026-02-01&end=2026-01-01",
        "period=24h&status=succeeded,failed",
        "period=24h&limit=101",
        "period=24h&offset=-1",
    ],
)
def test_a_wrong_question_is_refused(api, query: str) -> None:
    answer = logs(api, query)
    assert answer.status_code == 400
    assert answer.json()["title"] == "Bad Request"


def test_the_log_has_a_limit_of_its_own(start) -> None:
    api = start()
    codes = {n: logs(api).status_code for n in range(201)}
    assert (set(list(codes.values())[:200]), codes[200]) == ({200}, 429)


def test_both_feeds_lag(start) -> None:
    api = start(log_lag=3600, pictures="fast", image_bytes=2000)
    assert send(api, "c-1").status_code == 200
    assert logs(api).json()["data"] == []
    moves = api.get("/v2/billing/transactions?direction=CHARGE", headers=KEY).json()
    assert moves == {"data": [], "pagination": {"next_cursor": None, "has_more": False}}


def test_transactions_are_the_money(api) -> None:
    answers = [send(api, f"c-{n}", num_images=n + 1) for n in range(3)]
    body = api.get("/v2/billing/transactions", headers=KEY).json()
    for row in body["data"]:
        jsonschema.validate(row, MOVEMENT)
    charges = [row for row in body["data"] if row["direction"] == "CHARGE"]
    assert [row["reference_id"] for row in charges] == [a.headers["x-inference-id"] for a in reversed(answers)]
    assert sum(row["amount"]["credits"] for row in charges) == api.server.bill()["credits"]
    assert body["data"][-1]["type"] == "PAYMENT"
    assert body["data"][-1]["amount"] == {"usd": 1000.0, "credits": 2_000_000_000}


def test_transactions_are_paged_by_a_cursor(api) -> None:
    for n in range(3):
        send(api, f"c-{n}")
    found, query = [], "limit=2"
    while query:
        page = api.get(f"/v2/billing/transactions?{query}", headers=KEY).json()
        found += page["data"]
        cursor = page["pagination"]["next_cursor"]
        assert page["pagination"]["has_more"] is (cursor is not None)
        query = f"limit=2&cursor={cursor}" if cursor else ""
    assert [row["type"] for row in found] == ["MODEL_USAGE"] * 3 + ["PAYMENT"]


@pytest.mark.parametrize(
    "query",
    [
        "key_prefix=a",
        "limit=0",
        "type=GIFT",
        "direction=IN",
        "cursor=abc",
        "cursor=eyJuIjozLCJ2IjoxfQ==",
        "from=2026-01-01T00:00:00",
        "from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z",
    ],
)
def test_wrong_questions_about_the_money_are_refused(api, query: str) -> None:
    assert api.get(f"/v2/billing/transactions?{query}", headers=KEY).status_code == 400


def test_the_older_balance_is_in_credits(api) -> None:
    send(api, "c-1")
    body = api.get("/v1/billing/balance", headers=KEY).json()
    assert (body["balance"], body["lowBalance"], body["status"]) == (2_000_000_000 - 104_000, False, "current")
    assert set(body) == {
        *("balance", "lowBalance", "lowBalanceThreshold", "lastUpdated"),
        *("autoDebitStatus", "status", "statusExplanation"),
    }
    assert api.get("/v1/billing/balance").status_code == 401
    assert api.get("/v2/billing/transactions").status_code == 401
