"""`run` and `status` against the sandbox, without Prefect and in a server of it, held to the sandbox's bill."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.sandbox.local_s3 import LocalS3

from ..waiting import until
from .conftest import IMAGEN, IN_PREFECT_TOO, Said, Terminal
from .counting import CountingProxy

FOXES = "a {red|blue|grey} fox\n"


NO_PREFECT = "no Prefect API is configured: running without Prefect; --prefect starts a temporary server\n"


def test_a_run_its_repetition_and_what_the_others_say(user: Terminal, here: Callable[..., Said]) -> None:
    user.write("foxes.txt", FOXES)
    first = user.run_apart("run", "foxes.txt", "--to", "images", "--tag", "team=spring", "--json")
    assert first.code == 0, first.err
    report = json.loads(first.out)
    assert (report["outcome"], report["items"], report["states"]["delivered"], report["images"]) == (
        "Completed",
        3,
        3,
        3,
    )
    bill = user.sandbox.bill()
    assert (len(bill["entries"]), bill["credits"]) == (3, report["account"]["billed_credits"])
    stored = [path for path in (user.folder / "images").rglob("*.png") if path.is_file()]
    assert len(stored) == 3
    in_prefect = "PREFECT_API_URL" in user.environment
    lines = first.err.splitlines()
    assert first.err.startswith(NO_PREFECT) is not in_prefect
    # A slow machine also sees lines of progress.
    said = [line[10:] for line in lines if f"{line}\n" != NO_PREFECT and " of 3 images; " not in line]
    assert said == ["starting Prefect"] * in_prefect + ["planning"]
    assert "3 of 3 images; 3 delivered; $0.156 billed" in lines[-1]

    # The same again, as a person sees it; also with all of Prefect's log, neither shows the key.
    again = user.run_apart("run", "foxes.txt", "--to", "images", "--verbose")
    assert again.code == 0
    assert again.out.lstrip().startswith("Completed  3 of 3 items delivered")
    assert "3 of the items, not bought again" in again.out
    assert ("Flow run" in again.err) is in_prefect
    assert len(user.sandbox.calls()) == 3

    plan = json.loads(here("plan", "foxes.txt", "--json").out)
    assert (plan["owned"], plan["to_buy"], plan["price_credits"]) == (3, 0, 0)

    status = json.loads(here("status", report["run_id"][:8], "--json").out)
    assert (status["run_id"], status["outcome"], status["run"]["tags"]) == (
        report["run_id"],
        "Completed",
        {"team": "spring"},
    )
    assert status["ledger"]["billed_credits"] == bill["credits"]
    listed = json.loads(here("status", "--all", "--json").out)
    assert [row["items"] for row in listed] == [3, 3]
    shown = here("status").out
    assert "Completed  3 of 3 items delivered" in shown
    assert "$0.156" in shown
    assert here("status", "nope").code == 2


def test_a_spool_over_its_cap_stops_the_buying(alone: Terminal) -> None:
    alone.write("foxes.txt", FOXES)
    assert alone.run("run", "foxes.txt", "--to", "images").code == 0
    (images,) = Path(alone.environment["PREFECT_IMAGEN_HOME"], "spool").glob("*/images")
    (images / "left-behind").write_bytes(bytes(100))
    alone.write("owls.txt", "an owl\n")
    stopped = alone.run(*("run", "owls.txt", "--to", "images", "--spool-max-bytes", "50", "--patience", "0", "--json"))
    assert (stopped.code, json.loads(stopped.out)["outcome"]) == (1, "Blocked")
    assert "more than the 50 allowed" in json.loads(stopped.out)["message"]
    assert len(alone.sandbox.bill()["entries"]) == 3
    assert alone.run("run", "owls.txt", "--to", "images", "--spool-max-bytes", "200").code == 0


@IN_PREFECT_TOO
def test_what_is_missing_is_said_with_what_to_type(user: Terminal, here: Callable[..., Said]) -> None:
    user.write("foxes.txt", "".join(f"fox {n}\n" for n in range(8)))
    user.sandbox.set_faults(
        [
            {"fault": "bad_gateway_billed", "times": 1},
            {"fault": "safety_block", "form": "http_400", "times": 1},
        ]
    )
    said = user.run("run", "foxes.txt", "--to", "images", "--unknown", "hold")
    assert said.code == 1
    assert "Incomplete  6 of 8 items delivered" in said.out
    assert "up to $0.053 more, for 1 unknown calls" in said.out
    free, paid = "  prefect-imagen repair\n", "  prefect-imagen run foxes.txt --to images --unknown retry\n"
    assert 0 < said.out.find(free) < said.out.find(paid), "what costs nothing comes first"
    assert "  prefect-imagen run foxes.txt --to images --unknown hold --retry-refused\n" in said.out
    assert "1 unknown, 1 failed" in said.err
    assert "note: " not in said.err, "the report is the summary, and the only one"

    status = here("status")
    unknown = json.loads(here("status", "--json").out)["unknown"]
    assert [(call["reserved"], call["prompt"][:4]) for call in unknown] == [(106_000, "fox ")]
    assert unknown[0]["client_request_id"] in {entry["client_request_id"] for entry in user.sandbox.bill()["entries"]}
    assert unknown[0]["client_request_id"] in status.out
    assert "Calls that may have been billed" in status.out

    user.sandbox.clear_faults()
    rest = user.run("run", "foxes.txt", "--to", "images", "--unknown", "retry", "--retry-refused", "--json")
    assert (rest.code, json.loads(rest.out)["states"]["delivered"]) == (0, 8)


def test_out_of_credit_says_to_top_up(alone: Terminal) -> None:
    alone.write("foxes.txt", FOXES)
    alone.sandbox.set_faults([{"fault": "out_of_credit"}])
    said = alone.run("run", "foxes.txt", "--to", "images")
    assert said.code == 1
    assert said.out.lstrip().startswith("Blocked  0 of 3")
    assert "Top up the account, then the same command buys the rest:\n  prefect-imagen run foxes.txt" in said.out


@IN_PREFECT_TOO
def test_a_budget_ends_the_run_and_says_how_to_go_on(user: Terminal, here: Callable[..., Said]) -> None:
    user.write("foxes.txt", FOXES)
    budget = ("--budget-usd", "0.11", "--on-incomplete", "warn", "--concurrency", "1")
    said = user.run("run", "foxes.txt", "--to", "images", *budget)
    assert said.code == 1
    assert said.out.lstrip().startswith("BudgetReached  2 of 3 items delivered")
    assert "under a new budget of the same size:\n  prefect-imagen run foxes.txt" in said.out
    assert here("budget", "--day", "0.11").code == 0
    day = user.run("run", "foxes.txt", "--to", "images", "--json")
    assert (day.code, json.loads(day.out)["outcome"], json.loads(day.out)["budget"]) == (1, "BudgetReached", "day")
    assert len(user.sandbox.bill()["entries"]) == 2


def wait_for_calls(terminal: Terminal, count: int) -> None:
    until(lambda: len(terminal.sandbox.calls()) >= count, f"{count} calls of the API", pause=0.05)


def make_slow(terminal: Terminal) -> None:
    """Let calls take their time, and have many to make."""
    terminal.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.5}])
    terminal.write("foxes.txt", "".join(f"fox number {n}\n" for n in range(190)))


def servers_of(process_id: int) -> list[int]:
    """Process ids of the Prefect servers that a command has started."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [int(child) for child in children if b"prefect_process" in Path(f"/proc/{child}/cmdline").read_bytes()]


