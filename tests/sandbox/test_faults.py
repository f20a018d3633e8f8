"""Every fault of the paid endpoint, with what it does to the bill; and when rules strike."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from prefect_imagen.sandbox import SandboxFailed
from prefect_imagen.sandbox.faults import FaultInjector, FaultPlan

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
        injector = FaultInjector()
        rules = [{"fault": "html_200", "rate": 0.05}, {"fault": "server_error", "rate": 0.5}]
        injector.put(FaultPlan.model_validate({"seed": 1, "rules": rules}))
        struck: Counter[str] = Counter()
        for number in range(4000):
            fault = injector.for_call("images", "m", f"prompt {number % 1000}")
            struck[fault.fault if fault else "none"] += 1
        assert 150 <= struck["html_200"] <= 250
        assert 1750 <= struck["server_error"] <= 2050
        assert injector.report()["rules"][1]["met"] == 4000 - struck["html_200"]

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


class TestDownloadsThatMislead:
    def test_wrong_content_type(self, api):
        api.server.set_faults([{"fault": "wrong_content_type", "content_type": "text/plain"}])
        url = api.make().json()["data"][0]["url"]
        first, second = api.get(url), api.get(url)
        assert first.headers["content-type"].startswith("text/plain")
        assert second.headers["content-type"] == "image/png"
        assert first.content == second.content

    def test_expired_url(self, api):
        api.server.set_faults([{"fault": "expired_url", "first_attempts": None}])
        url = api.make().json()["data"][0]["url"]
        assert [api.get(url).status_code for _ in range(3)] == [403, 403, 403]

    def test_private_redirect(self, api):
        api.server.set_faults([{"fault": "private_redirect"}])
        response = api.get(api.make().json()["data"][0]["url"], allow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (
            302,
            "http://169.254.169.254/latest/meta-data/",
        )


class TestModelsThatGo:
    MODEL = "google/imagen-4.0-generate-001"

    def listed(self, api):
        return {row["id"] for row in api.get("/v1/models").json()["data"]}

    def row(self, api):
        rows = api.get("/v1/models/deprecations").json()["data"]
        return next((row for row in rows if row["id"] == self.MODEL), None)

    def test_withdrawn_in_the_middle(self, api):
        api.server.set_faults(
            [{"fault": "withdrawn_model", "after": 2, "replaced_by": "flux/dev", "match": {"model": self.MODEL}}]
        )
        before = [api.make(f"fox {n}", model=self.MODEL).status_code for n in range(2)]
        assert self.MODEL in self.listed(api)
        assert self.row(api) is None
        after = [api.make(f"fox {n}", model=self.MODEL).status_code for n in range(3)]
        assert (before, after) == ([200, 200], [404, 404, 404])
        assert self.MODEL not in self.listed(api)
        assert (self.row(api)["status"], self.row(api)["replaced_by"]) == ("withdrawn", "flux/dev")
        assert len(api.server.bill()["entries"]) == 2
        assert api.make(model="flux/dev").status_code == 200

    def test_withdrawn_and_nobody_said_so(self, api):
        api.server.set_faults([{"fault": "withdrawn_model", "announced": False, "match": {"model": self.MODEL}}])
        assert api.make(model=self.MODEL).status_code == 404
        assert self.MODEL in self.listed(api)

    def test_labels_on_the_shelf(self, api):
        api.server.set_models(**{self.MODEL: {"status": "deprecated", "shutdown_at": "2099-01-01", "price_usd": "0.5"}})
        try:
            assert api.make(model=self.MODEL).json()["meta"]["usage"]["usd_spent"] == 0.5
            assert (self.row(api)["status"], self.row(api)["shutdown_at"]) == ("deprecated", "2099-01-01")
            (priced,) = api.get(f"/v1/models?id={self.MODEL}&include=pricing").json()["data"]
            assert priced["pricing"]["units"][0]["price"] == 0.5
            with pytest.raises(SandboxFailed, match="unknown model"):
                api.server.set_models(nothing={})
        finally:
            api.server.set_models()
        assert self.row(api) is None

    def test_a_withdrawn_model_has_to_be_named(self, api):
        with pytest.raises(SandboxFailed, match="needs a match"):
            api.server.set_faults([{"fault": "withdrawn_model"}])
