"""Every fault of the paid endpoint, with what it does to the bill; and when rules strike."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from prefect_imagen.sandbox import SandboxFailed
from prefect_imagen.sandbox.faults import FaultDesk, FaultSheet

ONE = 104_000


def credits_of(api) -> int:
    return api.server.bill()["credits"]


def last(api) -> dict:
    return api.server.calls()[-1]


class TestEach:
    @pytest.mark.parametrize(
        ("options", "retry_after", "legacy"),
        [({}, None, False), ({"retry_after": 3}, "3", False), ({"envelope": "legacy"}, None, True)],
    )
    def test_rate_limited(self, api, options, retry_after, legacy):
        api.server.set_faults([{"fault": "rate_limited", **options}])
        response = api.make()
        assert response.status_code == 429
        assert response.headers.get("retry-after") == retry_after
        body = response.json()
        if legacy:
            assert set(body) == {"requestId", "statusCode", "timestamp", "path", "message"}
            assert (body["statusCode"], body["path"]) == (429, "/v1/images/generations")
            assert response.headers["content-type"] == "application/json; charset=utf-8"
        else:
            assert body["status"] == 429
            assert body["error"]["name"] == "TooManyRequestsException"
        assert credits_of(api) == 0
        assert last(api)["fault"] == "rate_limited"

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_server_error(self, api, status):
        api.server.set_faults([{"fault": "server_error", "status": status}])
        response = api.make()
        assert response.status_code == response.json()["status"] == status
        assert credits_of(api) == 0

    def test_bad_gateway_billed(self, api):
        api.server.set_faults([{"fault": "bad_gateway_billed"}])
        response = api.make(num_images=2)
        assert response.status_code == 502
        assert response.headers["content-type"].startswith("text/html")
        assert credits_of(api) == 2 * ONE

    @pytest.mark.parametrize(("fault", "billed"), [("cut_before_billing", 0), ("cut_after_billing", ONE)])
    def test_cut(self, api, fault, billed):
        api.server.set_faults([{"fault": fault, "times": 1}])
        with pytest.raises(requests.ConnectionError):
            api.make()
        call = last(api)
        assert (call["status"], call["cut"], call["done"]) == (None, True, True)
        assert credits_of(api) == billed
        assert api.make().status_code == 200

    def test_truncated_reply_billed(self, api):
        api.server.set_faults([{"fault": "truncated_reply_billed"}])
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            api.make()
        call = last(api)
        assert (call["status"], call["cut"], call["billed"]) == (200, True, True)

    def test_html_200(self, api):
        api.server.set_faults([{"fault": "html_200"}])
        response = api.make()
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert credits_of(api) == ONE

    @pytest.mark.parametrize(
        ("options", "asked", "returned", "billed"),
        [
            ({}, 4, 3, 3),
            ({"billed": "requested"}, 4, 3, 4),
            ({"drop": 9}, 2, 0, 0),
            ({"drop": 9, "billed": "requested"}, 2, 0, 2),
            ({}, 1, 0, 0),
        ],
    )
    def test_fewer_images(self, api, options, asked, returned, billed):
        api.server.set_faults([{"fault": "fewer_images", **options}])
        response = api.make(num_images=asked)
        body = response.json()
        assert len(body["data"]) == returned
        assert body["meta"]["usage"]["credits_used"] == credits_of(api) == billed * ONE
        assert response.headers["x-aimlapi-credits-used"] == str(billed * ONE)
        assert len(api.server.bill()["entries"]) == (1 if billed else 0)

    @pytest.mark.parametrize(
        ("options", "data", "billed"),
        [({}, [], 0), ({"form": "null_200"}, None, 0), ({"form": "empty_200", "billed": True}, [], ONE)],
    )
    def test_safety_block_with_status_200(self, api, options, data, billed):
        api.server.set_faults([{"fault": "safety_block", **options}])
        response = api.make()
        assert response.status_code == 200
        assert response.json()["data"] == data
        assert credits_of(api) == billed

    def test_safety_block_with_status_400(self, api):
        api.server.set_faults([{"fault": "safety_block", "form": "http_400"}])
        response = api.make()
        assert response.status_code == 400
        assert "Responsible AI practices" in response.json()["message"]
        assert "data" not in response.json()["error"]
        assert credits_of(api) == 0

    def test_out_of_credit(self, api):
        api.server.set_faults([{"fault": "out_of_credit"}])
        response = api.make()
        assert response.status_code == 403
        assert response.json()["error"]["data"]["kind"] == "err_insufficent_credits"
        assert credits_of(api) == 0

    def test_unauthorized(self, api):
        api.server.set_faults([{"fault": "unauthorized"}])
        assert api.make().status_code == 401
        assert credits_of(api) == 0

    def test_slow_reply(self, api):
        api.server.set_faults([{"fault": "slow_reply", "seconds": 0.4}])
        response = api.make()
        assert response.status_code == 200
        assert response.elapsed.total_seconds() >= 0.4
        assert credits_of(api) == ONE

    def test_a_caller_that_gives_up_is_billed_all_the_same(self, api):
        api.server.set_faults([{"fault": "slow_reply", "seconds": 0.5}])
        with pytest.raises(requests.ReadTimeout):
            requests.post(
                f"{api.server.base_url}/images/generations",
                json={"model": "flux/schnell", "prompt": "A fox"},
                headers={"Authorization": "Bearer k"},
                timeout=0.1,
            )
        assert credits_of(api) == 0
        api.server.wait_idle()
        assert credits_of(api) == 8_000


class TestRules:
    def test_every_times_after(self, api):
        api.server.set_faults([{"fault": "server_error", "every": 3, "after": 2, "times": 2}])
        statuses = [api.make(model="flux/schnell").status_code for _ in range(12)]
        assert [place for place, status in enumerate(statuses, 1) if status == 500] == [5, 8]
        (rule,) = api.server.faults()["rules"]
        assert (rule["met"], rule["struck"]) == (12, 2)

    def test_match(self, api):
        api.server.set_faults(
            [
                {"fault": "server_error", "match": {"prompt_contains": "storm"}},
                {"fault": "rate_limited", "match": {"model": "flux/schnell"}},
            ]
        )
        assert api.make("a storm", model="flux/schnell").status_code == 500
        assert api.make("a calm", model="flux/schnell").status_code == 429
        assert api.make("a calm").status_code == 200

    def test_faults_leave_invalid_requests_alone(self, api):
        api.server.set_faults([{"fault": "server_error", "times": 1}])
        assert api.make(num_images=9).status_code == 400
        assert api.make().status_code == 500

    def test_chat_can_be_struck(self, api):
        api.server.set_faults([{"fault": "rate_limited", "match": {"endpoint": "chat"}}])
        chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        assert api.post("/v1/chat/completions", chat).status_code == 429
        assert api.make().status_code == 200

    def test_rates_strike_the_same_work_however_it_is_ordered(self, api):
        prompts = [f"prompt {number}" for number in range(60)]

        def failed(order: list[str], workers: int, seed: int) -> set[str]:
            api.server.set_faults([{"fault": "server_error", "rate": 0.3}], seed=seed)
            with ThreadPoolExecutor(workers) as pool:
                answers = list(pool.map(lambda prompt: api.make(prompt, model="flux/schnell").status_code, order))
            assert set(answers) <= {200, 500}
            return {prompt for prompt, status in zip(order, answers, strict=True) if status == 500}

        first = failed(prompts, 1, 7)
        assert 8 <= len(first) <= 30
        assert failed(prompts[::-1], 6, 7) == first
        assert failed(prompts, 1, 8) != first

    def test_rate_is_near_what_was_asked_for(self):
        desk = FaultDesk()
        rules = [{"fault": "html_200", "rate": 0.05}, {"fault": "server_error", "rate": 0.5}]
        desk.put(FaultSheet.model_validate({"seed": 1, "rules": rules}))
        struck: Counter[str] = Counter()
        for number in range(4000):
            fault = desk.for_call("images", "m", f"prompt {number % 1000}")
            struck[fault.fault if fault else "none"] += 1
        assert 150 <= struck["html_200"] <= 250
        assert 1750 <= struck["server_error"] <= 2050
        assert desk.report()["rules"][1]["met"] == 4000 - struck["html_200"]

    @pytest.mark.parametrize(
        "rule",
        [
            {"fault": "meteor"},
            {"fault": "server_error", "status": 418},
            {"fault": "server_error", "rate": 1.5},
            {"fault": "server_error", "rate": 0.1, "every": 2},
            {"fault": "server_error", "seconds": 1},
            {"fault": "slow_reply"},
            {"fault": "fewer_images", "match": {"endpoint": "chat"}},
            {"fault": "bad_json", "match": {"endpoint": "images"}},
            {"fault": "parameter_rejected", "parameter": "model"},
            {"fault": "safety_block", "form": "http_400", "billed": True},
            {"fault": "server_error", "match": {"promt": "x"}},
        ],
    )
    def test_what_is_not_understood_is_refused_and_changes_nothing(self, api, rule):
        api.server.set_faults([{"fault": "unauthorized"}])
        with pytest.raises(SandboxFailed, match="422"):
            api.server.set_faults([rule])
        assert api.make().status_code == 401

    def test_clear(self, api):
        api.server.set_faults([{"fault": "server_error"}])
        api.server.clear_faults()
        assert api.server.faults() == {"seed": 0, "rules": []}
        assert api.make().status_code == 200
