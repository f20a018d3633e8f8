"""The whole way of an archive at the terminal, held against the bill: nothing owned is bought again."""

from __future__ import annotations

import json
from typing import Any

from .conftest import Terminal

ARCHIVE = ("archive", "--edition", "old", "--to", "archives", "--yes")


def money(terminal: Terminal) -> dict[str, Any]:
    found = json.loads(terminal.run("status", "--json").out)
    return {name: found[name] for name in ("ledger", "accounts", "items", "states", "rows", "images", "owned")}


def test_an_archived_edition_is_not_bought_again(alone: Terminal) -> None:
    alone.write("foxes.txt", "a red fox\na blue fox\n")
    run = ("run", "foxes.txt", "--edition", "old", "--to")
    assert alone.run(*run, "images").code == 0
    bill, before = alone.sandbox.bill(), money(alone)
    assert bill["credits"] == before["ledger"]["billed_credits"] > 0

    said = alone.run("archive", "--edition", "old")
    assert (said.code, "2 items would be archived" in said.out, "--yes moves the rows" in said.out) == (0, True, True)
    said = alone.run(*ARCHIVE, "--json")
    done = json.loads(said.out)
    assert (said.code, done["items"], done["changed"]) == (0, 2, 0)
    assert money(alone) == before
    assert f"{done['id']}  moved" in " ".join(alone.run("archive").out.split()).replace(" moved", "  moved")

    plan = json.loads(alone.run("plan", "foxes.txt", "--edition", "old", "--to", "images", "--json").out)
    assert (plan["owned"], plan["to_buy"], plan["to_copy"], plan["archived"]) == (2, 0, 0, 0)
    assert alone.run(*run, "images").code == 0
    again = money(alone)
    assert (again["ledger"], again["states"]["delivered"], again["owned"], again["images"]) == (
        before["ledger"],
        2,
        2,
        2,
    )

    plan = json.loads(alone.run("plan", "foxes.txt", "--edition", "old", "--to", "second", "--json").out)
    assert (plan["owned"], plan["to_buy"], plan["to_copy"], plan["archived"]) == (2, 0, 0, 2)
    second = alone.run(*run, "second")
    assert second.code == 1
    assert "2 items are archived, and their images are not at" in second.out
    assert f"prefect-imagen archive --restore {done['id']} --yes" in second.out
    assert alone.sandbox.bill() == bill

    report = json.loads(alone.run("reconcile", "--to", "images", "--json").out)[0]
    assert (report["archived"], report["counts"], report["clean"]) == (2, {}, True)
    erased = json.loads(alone.run("erase", "--edition", "old", "--json").out)["survey"]
    assert (erased["items"], erased["archived"]) == (0, 2)

    assert alone.run("archive", "--restore", done["id"]).out.endswith("with --yes puts them back.\n")
    assert alone.run("archive", "--restore", done["id"], "--yes").code == 0
    copied = alone.run(*run, "second")
    assert copied.code == 0
    assert len(list((alone.folder / "second").rglob("*.jpeg")) + list((alone.folder / "second").rglob("*.png"))) == 2
    assert alone.sandbox.bill() == bill


def test_what_cannot_be_meant_is_refused(alone: Terminal) -> None:
    alone.write("foxes.txt", "a red fox\n")
    assert alone.run("run", "foxes.txt", "--to", "images").code == 0
    for arguments, message in (
        (("--yes",), "say what to archive"),
        (("--edition", "", "--yes"), "--to says where the files go"),
        (("--restore", "nothing"), "is no archive of"),
        (("--restore", "nothing", "--edition", "x"), "--restore goes without"),
        (("--older-than", "soon"), "neither an age"),
    ):
        said = alone.run("archive", *arguments)
        assert (said.code, message in said.err) == (2, True), said.err