def assert_gone(process_id: int) -> None:
    def gone() -> bool:
        try:
            return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    until(gone, f"the end of process {process_id}", seconds=60)


def assert_stopped(terminal: Terminal, here: Callable[..., Said]) -> None:
    """The run has ended on the ledger, and every call of it is settled."""
    terminal.sandbox.wait_idle()
    status = json.loads(here("status", "--json").out)
    assert (status["outcome"], status["states"]["unknown"], status["states"]["sent"]) == ("Stopped", 0, 0)
    assert status["account"]["billed_credits"] == terminal.sandbox.bill()["credits"] > 0


def test_ctrl_c_ends_a_temporary_server(
    alone: Terminal, here: Callable[..., Said], migrated: Callable[[Path], None], tmp_path: Path
) -> None:
    migrated(tmp_path / "prefect")
    make_slow(alone)
    process = alone.start("run", "foxes.txt", "--to", "images", "--concurrency", "4", "--prefect")
    wait_for_calls(alone, 6)
    (server,) = servers_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert out.lstrip().startswith("Stopped  ")
    assert_gone(server)
    assert_stopped(alone, here)


def test_kill_9_leaves_no_server_behind(alone: Terminal) -> None:
    """Not even one that is still starting."""
    alone.write("foxes.txt", FOXES)
    process = alone.start("run", "foxes.txt", "--to", "images", "--prefect")
    assert process.stderr is not None
    assert "starting Prefect" in process.stderr.readline()
    servers = until(lambda: servers_of(process.pid), "the start of a Prefect server", pause=0.05)
    process.kill()
    process.communicate()
    for server in servers:
        assert_gone(server)


@pytest.mark.parametrize(
    ("user", "sent", "code"),
    [
        ("alone", signal.SIGINT, 130),
        ("alone", signal.SIGTERM, 143),
        # Ctrl-C in Prefect: the test before.
        pytest.param("in Prefect", signal.SIGINT, 130, marks=pytest.mark.long),
        ("in Prefect", signal.SIGTERM, 143),
    ],
    indirect=["user"],
)
def test_a_signal_stops_the_run_in_order(user: Terminal, here: Callable[..., Said], sent: int, code: int) -> None:
    make_slow(user)
    process = user.start("run", "foxes.txt", "--to", "images", "--concurrency", "4")
    wait_for_calls(user, 6)
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert out.lstrip().startswith("Stopped  ")
    assert "  prefect-imagen run foxes.txt --to images --concurrency 4\n" in out
    assert ("Ctrl-C again leaves at once" in err) is (sent == signal.SIGINT)
    assert_stopped(user, here)


