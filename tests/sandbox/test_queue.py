"""The queue, asked by fal's own client; and what it does to jobs."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fal_client
import httpx
import pytest
from PIL import Image

from ..waiting import until
from .conftest import Api

MODEL = "fal-ai/flux/schnell"


class Jobs:
    """Asks about jobs as the queue's addresses say."""

    def __init__(self, api: Api, key: str = "any") -> None:
        self.api = api
        self.key = {"Authorization": f"Key {key}"}

    def submit(self, query: str = "", **fields: Any) -> Any:
        url = f"{self.api.server.origin}/queue/{MODEL}{query}"
        headers = self.key | fields.pop("headers", {})
        return self.api.session.post(url, json={"prompt": "A fox", **fields}, headers=headers, timeout=20)

    def ask(self, url: str, **headers: str) -> Any:
        return self.api.session.get(url, headers=self.key | headers, timeout=20)

    def cancel(self, job: dict[str, Any]) -> Any:
        return self.api.session.put(job["cancel_url"], headers=self.key, timeout=20)

    def ended(self, job: dict[str, Any]) -> None:
        until(lambda: self.ask(job["status_url"]).json()["status"] == "COMPLETED", "the job ends", pause=0.02)


@pytest.fixture
def jobs(api: Api) -> Jobs:
    return Jobs(api)


@pytest.fixture
def client(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[fal_client.SyncClient]:
    monkeypatch.setattr("fal_client.client.QUEUE_URL_FORMAT", f"{api.server.url('queue')}/")
    client = fal_client.SyncClient(key="any", default_timeout=20)
    yield client
    client._client.close()


def test_a_job(api, client):
    handle = client.submit(MODEL, {"prompt": "A fox", "image_size": "square", "num_images": 2})
    statuses = [type(status) for status in handle.iter_events(interval=0.02)]
    assert statuses[-1] is fal_client.Completed
    reply = handle.get()
    assert [api.open(image["url"]).size for image in reply["images"]] == [(512, 512)] * 2
    (entry,) = api.server.bill()["entries"]
    assert (entry["protocol"], entry["model"], entry["images"]) == ("queue", MODEL, 2)
    # Asked for again, it is the same, and costs nothing.
    assert client.result(MODEL, handle.request_id) == reply
    assert len(api.server.bill()["entries"]) == 1


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1024, 768)),
        ({"image_size": {"width": 640, "height": 320}}, (640, 320)),
        ({"aspect_ratio": "1:1", "sync_mode": True}, (1024, 1024)),
    ],
    ids=str,
)
def test_sizes(api, client, fields, size):
    (image,) = client.subscribe(MODEL, {"prompt": "A fox", **fields})["images"]
    assert (image["width"], image["height"]) == size
    if fields.get("sync_mode"):
        head, _, data = image["url"].partition(",")
        assert (head, base64.b64decode(data)[:4]) == ("data:image/png;base64", b"\x89PNG")
    else:
        assert api.open(image["url"]).size == size


@pytest.mark.parametrize(
    ("fault", "status", "billed"),
    [
        ({"fault": "unauthorized"}, 401, 0),
        ({"fault": "out_of_credit"}, 403, 0),
        ({"fault": "withdrawn_model", "match": {"model": MODEL}}, 404, 0),
        ({"fault": "safety_block", "form": "http_400"}, 422, 0),
        ({"fault": "job_failed", "status": 504}, 504, 0),
        ({"fault": "job_failed", "status": 422, "billed": True}, 422, 1),
    ],
    ids=str,
)
def test_refusals(api, client, fault, status, billed):
    api.server.set_faults([fault])
    with pytest.raises(fal_client.FalClientHTTPError) as failed:
        client.subscribe(MODEL, {"prompt": "A fox"})
    assert failed.value.status_code == status
    assert len(api.server.bill()["entries"]) == billed


def test_what_is_wrong_with_the_input_is_told_with_the_result(api, client):
    handle = client.submit(MODEL, {"prompt": "A fox", "num_images": 5})
    with pytest.raises(fal_client.FalClientHTTPError, match="num_images") as failed:
        handle.get()
    assert failed.value.status_code == 422
    assert api.server.bill()["entries"] == []


def test_images_to_begin_with(api, client, tmp_path):
    Image.new("RGB", (48, 32), "red").save(tmp_path / "a.png")
    sha256 = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    data = fal_client.encode_file(tmp_path / "a.png")
    (image,) = client.subscribe(MODEL, {"prompt": "In blue", "image_urls": [data]})["images"]
    assert api.open(image["url"]).info["Inputs"] == f"image_urls={sha256}"
    with pytest.raises(fal_client.client.FalClientHTTPError, match=r"'body', 'image_url'"):
        client.subscribe(MODEL, {"prompt": "In blue", "image_url": "data:image/png;base64,bm9uZQ=="})
    assert [call["inputs"] for call in api.server.calls()] == [[sha256], []]


