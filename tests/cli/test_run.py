"""`run` and `status` against the sandbox and a Prefect server, held to the sandbox's bill."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..waiting import until
from .conftest import IMAGEN, Said, Terminal

FOXES = "a {red|blue|grey} fox\n"


@pytest.fixture
def configured(terminal: Terminal, prefect_api: str) -> Terminal:
    """A user whose Prefect is configured for a server."""
    terminal.environment = {**terminal.environment, "PREFECT_API_URL": prefect_api}
    return terminal


def test_a_run_its_repetition_and_what_the_others_say(configured: Terminal, here: Callable[..., Said]) -> None:
    configured.write("foxes.txt", FOXES)
    first = configured.run("run", "foxes.txt", "--to", "images", "--tag", "team=spring", "--json")
    assert first.code == 0, first.err
    report = json.loads(first.out)
    assert (report["outcome"], report["items"], report["states"]["delivered"], report["images"]) == (
        "Completed",
        3,
        3,
        3,
    )
    bill = configured.sandbox.bill()
    assert (len(bill["entries"]), bill["credits"]) == (3, report["account"]["billed_credits"])
    stored = [path for path in (configured.folder / "images").rglob("*.png") if path.is_file()]
    assert len(stored) == 3
    lines = first.err.splitlines()
    assert [line[10:] for line in lines[:2]] == ["starting Prefect", "checking and planning"]
    assert "3 of 3 images; 3 delivered; $0.156 billed" in lines[-1]

    # The same again, as a person sees it; also with all of Prefect's log, neither shows the key.
    again = configured.run("run", "foxes.txt", "--to", "images", "--verbose")
    assert again.code == 0
    assert again.out.lstrip().startswith("Completed  3 of 3 items delivered")
    assert "3 of the items, not bought again" in again.out
    assert "Flow run" in again.err
    assert len(configured.sandbox.calls()) == 3

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


def test_a_spool_over_its_cap_stops_the_buying(configured: Terminal) -> None:
    configured.write("foxes.txt", FOXES)
    assert configured.run("run", "foxes.txt", "--to", "images").code == 0
    (images,) = Path(configured.environment["PREFECT_IMAGEN_HOME"], "spool").glob("*/images")
    (images / "left-behind").write_bytes(bytes(100))
    configured.write("owls.txt", "an owl\n")
    stopped = configured.run(
        *("run", "owls.txt", "--to", "images", "--spool-max-bytes", "50", "--patience", "0", "--json")
    )
    assert (stopped.code, json.loads(stopped.out)["outcome"]) == (1, "Blocked")
    assert "more than the 50 allowed" in json.loads(stopped.out)["message"]
    assert len(configured.sandbox.bill()["entries"]) == 3
    assert configured.run("run", "owls.txt", "--to", "images", "--spool-max-bytes", "200").code == 0


def test_what_is_missing_is_said_with_what_to_type(configured: Terminal, here: Callable[..., Said]) -> None:
    configured.write("foxes.txt", "".join(f"fox {n}\n" for n in range(8)))
    configured.sandbox.set_faults(
        [
            {"fault": "bad_gateway_billed", "times": 1},
            {"fault": "safety_block", "form": "http_400", "times": 1},
        ]
    )
    said = configured.run("run", "foxes.txt", "--to", "images", "--unknown", "hold")
    assert said.code == 1
    assert "Incomplete  6 of 8 items delivered" in said.out
    assert "up to $0.053 more, for 1 unknown calls" in said.out
    assert "  prefect-imagen run foxes.txt --to images --unknown retry\n" in said.out
    assert "  prefect-imagen run foxes.txt --to images --unknown hold --retry-refused\n" in said.out
    assert "1 unknown, 1 failed" in said.err

    status = here("status")
    unknown = json.loads(here("status", "--json").out)["unknown"]
    assert [(call["reserved"], call["prompt"][:4]) for call in unknown] == [(106_000, "fox ")]
    assert unknown[0]["client_request_id"] in {
        entry["client_request_id"] for entry in configured.sandbox.bill()["entries"]
    }
    assert unknown[0]["client_request_id"] in status.out
    assert "Calls that may have been billed" in status.out

    configured.sandbox.clear_faults()
    rest = configured.run("run", "foxes.txt", "--to", "images", "--unknown", "retry", "--retry-refused", "--json")
    assert (rest.code, json.loads(rest.out)["states"]["delivered"]) == (0, 8)


def test_out_of_credit_says_to_top_up(configured: Terminal) -> None:
    configured.write("foxes.txt", FOXES)
    configured.sandbox.set_faults([{"fault": "out_of_credit"}])
    said = configured.run("run", "foxes.txt", "--to", "images", "--on-incomplete", "warn")
    assert said.code == 1
    assert said.out.lstrip().startswith("Blocked  0 of 3")
    assert "Top up the account, then the same command buys the rest:\n  prefect-imagen run foxes.txt" in said.out


def wait_for_calls(terminal: Terminal, count: int) -> None:
    until(lambda: len(terminal.sandbox.calls()) >= count, f"{count} calls of the API", pause=0.05)


@pytest.fixture
def slow(terminal: Terminal, tmp_path: Path, migrated: Callable[[Path], None]) -> Terminal:
    """A user whose Prefect is not configured, and calls that take their time."""
    migrated(tmp_path / "prefect")
    terminal.environment = {**terminal.environment, "PREFECT_HOME": str(tmp_path / "prefect")}
    terminal.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.5}])
    terminal.write("foxes.txt", "".join(f"fox number {n}\n" for n in range(300)))
    return terminal


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


def test_ctrl_c_records_reports_and_goes_on(slow: Terminal, here: Callable[..., Said]) -> None:
    """With no Prefect configured: a private server, which ends with the run."""
    process = slow.start("run", "foxes.txt", "--to", "images", "--concurrency", "4")
    wait_for_calls(slow, 6)
    (server,) = servers_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert out.lstrip().startswith("Stopped  ")
    assert "  prefect-imagen run foxes.txt --to images --concurrency 4\n" in out
    assert "Ctrl-C again leaves at once" in err
    assert_gone(server)
    slow.sandbox.wait_idle()
    status = json.loads(here("status", "--json").out)
    assert (status["outcome"], status["states"]["unknown"], status["states"]["sent"]) == ("Stopped", 0, 0)
    assert status["account"]["billed_credits"] == slow.sandbox.bill()["credits"] > 0


def test_kill_9_leaves_no_server_behind(terminal: Terminal) -> None:
    """Not even one that is still starting."""
    terminal.write("foxes.txt", FOXES)
    process = terminal.start("run", "foxes.txt", "--to", "images")
    assert process.stderr is not None
    assert "starting Prefect" in process.stderr.readline()
    servers = until(lambda: servers_of(process.pid), "the start of a Prefect server", pause=0.05)
    process.kill()
    process.communicate()
    for server in servers:
        assert_gone(server)


def test_sigterm_on_a_configured_server(slow: Terminal, prefect_api: str) -> None:
    process = slow.start("run", "foxes.txt", "--to", "images", PREFECT_API_URL=prefect_api)
    wait_for_calls(slow, 2)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert out.lstrip().startswith("Stopped  ")
    assert "Traceback" not in err


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


def test_the_live_bar(configured: Terminal) -> None:
    configured.write("foxes.txt", FOXES)
    code, shown = on_a_terminal(configured, ["run", "foxes.txt", "--to", "images"], None)
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


def test_bad_input_does_not_wait_for_prefect(here: Callable[..., Said], terminal: Terminal) -> None:
    """Whatever can be known without Prefect is said before it is started."""
    terminal.write("foxes.txt", FOXES)
    began = time.thread_time()
    assert here("run", "foxes.txt", "--to", "images", "--aspect-ratio", "7:1").code == 2
    assert time.thread_time() - began < 2
