"""`provenance check` and `provenance show` as they are typed, over what a run has stored."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Said, Terminal


@pytest.fixture
def bought(alone: Terminal) -> Terminal:
    """A run with marks and one without."""
    for folder, *options in (("marked", "--mark", "sidecar", "--mark-prompt"), ("plain",)):
        name = alone.write(f"{folder}.txt", f"a {folder} fox\n")
        said = alone.run("run", name, "--to", folder, *options)
        assert said.code == 0, said.err
    return alone


def test_a_run_is_checked_by_place_and_by_name(bought: Terminal, here: Callable[..., Said]) -> None:
    good = here("provenance", "check", "marked")
    assert (good.code, good.out.startswith("1 pictures: 1 marked, 0 unmarked, 0 broken")) == (0, True)
    bad = here("provenance", "check", "marked", "plain", "--csv")
    rows = list(csv.DictReader(io.StringIO(bad.out)))
    assert (bad.code, [row["state"] for row in rows]) == (1, ["marked", "unmarked"])
    assert rows[0]["system"].startswith("google/imagen4/preview at ")
    run = json.loads(here("status", "--json").out)["run_id"]
    named = here("provenance", "check", run[:10], "--json")
    assert (named.code, json.loads(named.out)["counts"]) == (1, {"marked": 0, "unmarked": 1, "broken": 0})
    picture = next(Path("marked").rglob("*.png"))
    shown = here("provenance", "show", str(picture))
    assert (shown.code, "a marked fox" in shown.out, "trainedAlgorithmicMedia" in shown.out) == (0, False, True)
    picture.write_bytes(next(Path("plain").rglob("*.png")).read_bytes())
    swapped = here("provenance", "check", str(picture))
    assert (swapped.code, "the sidecar belongs to another file" in swapped.out.replace("\n", " ")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "nowhere/"), "there is no such folder"),
        (("check", "."), "no pictures there"),
        (("check", "s3:nonsense"), "no run's id begins with"),
        (("check", ".", "--csv", "--json"), "standard output takes one thing only"),
        (("check", ".", "--trust", "none.pem"), "the trusted certificates cannot be read"),
        (("show", "cat.png"), "there is no such file"),
    ],
)
def test_what_cannot_be_checked_is_said(here: Callable[..., Said], arguments: tuple[str, ...], message: str) -> None:
    from prefect_imagen.core.ledger import Ledger

    Ledger("../ledger.db").close()
    said = here("provenance", *arguments)
    assert (said.code, message in " ".join(said.err.split())) == (2, True), said.err


def test_a_delivery_that_cannot_sign_is_refused(here: Callable[..., Said]) -> None:
    from prefect_imagen.core.ledger import Ledger

    Ledger("../ledger.db").close()
    for given, message in (
        ((), "the mark c2pa goes with a certificate and its key"),
        (("--certificate", "none.pem"), "the mark c2pa goes with a certificate and its key"),
        (("--certificate", "none.pem", "--key", "none.pem"), "none.pem cannot be read"),
    ):
        said = here("deliver", "--to", "shop", "--mark", "c2pa", *given)
        assert (said.code, message in " ".join(said.err.split())) == (2, True), said.err


def test_roots_that_are_none_are_found_before_anything_is_bought(alone: Terminal) -> None:
    name = alone.write("prompts.txt", "a fox\n")
    said = alone.run("run", name, "--to", "images", PREFECT_IMAGEN_C2PA_TRUST="none.pem")
    assert (said.code, "none.pem: the trusted certificates cannot be read" in said.err) == (2, True)
    assert alone.sandbox.bill()["entries"] == []
