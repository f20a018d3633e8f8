"""From bought images to a delivery on the command line: judged, made anew, handed over; held to the bill."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import ImageFilter, Ledger, Verdict, VerdictValue

from ..waiting import until
from .conftest import Said, Terminal


@pytest.fixture
def bought(alone: Terminal) -> Terminal:
    """A user who owns four images."""
    alone.write("foxes.csv", "prompt,sku\n" + "".join(f"a fox number {n},S{n}\n" for n in range(4)))
    done = alone.run("run", "foxes.csv", "--to", "images", "--aspect-ratio", "16:9", "--json")
    assert done.code == 0, done.err
    return alone


@pytest.fixture
def ledger(bought: Terminal) -> Iterator[Ledger]:
    ledger = Ledger(bought.environment["PREFECT_IMAGEN_CATALOG"], create=False)
    yield ledger
    ledger.close()


def images(ledger: Ledger) -> list[dict[str, Any]]:
    columns = (
        "image_id",
        "item_id",
        "prompt",
        "seed",
        "parameters",
        "revision",
        "parent_image_id",
        "source_row",
        "uri",
    )
    return list(ledger.review.all(ImageFilter(), columns=columns))


def judge(ledger: Ledger, verdict: VerdictValue, *image_ids: str, reviewer: str = "ann") -> None:
    ledger.verdicts.record([Verdict(image_id, reviewer, verdict) for image_id in image_ids])


def document(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_rejected_images_are_made_anew_once_and_delivered(bought: Terminal, ledger: Ledger) -> None:
    first, second, third, fourth = (row["image_id"] for row in images(ledger))
    judge(ledger, VerdictValue.REJECTED, first, second)
    judge(ledger, VerdictValue.APPROVED, third, fourth)
    asked = bought.run("regenerate", "--verdict", "rejected", "--ask-only", "--json")
    assert document(asked) == {"asked": 2}
    assert len(bought.sandbox.bill()["entries"]) == 4
    (plan,) = document(bought.run("plan", "--regenerations", "--json"))["regenerations"]
    assert (plan["to_buy"], plan["images"], plan["price_credits"]) == (2, 2, 208_000)
    assert "2 of 2 items to buy" in bought.run("plan", "--regenerations").out

    (run,) = document(bought.run("regenerate", "--verdict", "rejected", "--budget-usd", "1", "--json"))["runs"]
    assert (run["outcome"], run["items"], run["images"]) == ("Completed", 2, 2)
    assert len(bought.sandbox.bill()["entries"]) == 6
    old = {row["image_id"]: row for row in images(ledger)}
    new = [row for row in old.values() if row["revision"] == 2]
    assert {row["parent_image_id"] for row in new} == {first, second}
    for row in new:
        parent = old[row["parent_image_id"]]
        assert (row["prompt"], row["parameters"]) == (parent["prompt"], parent["parameters"])
        assert row["source_row"] == parent["source_row"]
        assert row["seed"] != parent["seed"]
        assert row["item_id"] != parent["item_id"]

    again = bought.run("regenerate", "--verdict", "rejected", "--json")
    assert document(again) == {"runs": []}
    assert "Nothing is to be made anew" in bought.run("plan", "--regenerations").out
    assert len(bought.sandbox.bill()["entries"]) == 6

    judge(ledger, VerdictValue.APPROVED, *(row["image_id"] for row in new))
    report = document(bought.run("deliver", "--to", "shop", "--names", "{row[sku]}-{revision}.{ext}", "--json"))
    assert (report["images"], report["copied"], report["taken_back"]) == (4, 4, 0)
    shop = bought.folder / "shop"
    anew = {json.loads(row["source_row"])["sku"] for row in new}
    assert {path.name for path in shop.glob("*.png")} == {f"S{n}-{2 if f'S{n}' in anew else 1}.png" for n in range(4)}
    assert len((shop / "manifest.jsonl").read_text().splitlines()) == 4
    rows = [json.loads(line) for line in export(bought, "--verdict", "approved").splitlines()]
    assert {row["image_id"] for row in rows} == {third, fourth, *(row["image_id"] for row in new)}
    assert {row["verdict"] for row in rows} == {"approved"}
    assert len(export(bought).splitlines()) == 6


def export(user: Terminal, *criteria: str) -> str:
    said = user.run("export", "-", "--format", "jsonl", *criteria)
    assert said.code == 0, said.err
    return said.out


def test_another_prompt_and_other_parameters(bought: Terminal, ledger: Ledger) -> None:
    first, second, *_ = (row["image_id"] for row in images(ledger))
    assert bought.run("regenerate", first, "--prompt", "a grey wolf", "--ask-only").code == 0
    assert bought.run("regenerate", second, "--set", "aspect_ratio=1:1", "--ask-only").code == 0
    (run,) = document(bought.run("regenerate", "--json"))["runs"]
    assert (run["outcome"], run["items"]) == ("Completed", 2)
    new = {row["parent_image_id"]: row for row in images(ledger) if row["revision"] == 2}
    assert new[first]["prompt"] == "a grey wolf"
    assert json.loads(new[first]["parameters"]) == {"aspect_ratio": "16:9"}
    assert json.loads(new[second]["parameters"]) == {}
    # What was made anew can be made anew.
    assert document(bought.run("regenerate", new[first]["image_id"], "--json"))["runs"][0]["outcome"] == "Completed"
    third = [row for row in images(ledger) if row["revision"] == 3]
    assert [(row["prompt"], row["parent_image_id"]) for row in third] == [("a grey wolf", new[first]["image_id"])]
    assert len(bought.sandbox.bill()["entries"]) == 7


REFUSED: list[tuple[list[str], str]] = [
    (["regenerate", "pi-gone-0"], "there is no image pi-gone-0"),
    (["regenerate", "fox"], "no id of an image"),
    (["regenerate", "--prompt", "a wolf"], "need images"),
    (["regenerate", "--verdict", "approved"], "no image matches"),
    (["regenerate", "IMAGE", "--verdict", "rejected"], "not both"),
    (["regenerate", "IMAGE", "--prompt", "a", "--set", "seed=3"], "not both"),
    (["regenerate", "IMAGE", "--prompt", " "], "prompt"),
    (["regenerate", "IMAGE", "--prompt", "PROMPT"], "nothing was changed"),
    (["regenerate", "IMAGE", "--set", "colour=red"], "colour"),
    (["regenerate", "IMAGE", "--set", "aspect_ratio=7:3"], "aspect_ratio"),
    (["regenerate", "IMAGE", "--reviewer", " "], "name of its reviewer"),
    (["regenerate", "IMAGE", "--budget-usd", "0.01"], "below the price of one item"),
    (["regenerate", "IMAGE", "--run", "zzz"], "not both"),
    (["regenerate", "--run", "zzz"], "no run's id begins with"),
    (["regenerate", "--stars", "9"], "--stars"),
    (["regenerate", "--since", "yesterday"], "--since"),
    (["deliver", "--to", "images"], "where runs store their images"),
    (["deliver", "--to", "shop", "--names", "{colour}"], "unknown field"),
    (["deliver", "--to", "ftp://shop/x"], "not to ftp"),
    (["plan"], "--regenerations"),
    (["plan", "foxes.csv", "--regenerations"], "leave them out"),
    (["export", "out.csv", "--flag", "any", "--flag", "blur"], "stand alone"),
    (["export", "out.csv", "--verdict", "maybe"], "maybe"),
]


def test_bad_input_is_refused_and_nothing_is_sent(bought: Terminal, ledger: Ledger, here: Callable[..., Said]) -> None:
    first = images(ledger)[0]
    meant = {"IMAGE": first["image_id"], "PROMPT": first["prompt"]}
    for arguments, named in REFUSED:
        said = here(*(meant.get(word, word) for word in arguments))
        assert said.code == 2, arguments
        assert named in " ".join(said.err.split()), said.err
    assert len(bought.sandbox.calls()) == 4


@pytest.mark.slow
def test_two_reviewers_and_a_kill_pay_for_each_image_once(bought: Terminal, ledger: Ledger) -> None:
    everything = [row["image_id"] for row in images(ledger)]
    for reviewer in ("ann", "ben"):
        done = bought.run("regenerate", *everything, "--reviewer", reviewer, "--ask-only")
        assert done.code == 0, done.err
    assert len(ledger.revisions.open()) == 4
    assert {one.reviewers for one in ledger.revisions.open()} == {("ann", "ben")}
    bought.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.5}])
    first = bought.start("regenerate", "--concurrency", "1", "--json")
    until(lambda: len(bought.sandbox.bill()["entries"]) >= 6, "two of the new images are billed")
    first.send_signal(signal.SIGKILL)
    first.wait()
    bought.sandbox.clear_faults()
    bought.sandbox.wait_idle()
    both = [bought.start("regenerate", "--unknown", "hold", "--json") for _ in range(2)]
    for process in both:
        process.communicate(timeout=120)
    # What was in flight when the process died is unknown until the log is asked; nothing is bought twice meanwhile.
    entries = bought.sandbox.bill()["entries"]
    assert len(entries) == len({entry["client_request_id"] for entry in entries})
    done = bought.run("repair", "--json")
    assert done.code in (0, 1)
    bought.run("regenerate", "--json")
    items = [row["item_id"] for row in images(ledger) if row["revision"] == 2]
    assert len(items) == len(set(items))
    assert len(items) + len(ledger.calls.unknown()) + _lost(ledger) == 4
    assert len(bought.sandbox.bill()["entries"]) <= 8


def _lost(ledger: Ledger) -> int:
    return sum(one.state == "lost" for one in ledger.revisions.get(revision_ids(ledger)).values())


def revision_ids(ledger: Ledger) -> list[str]:
    of = ledger.revisions.of_images([row["image_id"] for row in images(ledger)])
    return [one.item_id for found in of.values() for one in found]


def test_what_a_reviewer_takes_back_is_not_bought(bought: Terminal, ledger: Ledger) -> None:
    from prefect_imagen.core.review.regenerate import Regeneration, ask, withdraw

    first, second, *_ = (row["image_id"] for row in images(ledger))
    one, other = ask(ledger, [Regeneration(first, "ann"), Regeneration(second, "ann")])
    ask(ledger, [Regeneration(first, "ben", id="b"), Regeneration(first, "ben", id="b")])
    withdraw(ledger, [one.item_id, other.item_id], "ann")
    assert [(two.item_id, two.reviewers) for two in ledger.revisions.open()] == [(one.item_id, ("ben",))]
    assert document(bought.run("regenerate", "--json"))["runs"][0]["items"] == 1
    assert len(bought.sandbox.bill()["entries"]) == 5
    assert Path(bought.folder, "images").is_dir()
