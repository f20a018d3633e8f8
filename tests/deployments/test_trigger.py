"""The Lambda function alone: what it reads from S3's events, and what it does when Prefect is wrong or away."""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect_imagen.deployments.trigger import handler as trigger
from prefect_imagen.deployments.trigger.handler import PromptsObject, TriggerFailed, handler, read_event

DATA = Path(__file__).parents[1] / "data"
NOTIFICATION = json.loads((DATA / "s3-object-created.json").read_text(encoding="utf-8"))
EVENTBRIDGE = json.loads((DATA / "s3-eventbridge.json").read_text(encoding="utf-8"))


def notification(key: str, **facts: Any) -> Any:
    event = copy.deepcopy(NOTIFICATION)
    event["Records"][0]["s3"]["object"] |= {"key": key, **facts}
    return event


class Fake(BaseHTTPRequestHandler):
    """What no real server does on demand: answers by a script, and remembers what it was asked."""

    script: ClassVar[list[tuple[int, Any]]] = []
    asked: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).asked.append((self.command, self.path, dict(self.headers)))
        status, document = type(self).script.pop(0) if type(self).script else (200, {"id": "x"})
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/stolen")
        if status == 503:
            self.send_header("Retry-After", document)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name the base class looks for

    def log_message(self, *_: Any) -> None:
        pass


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The function's time."""
    made = Clock()
    monkeypatch.setattr(trigger, "time", made)
    return made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Fake]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Fake) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        origin = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("PREFECT_API_URL", f"{origin}/api/")
        monkeypatch.setattr(trigger, "_SECRETS_EXTENSION", f"{origin}/secretsmanager/get")
        monkeypatch.setattr(trigger, "_FIRST_PAUSE", 0.01)
        Fake.script, Fake.asked = [], []
        yield Fake
        server.shutdown()
        thread.join()


