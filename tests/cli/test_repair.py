"""`repair`, `reconcile`, `budget` and `status --by` on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger

from ..bill import check_bill
from ..chain import run_chain
from .conftest import Said, Terminal

Here = Callable[..., Said]


@pytest.fixture
def bought(terminal: Terminal, tmp_path: Path) -> Callable[..., dict[str, int]]:
    """Buys without Prefect, as runs of this user would have."""
    from .conftest import KEY

    def buy(count: int, **options: Any) -> dict[str, int]:
        states: dict[str, int] = run_chain(
            **{
                "catalog": str(tmp_path / "ledger.db"),
                "base_url": terminal.sandbox.base_url,
                "store": str(tmp_path / "images"),
                "spool": str(tmp_path / "home" / "spool"),
                "count": count,
                "log": False,
                "key": KEY,
                **options,
            }
        )["states"]
        return states

    return buy


def check(terminal: Terminal, tmp_path: Path, **options: Any) -> None:
    ledger = Ledger(str(tmp_path / "ledger.db"))
    check_bill(ledger, terminal.sandbox, **options)
    ledger.close()


def test_what_is_delivered_late_is_named_as_told(terminal: Terminal, here: Here, bought: Any, tmp_path: Path) -> None:
    terminal.sandbox.set_faults([{"fault": "download_500", "first_attempts": None}])
    assert bought(2) == {"generated": 2}
    terminal.sandbox.clear_faults()
    assert here("repair", "--no-log", "--key-template", "late/{call}-{index}.{ext}").code == 0
    assert len(list((tmp_path / "images" / "late").glob("*-0.png"))) == 2
    check(terminal, tmp_path)


def test_unknown_is_listed_asked_about_and_decided_on(
    terminal: Terminal, here: Here, bought: Any, tmp_path: Path
) -> None:
    terminal.sandbox.set_faults([{"fault": "cut_after_billing", "times": 2}, {"fault": "server_error", "times": 1}])
    assert bought(5) == {"delivered": 2, "unknown": 3}
    terminal.sandbox.clear_faults()
    shown = here("status")
    assert "Calls that may have been billed" in shown.out
    assert "$0.053" in shown.out
    listed = json.loads(here("status", "--json").out)["unknown"]
    assert [call["item_state"] for call in listed] == ["unknown"] * 3
    one = listed[0]
    assert {"sent_at", "client_request_id", "reserved", "reason", "prompt", "item_id"} <= one.keys()
    assert one["client_request_id"] in shown.out

    held = here("repair", "--no-log")
    assert held.code == 1
    assert "left: 3 unknown" in held.out
    single = here("repair", one["client_request_id"][:-4], "--unknown", "fail", "--no-log", "--json")
    assert (single.code, json.loads(single.out)["given_up"]) == (1, 1)
    asked = json.loads(here("repair", "--json").out)
    assert asked["log"]["unbilled"] + asked["log"]["billed"] == 3
    done = here("repair", "--unknown", "retry")
    assert done.code == 0, done.out + done.err
    check(terminal, tmp_path, settled=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("repair", "no-such-item", "--unknown", "fail"), "no item's or request's id begins with 'no-such-item'"),
        (("repair", "--run", "zzz"), "no run's id begins"),
        (("reconcile", "--rebuild"), "--rebuild needs --to"),
        (("reconcile", "--rebuild", "--apply", "--to", "x"), "without --apply"),
        (("reconcile", "--to", "gopher://x"), "images go to s3://"),
        (("budget", "--day", "lots"), "not an amount in USD: 'lots'"),
        (("budget", "--day", "5", "--timezone", "Mars/Olympus"), "'Mars/Olympus' is not a time zone"),
        (("budget", "--timezone", "UTC"), "--timezone goes with --day or --month"),
    ],
)
def test_bad_input_is_one_sentence(here: Here, bought: Any, arguments: tuple[str, ...], message: str) -> None:
    bought(1)
    said = here(*arguments)
    assert said.code == 2
    assert message in said.err


def test_without_a_ledger_there_is_nothing_to_repair(here: Here) -> None:
    for command in ("repair", "reconcile", "budget"):
        said = here(command)
        assert said.code == 2
        assert "there is no ledger" in said.err


def test_reconcile_finds_mends_and_rebuilds(terminal: Terminal, here: Here, bought: Any, tmp_path: Path) -> None:
    bought(3)
    next((tmp_path / "images").rglob("*.png")).unlink()
    found = here("reconcile")
    assert found.code == 1
    assert "1 missing" in found.out
    mended = here("reconcile", "--apply", "--json")
    assert mended.code == 0
    assert json.loads(mended.out)[0]["counts"] == {"missing": 1}
    assert here("reconcile", "--quick").code == 0
    for name in tmp_path.glob("ledger.db*"):
        name.unlink()
    made = here("reconcile", "--rebuild", "--to", str(tmp_path / "images"), "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["items"] == 3
    assert bought(3) == {"delivered": 3}
    check(terminal, tmp_path, settled=True)
    shutil.rmtree(tmp_path / "images")
    assert here("reconcile", "--to", str(tmp_path / "images")).code in (1, 2)


def test_budgets_are_set_shown_and_removed(here: Here) -> None:
    assert here("budget", "--day", "1.50", "--month", "30", "--timezone", "Europe/Berlin").code == 0
    day, month = json.loads(here("budget", "--json").out)
    assert (day["period"], day["limit_usd"], day["left_usd"], day["timezone"]) == ("day", 1.5, 1.5, "Europe/Berlin")
    assert month["frees_at"].endswith(("+01:00", "+02:00"))
    assert "$1.50" in here("budget").out
    assert here("budget", "--day", "none").code == 0
    assert [budget["period"] for budget in json.loads(here("budget", "--json").out)] == ["month"]
    here("budget", "--month", "none")
    assert "No budget" in here("budget").out


def test_cost_by_tag(terminal: Terminal, here: Here, bought: Any, tmp_path: Path) -> None:
    bought(2, tags={"campaign": "spring"})
    bought(1, tags={"campaign": "autumn"}, prefix="owl")
    bought(3, prefix="cat")
    rows = json.loads(here("status", "--by", "campaign", "--json").out)
    assert [(row["value"], row["calls"], row["images"], row["spent_credits"]) for row in rows] == [
        (None, 3, 3, 312_000),
        ("spring", 2, 2, 208_000),
        ("autumn", 1, 1, 104_000),
    ]
    shown = here("status", "--by", "campaign").out
    assert "spring" in shown
    assert "(without it)" in shown
    check(terminal, tmp_path, settled=True)


def test_the_history_of_an_item(terminal: Terminal, here: Here, bought: Any, tmp_path: Path) -> None:
    bought(1)
    (call,) = terminal.sandbox.calls()
    name = call["client_request_id"]
    changes = json.loads(here("status", "--history", name, "--json").out)
    assert [change["after"] for change in changes if change["call_id"] is None] == [
        "claimed",
        "sent",
        "generated",
        "delivered",
    ]
    assert [change["after"] for change in changes if change["call_id"] == name] == ["sent", "answered"]
    shown = here("status", "--history", name[:12]).out
    assert "delivered" in shown
    unknown = here("status", "--history", "nothing")
    assert unknown.code == 2
    assert "no item's or request's id begins" in unknown.err
