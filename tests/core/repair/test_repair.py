"""Repair delivers what is paid for, decides on what is unknown, and buys nothing that nobody asked for."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger.schema import items
from prefect_imagen.core.repair import IncompleteRepair

from .conftest import Workshop


def posts(workshop: Workshop) -> int:
    return workshop.sandbox.stats()["posts"]


def test_what_is_paid_is_fetched_stored_and_cataloged_without_a_call(workshop: Workshop) -> None:
    # Two: of more in a row, none is given up while none is got.
    workshop.sandbox.set_faults([{"fault": "download_404", "first_attempts": 9}])
    assert workshop.run(2) == {"lost": 2}
    workshop.sandbox.clear_faults()
    sent = posts(workshop)
    assert workshop.repair().stored == 0, "what is lost is looked for again only if that was asked for"
    report = workshop.repair(lost=True)
    assert report.complete, report
    assert (report.stored, report.bought) == (2, 0)
    assert workshop.states() == {"delivered": 2}
    assert len(workshop.files()) == 2
    assert posts(workshop) == sent
    workshop.check(settled=True)
    again = workshop.repair()
    assert again.summary() == "nothing to do; left: nothing"


def test_what_was_set_aside_is_removed_once_the_image_is_stored(workshop: Workshop) -> None:
    """A CDN whose files were damaged for a while."""
    workshop.sandbox.set_faults([{"fault": "corrupt_image", "first_attempts": 9}])
    assert workshop.run(4) == {"lost": 4}
    quarantine = Path(workshop.spool) / workshop.ledger.id / "quarantine"
    assert len(list(quarantine.iterdir())) == 4
    workshop.sandbox.clear_faults()
    assert workshop.repair(lost=True).stored == 4
    assert list(quarantine.iterdir()) == []


def test_unknown_is_held_asked_about_and_bought_again_only_when_chosen(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 5}])
    assert workshop.run(8, log=False) == {"delivered": 3, "unknown": 5}
    workshop.sandbox.clear_faults()
    sent = posts(workshop)
    held = workshop.repair(ask=False)
    assert (held.unknown, held.bought, held.complete) == (5, 0, False)
    assert posts(workshop) == sent
    one = next(row.id for row in workshop.rows(items) if row.state == "unknown")
    single = workshop.repair(unknown="retry", item_ids=[one], ask=False)
    assert (single.bought, single.unknown) == (1, 4)
    rest = workshop.repair(unknown="retry")
    assert (rest.log.billed, rest.bought, rest.billed) == (5, 4, 4 * 104_000)
    assert rest.complete
    assert workshop.states() == {"delivered": 8}
    workshop.check(settled=True)
    assert workshop.billed() == 8 + 5


def test_what_the_log_calls_failed_is_bought_again_only_if_that_was_chosen(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "server_error", "times": 2}])
    workshop.run(3, log=False)
    workshop.sandbox.clear_faults()
    sent = posts(workshop)
    asked = workshop.repair()
    assert (asked.log.unbilled, asked.unknown, asked.bought) == (2, 0, 0)
    assert posts(workshop) == sent
    assert workshop.states() == {"delivered": 1, "planned": 2}
    workshop.sandbox.set_faults([{"fault": "server_error", "times": 2}])
    workshop.run(3, log=False)
    workshop.sandbox.clear_faults()
    chosen = workshop.repair(unknown="retry")
    assert (chosen.log.unbilled, chosen.bought) == (2, 2)
    assert workshop.states() == {"delivered": 3}
    assert workshop.check(settled=True).delivered.calls == workshop.billed() == 3


def test_given_up_is_bought_by_the_next_run(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 2}])
    workshop.run(3, log=False)
    workshop.sandbox.clear_faults()
    report = workshop.repair(unknown="fail", keyless=True)
    assert (report.given_up, report.unknown) == (2, 0)
    assert workshop.states() == {"delivered": 1, "failed": 2}
    assert workshop.run(3, log=False) == {"delivered": 3}
    workshop.check()
    assert workshop.billed() == 5


def test_a_store_that_is_gone_is_a_problem_with_a_name_and_nothing_is_bought(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 1}])
    workshop.run(2, log=False)
    workshop.sandbox.clear_faults()
    shutil.rmtree(workshop.store)
    Path(workshop.store).write_text("in the way")
    sent = posts(workshop)
    report = workshop.repair(unknown="retry", ask=False)
    assert not report.complete
    assert "images" in report.problems[0]
    assert posts(workshop) == sent
    workshop.check()


def test_buying_needs_a_key(workshop: Workshop) -> None:
    with pytest.raises(BadInput, match="buying again needs credentials"):
        workshop.repair(unknown="retry", keyless=True)
    with pytest.raises(KeyError):
        workshop.repair(run_id="no such run")


def test_the_exception_is_pickled_with_its_report(workshop: Workshop) -> None:
    error = IncompleteRepair(workshop.repair(keyless=True))
    assert pickle.loads(pickle.dumps(error)).report == error.report
