"""While nothing succeeds nothing is bought, whatever the reason; a mix of faults does not stop a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.core.limits import StopReason
from prefect_imagen.sandbox.process import SandboxServer

from ...bill import check_bill
from ...chain import run_chain

THREADS = 8
MOST = THREADS + 10
ITEMS = 100
Buy = Callable[..., dict[str, Any]]


@pytest.fixture
def ledger(tmp_path: Path, open_ledger: Callable[..., Ledger]) -> Ledger:
    return open_ledger(str(tmp_path / "ledger.db"))


@pytest.fixture
def buy(sandbox: SandboxServer, tmp_path: Path, ledger: Ledger, short_pauses: None) -> Buy:
    def run(count: int = ITEMS, **options: Any) -> dict[str, Any]:
        return run_chain(
            **{
                "catalog": ledger,
                "base_url": sandbox.base_url,
                "store": str(tmp_path / "images"),
                "spool": str(tmp_path / "spool"),
                "count": count,
                "concurrency": THREADS,
                "patience": 1.0,
                **options,
            }
        )

    return run


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "forbidden_page"},
        {"fault": "gateway_timeout_billed"},
        {"fault": "html_200"},
        {"fault": "cut_after_billing"},
        {"fault": "odd_reply", "form": "task"},
        {"fault": "odd_reply", "form": "error"},
        {"fault": "odd_reply", "form": "billed_error"},
    ],
    ids=lambda fault: fault.get("form", fault["fault"]),
)
def test_no_call_that_succeeds(sandbox: SandboxServer, ledger: Ledger, buy: Buy, fault: dict[str, Any]) -> None:
    sandbox.set_faults([fault])
    ended = buy()
    assert (ended["outcome"], ended["reason"]) == ("Blocked", StopReason.CALLS)
    assert "none of the last" in ended["halt"]
    assert THREADS < len(sandbox.calls()) <= MOST
    check_bill(ledger, sandbox)


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "download_404"},
        {"fault": "html_download"},
        {"fault": "corrupt_image"},
        {"fault": "private_redirect"},
    ],
    ids=lambda fault: str(fault["fault"]),
)
def test_no_picture_that_arrives(sandbox: SandboxServer, ledger: Ledger, buy: Buy, fault: dict[str, Any]) -> None:
    sandbox.set_faults([{**fault, "first_attempts": None}])
    ended = buy()
    assert (ended["outcome"], ended["reason"]) == ("Blocked", StopReason.PICTURES)
    assert THREADS < len(sandbox.calls()) <= MOST
    check_bill(ledger, sandbox)
    if fault["fault"] == "corrupt_image":
        return
    # The CDN is back: the same command delivers what was left for later, and buys the rest; nothing twice.
    sandbox.clear_faults()
    again = buy()
    delivered, lost = again["states"].get("delivered", 0), again["states"].get("lost", 0)
    assert (delivered + lost, again["reason"]) == (ITEMS, None)
    assert lost < 4, "pictures were given up while none arrived"
    assert len(sandbox.bill()["entries"]) == ITEMS
    check_bill(ledger, sandbox)


@pytest.mark.parametrize(
    "fault", [{"fault": "forbidden_page"}, {"fault": "download_404", "first_attempts": None}], ids=["calls", "pictures"]
)
def test_a_success_ends_the_pause(sandbox: SandboxServer, ledger: Ledger, buy: Buy, fault: dict[str, Any]) -> None:
    sandbox.set_faults([{**fault, "times": THREADS + 6 + 1}])
    ended = buy(patience=20.0)
    assert (ended["reason"], ended["pauses"]) == (None, 1)
    done = ended["states"]
    assert done["delivered"] >= ITEMS - THREADS - 7
    assert sum(done.values()) == ITEMS
    check_bill(ledger, sandbox)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_a_mix_of_faults_does_not_pause_the_purchase(
    sandbox: SandboxServer, ledger: Ledger, buy: Buy, seed: int
) -> None:
    calls = ("forbidden_page", "gateway_timeout_billed", "html_200", "cut_before_billing", "rate_limited")
    downloads = ("download_404", "html_download")
    sandbox.set_faults(
        [
            *({"fault": name, "rate": 0.02} for name in calls),
            *({"fault": name, "rate": 0.05, "first_attempts": None} for name in downloads),
        ],
        seed=seed,
    )
    ended = buy(count=150)
    assert (ended["reason"], ended["pauses"]) == (None, 0)
    assert sum(ended["states"].values()) == 150
    assert ended["states"]["delivered"] > 100
    check_bill(ledger, sandbox)


@pytest.mark.parametrize("form", ["empty_200", "null_200", "http_400"])
@pytest.mark.parametrize("billed", [False, True])
def test_refusals_of_every_prompt_are_answers(
    sandbox: SandboxServer, ledger: Ledger, buy: Buy, form: str, billed: bool
) -> None:
    if billed and form == "http_400":
        return
    sandbox.set_faults([{"fault": "safety_block", "form": form, "billed": billed}])
    ended = buy(count=40)
    assert (ended["states"], ended["reason"], ended["pauses"]) == ({"refused": 40}, None, 0)
    check_bill(ledger, sandbox)