def test_it_is_one_file_of_the_standard_library() -> None:
    tree = ast.parse(Path(trigger.__file__).read_text(encoding="utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= sys.stdlib_module_names
    # And it runs where nothing is installed.
    done = subprocess.run(
        [sys.executable, "-I", "-S", trigger.__file__, "nonsense"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "usage: handler.py s3://bucket/key VERSION\n")


def test_keys_are_decoded_as_each_sender_writes_them() -> None:
    (found,) = read_event(notification("up+loaded%2B1/%C3%BCber.csv"))
    assert found.uri == "s3://amzn-s3-demo-bucket/up loaded+1/über.csv"
    event = copy.deepcopy(EVENTBRIDGE)
    event["detail"]["object"]["key"] = "up+loaded%2B1.csv"
    (found,) = read_event(event)
    assert found == PromptsObject("amzn-s3-demo-bucket1", "up+loaded%2B1.csv", "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e")


@pytest.mark.parametrize(
    "event",
    [
        NOTIFICATION,  # an image
        EVENTBRIDGE,  # no ending
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {**EVENTBRIDGE, "detail-type": "Object Deleted"},
        {"Records": [{**NOTIFICATION["Records"][0], "eventName": "ObjectRemoved:Delete"}]},
        {},
    ],
    ids=["image", "no-ending", "test-event", "sqs", "deleted", "removed", "empty"],
)
def test_what_is_no_file_of_prompts_is_left_alone(event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert handler(event) == {"runs": []}


def test_each_version_and_deployment_has_its_own_key() -> None:
    (with_version,) = read_event(notification("p.csv"))
    (other_version,) = read_event(notification("p.csv", versionId="2"))
    (plain,) = read_event(notification("p.csv", versionId=None))
    (again,) = read_event(notification("p.csv", versionId=None))
    (overwritten,) = read_event(notification("p.csv", versionId=None, sequencer="0055AED6DCD90281E6"))
    keys = [found.idempotency_key("f/d") for found in (with_version, other_version, plain, overwritten)]
    assert len(set(keys)) == 4
    assert plain == again
    assert plain.idempotency_key("f/d") != plain.idempotency_key("f/e")


def test_it_asks_again_while_prefect_is_away(fake: type[Fake]) -> None:
    fake.script = [(503, "0"), (429, "slowly"), (503, "0"), (200, {"id": "d"}), (502, b"<html>"), (201, {"id": "r"})]
    assert handler(notification("p.csv"))["runs"] == [
        {"prompts": "s3://amzn-s3-demo-bucket/p.csv", "flow_run_id": "r", "created": True}
    ]
    assert [path for _, path, _ in fake.asked][-1] == "/api/deployments/d/create_flow_run"


@pytest.mark.parametrize("answer", [(503, "0"), (200, b"not json")], ids=["503", "no-json"])
def test_it_gives_up_before_lambdas_time_is_over(fake: type[Fake], clock: Clock, answer: tuple[int, Any]) -> None:
    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 5_500

    fake.script = [answer] * 1000
    with pytest.raises(TriggerFailed, match=r"answers 503|does not answer as it should"):
        handler(notification("p.csv"), Context())
    assert clock.now - 1000 <= 0.5
    assert len(fake.asked) > 3


def test_it_waits_as_long_as_prefect_asks(fake: type[Fake], clock: Clock) -> None:
    fake.script = [(503, "1"), (200, {"id": "d"}), (201, {"id": "r"})]
    assert handler(notification("p.csv"))["runs"][0]["created"]
    assert clock.now - 1000 >= 1
    # Longer than there is time: it does not wait for nothing.
    fake.script = [(503, "3600")]
    with pytest.raises(TriggerFailed, match="answers 503"):
        handler(notification("p.csv"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([(401, "")], "refuses the login"),
        ([(404, {"detail": "Deployment not found"})], "is 'imagen_pipeline/on-demand' deployed"),
        ([(200, {"id": "d"}), (409, {"detail": "budget_usd: -1"})], "budget_usd: -1"),
        ([(302, "")], "answers 302"),
    ],
)
def test_what_cannot_be_done_is_an_error(fake: type[Fake], script: list[Any], said: str) -> None:
    fake.script = list(script)
    with pytest.raises(TriggerFailed, match=said):
        handler(notification("p.csv"))
    assert not any(path == "/stolen" for _, path, _ in fake.asked)
    assert len(fake.asked) == len(script)


def test_one_bad_object_does_not_stop_the_others(fake: type[Fake]) -> None:
    event = notification("bad.csv")
    event["Records"] += notification("good.csv")["Records"]
    fake.script = [(404, ""), (200, {"id": "d"}), (201, {"id": "r"})]
    with pytest.raises(TriggerFailed, match=r"bad\.csv"):
        handler(event)
    assert fake.script == []


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({}, None),
        ({"PREFECT_API_KEY": "pnu_1"}, "Bearer pnu_1"),
        ({"PREFECT_API_AUTH_STRING": "admin:pass"}, "Basic YWRtaW46cGFzcw=="),
    ],
)
def test_the_login(
    fake: type[Fake], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], header: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    handler(notification("p.csv"))
    assert {headers.get("Authorization") for _, _, headers in fake.asked} == {header}


@pytest.mark.parametrize(("secret", "header"), [("pnu_2\n", "Bearer pnu_2"), ("admin:pass", "Basic YWRtaW46cGFzcw==")])
def test_the_login_from_secrets_manager(
    fake: type[Fake],
    monkeypatch: pytest.MonkeyPatch,
    secret: str,
    header: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY_SECRET", "arn:aws:secretsmanager:eu-central-1:1:secret:prefect")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    fake.script = [(200, {"SecretString": secret}), (200, {"id": "d"})] * 2
    handler(notification("p.csv"))
    (method, path, headers), (_, _, sent) = fake.asked[:2]
    assert (method, headers["X-Aws-Parameters-Secrets-Token"]) == ("GET", "session")
    assert path.startswith("/secretsmanager/get?secretId=arn%3Aaws")
    assert sent["Authorization"] == header
    assert secret.strip() not in caplog.text
    fake.script = [(400, "denied")]
    with pytest.raises(TriggerFailed, match="secretsmanager:GetSecretValue"):
        handler(notification("p.csv"))


def test_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(TriggerFailed, match="PREFECT_API_URL is not set"):
        handler(notification("p.csv"))


def test_as_a_command(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    fake.script = [(200, {"id": "d"}), (200, {"id": "r"})]
    assert trigger.main(["s3://b/p.csv", "v1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompts": "s3://b/p.csv", "flow_run_id": "r", "created": False}
    fake.script = [(401, "")]
    assert trigger.main(["s3://b/p.csv", "v1"]) == 1
    assert "refuses the login" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["s3://b/p.csv"], ["p.csv", "v"], ["s3://b", "v"]])
def test_a_wrong_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert trigger.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
