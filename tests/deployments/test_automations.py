"""Automations as code, on a real server: each event of ours reaches a person, as a text one can read."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Crashed, Failed, Scheduled
from prefect_imagen.core.errors import BadInput
from prefect_imagen.deployments.automations import main
from prefect_imagen.flows import events, imagen_pipeline
from prefect_imagen.flows.progress import MONEY_LABEL

from ..asking import ask
from ..waiting import until

RUN = {
    "run_id": "r1", "flow_run_url": "http://prefect/r1", "outcome": "Blocked", "message": "out of credit",
    "model": "google/imagen4/preview", "edition": "2026-03-01", "tags": {}, "destination": "s3://b", "catalog": "c",
    "rows": 10, "items": 9, "delivered": 7, "owned": 0, "states": {}, "images": 7, "quarantined": 0,
    "billed_usd": 0.364, "unknown_calls": 1, "unknown_usd": 0.053, "in_flight_calls": 0,
}  # fmt: skip

CASES = [
    (
        events.RunIncomplete.model_validate(RUN),
        "imagen: Blocked, 7 of 9 delivered",
        "out of credit\nBilled $0.36 for google/imagen4/preview, edition 2026-03-01. "
        "The same run again buys only what is missing.\nhttp://prefect/r1",
    ),
    (
        events.BudgetWarning(
            scope="day", period="2026-03-01", spent_usd=8, reserved_usd=0.106, cap_usd=10, share=0.8106
        ),
        "imagen: 81 % of the day's budget",
        "$8.00 spent and $0.11 reserved of $10.00 (2026-03-01).",
    ),
    (
        events.UnknownWaiting(
            run_id="r1", flow_run_url=None, items=3, at_most_usd=0.159, client_request_ids=["pi-1"]
        ),
        "imagen: 3 items may have been billed without an answer",
        "At most $0.16. `prefect-imagen repair` asks the API's log about them, which costs nothing; "
        "`prefect-imagen status` lists the calls.",
    ),
    (
        events.ModelRetiring(
            model="google/imagen4/preview", shutdown_date="2026-08-17", successor="google/x", message="upstream ends"
        ),
        "imagen: google/imagen4/preview is being withdrawn",
        "upstream ends\nLast day: 2026-08-17\nInstead: google/x",
    ),
    (
        events.ReviewRequested(
            flow_run_id="f1", flow_run_url="http://prefect/f1", catalog="c", images=24, approved=3, rejected=1,
            unreviewed=20, link="http://page/?tag=review-chain%3Df1",
        ),
        "imagen: 20 of 24 images wait for a review",
        "http://page/?tag=review-chain%3Df1\nhttp://prefect/f1",
    ),
]  # fmt: skip


class _Phone(BaseHTTPRequestHandler):
    """Where the notifications go."""

    received: queue.Queue[Any]

    def do_POST(self) -> None:
        self.received.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def phone(prefect_api: str) -> Iterator[queue.Queue[Any]]:
    """A person's phone behind a notification block, and the automations that call it."""
    _Phone.received = queue.Queue()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Phone) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        CustomWebhookNotificationBlock(
            name="phone",
            url=f"http://127.0.0.1:{server.server_address[1]}/",
            json_data={"subject": "{{subject}}", "body": "{{body}}"},
            allow_private_urls=True,
        ).save("phone", overwrite=True)
        yield _Phone.received
        server.shutdown()
        thread.join()


def test_made_once_and_updated_after(
    prefect_api: str, phone: queue.Queue[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    # The server is the session's: examples of the docs may have made some of them.
    with get_client(sync_client=True) as client:
        for row in ask(f"{prefect_api}/automations/filter", {}):
            client.request("DELETE", "/automations/{id}", path_params={"id": row["id"]})
    said = {}
    for word in ("created", "updated"):
        assert main(["--notify", "custom-webhook/phone", "--restart"]) == 0
        said[word] = capsys.readouterr().out
        assert [line.split()[0] for line in said[word].splitlines()] == [word] * 8
    found = [row for row in ask(f"{prefect_api}/automations/filter", {}) if row["name"].startswith("imagen: ")]
    assert len(found) == 8


def test_a_block_that_is_not_there(prefect_api: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--notify", "slack-webhook/nobody"]) == 2
    assert "save a notification block" in capsys.readouterr().err


@pytest.mark.parametrize(("payload", "subject", "body"), CASES, ids=lambda case: getattr(case, "event", ""))
def test_each_event_is_told(
    prefect_api: str, phone: queue.Queue[Any], payload: events.Payload, subject: str, body: str
) -> None:
    main(["--notify", "custom-webhook/phone"])
    event = {
        "id": str(uuid.uuid4()),
        "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": payload.event,
        "resource": {"prefect.resource.id": payload.resource},
        "payload": payload.model_dump(mode="json"),
    }
    # The server learns of new automations a moment after they were made.
    time.sleep(1)
    ask(f"{prefect_api}/events", [event])
    # A busy server takes its time, and may still be busy with what came before.
    told: list[Any] = []

    def is_told() -> bool:
        with contextlib.suppress(queue.Empty):
            told.append(phone.get(timeout=1))
        return {"subject": subject, "body": body} in told

    until(is_told, f"the message {subject!r}", seconds=150, details=lambda: told)


def test_a_run_that_does_not_come_to_an_end_of_its_own_is_told(
    prefect_api: str, phone: queue.Queue[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", "key")
    main(["--notify", "custom-webhook/phone"])
    time.sleep(1)
    with pytest.raises(BadInput, match="there is no such file"):
        imagen_pipeline(prompts=str(tmp_path / "nope.csv"), store=str(tmp_path))
    states = {
        "Crashed": Crashed(message="its process is gone"),
        "TimedOut": Failed(name="TimedOut", message="too long"),
        "Cancelled": Cancelled(message="by hand"),
        "Late": Scheduled(name="Late", message="nobody came"),
    }
    with get_client(sync_client=True) as client:
        for name, state in states.items():
            run = client.create_flow_run(imagen_pipeline, parameters={"prompts": [], "store": "x"}, name=f"run-{name}")
            if name == "Crashed":
                client.update_flow_run_labels(run.id, {MONEY_LABEL: "$0.36 billed of $1.00"})
            client.set_flow_run_state(run.id, state, force=True)
    told: dict[str, str] = {}

    def all_are_told() -> bool:
        with contextlib.suppress(queue.Empty):
            message = phone.get(timeout=1)
            told[message["subject"].rpartition(": ")[2]] = message["body"]
        return told.keys() >= {"Failed", *states}

    until(all_are_told, "a message for each state", seconds=150, details=lambda: told)
    assert "nope.csv: there is no such file" in told["Failed"]
    assert told["Crashed"].startswith(
        "its process is gone\nLast recorded cost: $0.36 billed of $1.00. `prefect-imagen status "
    )
    assert "\nLast recorded cost: none. `" in told["TimedOut"]
    assert "prefect flow-run retry " in told["TimedOut"]
    assert told["Late"].startswith("nobody came\nNo worker has started it, so it has cost nothing.")