def on_a_terminal(terminal: Terminal, arguments: list[str], answer: str | None, **environment: str) -> tuple[int, str]:
    """Run a command with a pseudo-terminal for all its streams; answers its first question."""
    child, master = pty.fork()
    if child == 0:
        os.chdir(terminal.folder)
        os.execve(IMAGEN, [str(IMAGEN), *arguments], {**terminal.environment, "TERM": "xterm", **environment})
    shown = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            shown += os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if answer is not None and b"[y/N]" in shown:
            os.write(master, f"{answer}\n".encode())
            answer = None
    os.close(master)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")


def test_a_terminal_is_asked_before_much_is_spent(terminal: Terminal) -> None:
    terminal.write("foxes.txt", "".join(f"fox {n}\n" for n in range(200)))
    code, shown = on_a_terminal(terminal, ["run", "foxes.txt", "--to", "images"], "n")
    assert code == 130
    assert "Buy 200 images for about $10.40 (at most $10.60)?" in shown
    assert terminal.sandbox.calls() == []


def test_the_live_bar(alone: Terminal) -> None:
    alone.write("foxes.txt", FOXES)
    code, shown = on_a_terminal(alone, ["run", "foxes.txt", "--to", "images"], None)
    assert code == 0
    assert "3 of 3 images" in shown
    assert "\x1b[32m3 delivered" in shown
    assert "$0.156 billed" in shown


def test_no_colour_where_none_is_wanted(terminal: Terminal) -> None:
    assert "\x1b[1;33mNote" in on_a_terminal(terminal, ["models"], None)[1]
    assert "\x1b[1;33mNote" not in on_a_terminal(terminal, ["models"], None, NO_COLOR="1")[1]
    assert "\x1b[" not in terminal.run("models").out


def test_sandbox_command_serves_until_ctrl_c(terminal: Terminal) -> None:
    process = terminal.start("sandbox", "--port", "0", "--key", "good")
    assert process.stdout is not None
    # Line by line up to the last one: what the pipe's reader has buffered, `communicate` does not see any more.
    lines = [process.stdout.readline()]
    while lines[-1] and "prefect-imagen run" not in lines[-1]:
        lines.append(process.stdout.readline())
    assert "ready" in lines[0]
    base_url = lines[1].split()[-1]
    assert f"--base-url {base_url}" in lines[-1]
    terminal.write("foxes.txt", "a fox\n")
    refused = terminal.run("run", "foxes.txt", "--to", "images", "--base-url", base_url)
    assert refused.code == 2
    assert "the API refuses the key" in refused.err
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_bad_input_does_not_wait_for_prefect(
    here: Callable[..., Said], terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever can be known without Prefect is said before it is started."""
    terminal.write("foxes.txt", FOXES)
    asked: list[str] = []
    monkeypatch.setattr("prefect_imagen.cli.prefect_server.configured_api", lambda: asked.append("API"))
    monkeypatch.setattr("prefect_imagen.cli.logs.set_up_prefect", lambda **_: asked.append("logs"))
    assert here("run", "foxes.txt", "--to", "images", "--aspect-ratio", "7:1").code == 2
    assert not asked
    assert here("run", "foxes.txt", "--to", "images").code == 0
    assert asked == ["logs", "API"]


def test_prefect_is_not_imported_where_it_is_not_configured(alone: Terminal) -> None:
    alone.write("foxes.txt", FOXES)
    script = """
import sys
from prefect_imagen.cli import main
assert main(["run", "foxes.txt", "--to", "images"]) == 0
heavy = {"prefect", "boto3", "pyarrow", "numpy", "fastapi", "uvicorn"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=alone.folder, env=alone.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_each_service_is_asked_once(user: Terminal, s3_server: LocalS3, tmp_path: Path) -> None:
    """The source is read to check it and to write it down; catalogue, balance and destination are asked once."""
    s3, to = s3_server, tmp_path.name
    with CountingProxy(s3.endpoint_url) as store, CountingProxy(user.sandbox.origin) as api:
        for bucket in ("prompts", "images"):
            s3.create_bucket(bucket)
        s3.client().put_object(Bucket="prompts", Key="foxes.txt", Body=FOXES.encode())
        said = user.run(
            *("run", "s3://prompts/foxes.txt", "--to", f"s3://images/{to}", "--endpoint-url", store.origin),
            *("--base-url", f"{api.origin}/v1", "--sample", "2", "--json"),
            AWS_ENDPOINT_URL_S3=store.origin,
            AWS_ACCESS_KEY_ID=s3.access_key,
            AWS_SECRET_ACCESS_KEY=s3.secret_key,
        )
        assert said.code == 0, said.err
    assert 1 <= store.count("GET", "/prompts/foxes.txt") <= 2
    # To bind it, before the first call, and after the last.
    assert store.count("GET", ".prefect-imagen-ledger.json") == 3
    assert store.count("GET", f"/images/{to}/.prefect-imagen-probe") == 1
    assert api.count("GET", "/v1/models?type=openai%2Fimage-generations") == 1
    assert api.count("GET", "/v1/models/deprecations") == 1
    assert api.count("GET", "billing") == 1
    assert api.count("POST", "") == 2