def test_a_key_sees_its_own_jobs(jobs):
    job = jobs.submit().json()
    assert jobs.ask(job["status_url"], Authorization="Key other").status_code == 404
    assert jobs.ask(job["status_url"], Authorization="Bearer any").status_code == 401
    jobs.ended(job)
    assert jobs.ask(job["response_url"]).status_code == 200


@pytest.mark.parametrize(
    "fault",
    ["cut_after_billing", "truncated_reply_billed", "bad_gateway_billed", "html_200", "server_error"],
)
def test_a_lost_result_is_asked_for_again(api, jobs, fault):
    api.server.set_faults([{"fault": fault, **({"billed": True} if fault == "server_error" else {})}])
    job = jobs.submit().json()
    jobs.ended(job)
    try:
        lost = jobs.ask(job["response_url"])
        assert lost.status_code >= 500 or "html" in lost.headers["content-type"]
    except OSError:
        assert fault in ("cut_after_billing", "truncated_reply_billed")
    assert jobs.ask(job["response_url"]).json()["images"]
    assert len(api.server.bill()["entries"]) == 1


def test_questions_that_fail(api, jobs):
    api.server.set_faults(
        [{"fault": "job_question", "first_attempts": 2, "times": 1}, {"fault": "job_question", "status": None}]
    )
    first, second = jobs.submit().json(), jobs.submit().json()
    assert [jobs.ask(first["status_url"]).status_code for _ in range(2)] == [503, 503]
    with pytest.raises(OSError, match=r"aborted|reset|closed"):
        jobs.ask(second["status_url"])
    for job in (first, second):
        jobs.ended(job)
        assert jobs.ask(job["response_url"]).status_code == 200


def test_a_forgotten_job_is_billed(api, jobs):
    api.server.set_faults([{"fault": "job_forgotten", "questions": 1}])
    job = jobs.submit().json()
    assert jobs.ask(job["status_url"]).status_code in (200, 202)
    assert jobs.ask(job["status_url"]).status_code == jobs.ask(job["response_url"]).status_code == 404
    api.server.wait_idle()
    assert len(api.server.bill()["entries"]) == 1


def test_a_doubled_job_is_billed_twice(api, jobs):
    api.server.set_faults([{"fault": "job_doubled"}])
    jobs.ended(jobs.submit().json())
    api.server.wait_idle()
    entries = api.server.bill()["entries"]
    assert [entry["prompt"] for entry in entries] == ["A fox", "A fox"]


def test_jobs_that_take_long_and_one_that_waits(keyed):
    jobs = Jobs(keyed, "right")
    keyed.server.set_faults([{"fault": "job_delayed", "seconds": 3}])
    *running, waiting = [jobs.submit().json() for _ in range(5)]
    assert [jobs.ask(job["status_url"]).json()["status"] for job in (running[0], waiting)] == [
        "IN_PROGRESS",
        "IN_QUEUE",
    ]
    assert jobs.cancel(waiting).status_code == 202
    jobs.ended(running[0])
    assert jobs.cancel(running[0]).json() == {"status": "ALREADY_COMPLETED"}
    assert jobs.ask(waiting["response_url"]).status_code == 499
    keyed.server.wait_idle()
    assert len(keyed.server.bill()["entries"]) == 4


def test_a_submission_that_is_lost_is_found_by_its_key(keyed):
    jobs = Jobs(keyed, "right")
    keyed.server.set_faults([{"fault": "lost_submission", "times": 1}])
    key = {"Idempotency-Key": "call-1"}
    with pytest.raises(OSError, match=r"aborted|reset|closed"):
        jobs.submit(headers=key)
    job = jobs.submit(headers=key).json()
    assert jobs.submit(headers=key).json()["request_id"] == job["request_id"]
    assert jobs.submit(headers=key, prompt="A hen").status_code == 422
    jobs.ended(job)
    assert len(keyed.server.bill()["entries"]) == 1


class _Receiver(BaseHTTPRequestHandler):
    """Refuses the first delivery, takes all others."""

    got: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(500 if len(self.got) == 1 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_webhook_is_delivered_ten_times(keyed):
    jobs, handler = Jobs(keyed, "right"), type("Handler", (_Receiver,), {"got": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        job = jobs.submit(f"?fal_webhook=http://127.0.0.1:{server.server_port}/done").json()
        until(lambda: len(handler.got) == 11, "all deliveries", pause=0.02)
        server.shutdown()
    assert {(told["request_id"], told["status"]) for told in handler.got} == {(job["request_id"], "OK")}
    assert handler.got[0]["payload"] == jobs.ask(job["response_url"]).json()
    assert len(keyed.server.bill()["entries"]) == 1
    assert jobs.submit("?fal_webhook=http://192.0.2.1/done").status_code == 400


def test_a_client_without_a_key(api):
    reply = httpx.post(f"{api.server.origin}/queue/{MODEL}", json={"prompt": "A fox"}, timeout=20)
    assert (reply.status_code, reply.json()["detail"]) == (
        401,
        "Authentication is required to access this application.",
    )
