"""`plan --out`, then `run`: exactly what was planned; and the options that say which prompts there are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import Said, Terminal

MATRIX = ("--matrix", "aspect_ratio=1:1,16:9", "--matrix", "num_images=1,2")
SIZES = ((1024, 1024), (1408, 768))


def plan(here: Callable[..., Said], *arguments: str) -> dict[str, object]:
    said = here("plan", *arguments, "--json")
    assert (said.code, said.err) == (0, "")
    return dict(json.loads(said.out))


def test_a_plan_is_run_exactly(terminal: Terminal, here: Callable[..., Said], prefect_api: str, tmp_path: Path) -> None:
    terminal.write("foxes.txt", "a {red|blue} fox\n")
    planned = plan(here, "foxes.txt", *MATRIX, "--sample", "1", "--edition", "{scheduled_date}", "--out", "plan.jsonl")
    assert (planned["prompts"], planned["combinations"], planned["items"], planned["images"]) == (1, 4, 4, 6)
    wanted = [json.loads(line) for line in (terminal.folder / "plan.jsonl").read_text().splitlines()][1:]
    assert plan(here, "plan.jsonl") == planned | {"column": None}
    # What the prompts are meanwhile does not matter.
    terminal.write("foxes.txt", "an owl\n")

    said = terminal.run("run", "plan.jsonl", "--to", "images", "--json", PREFECT_API_URL=prefect_api)
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert (report["outcome"], report["items"], report["states"]["delivered"], report["images"]) == (
        "Completed",
        4,
        4,
        6,
    )
    assert "6 of 6 images; 4 delivered; $0.312 billed" in said.err
    # Each purchase used its own item's parameters.
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as catalog:
        rows = catalog.execute("SELECT item_id, prompt, width, height, images_requested, source_file FROM catalog")
        bought = {(item, prompt): (width, height, count, source) for item, prompt, width, height, count, source in rows}
    assert set(bought) == {(line["item"], line["prompt"]) for line in wanted}
    assert sorted(bought.values()) == [(*size, count, "foxes.txt") for size in SIZES for count in (1, 2)]
    assert sorted(call["images"] for call in terminal.sandbox.calls()) == [1, 1, 2, 2]
    assert sum(entry["credits"] for entry in terminal.sandbox.bill()["entries"]) == planned["price_credits"]
    assert len(list((terminal.folder / "images").rglob("*.png"))) == 1 + 1 + 2 + 2
    after = plan(here, "plan.jsonl", "--to", "images")
    assert (after["owned"], after["to_buy"], after["to_copy"]) == (4, 0, 0)
    assert plan(here, "plan.jsonl", "--to", "elsewhere")["to_copy"] == 4


def test_options_that_would_change_a_plan_are_refused(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("foxes.txt", "a {red|blue} fox\n")
    plan(here, "foxes.txt", "--out", "plan.jsonl")
    for options, named in {
        # Also one that is typed with its default.
        ("--model", "google/imagen4/preview", "--template", "x"): "--model, --template",
        ("--no-variants", "--seed", "3"): "--no-variants, --seed",
        ("--matrix", "seed=1,2", "--repeat", "2"): "--matrix, --repeat",
        ("--per-row", "1", "--max-prompts", "9", "--exclude", "red"): "--exclude, --per-row, --max-prompts",
        ("--wildcards", ".", "--set", "seed=1"): "--wildcards, --set",
    }.items():
        for command in (("plan",), ("run", "--to", "images")):
            said = here(command[0], "plan.jsonl", *command[1:], *options)
            assert (said.code, said.out) == (2, "")
            assert said.err == f"error: plan.jsonl is a plan and says itself what is bought; leave out {named}\n"
    again = here("plan", "plan.jsonl", "--out", "other.jsonl")
    assert (again.code, again.err) == (2, "error: --out: plan.jsonl is a plan already\n")
    path = terminal.folder / "plan.jsonl"
    path.write_text(path.read_text().replace("a blue fox", "a blue dog"))
    said = here("run", "plan.jsonl", "--to", "images")
    assert said.code == 2
    assert "plan.jsonl, line 3: the id" in said.err
    assert terminal.sandbox.calls() == []
    assert sorted(entry.name for entry in terminal.folder.iterdir()) == ["foxes.txt", "plan.jsonl"]


def test_prompts_that_do_not_fit_are_not_written_down(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("prompts.txt", f"a fox\n{'x' * 401}\n")
    assert here("plan", "prompts.txt", "--out", "plan.jsonl").code == 2
    assert [entry.name for entry in terminal.folder.iterdir()] == ["prompts.txt"]
    assert here("plan", "prompts.txt", "--out", "plan.jsonl", "--skip-invalid").code == 0
    assert plan(here, "plan.jsonl")["items"] == 1


def test_which_prompts(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("rows.csv", "animal,place\ncat,beach\nfox,forest\n")
    (terminal.folder / "lists").mkdir()
    terminal.write("lists/season.txt", "summer\nwinter\nspring\n")
    said = plan(
        here,
        *("rows.csv", "--template", "{{ animal }} in __season__, {a|b}", "--wildcards", "lists"),
        *("--exclude", "winter & a", "--exclude", "place=beach & spring", "--per-row", "2", "--max-prompts", "4"),
    )
    samples = said["samples"]
    assert isinstance(samples, list)
    assert [text.split()[0] for text in samples] == ["cat", "cat", "fox", "fox"]
    assert not [text for text in samples if "winter, a" in text or "cat in spring" in text]
    assert said["bytes"] == 4 * 1_600_000
    assert plan(here, "rows.csv", "--prompt-column", "animal", "--requests-per-minute", "4")["seconds"] == 30


def test_for_a_person(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("rows.txt", "a {1|2|3} fox\n")
    out = here("plan", "rows.txt", *MATRIX, "--repeat", "2", "--requests-per-minute", "1").out
    assert "3, each in 4 combinations, each 2 times\n" in out
    assert "about 57.6 MB; at least 24 min 00 s at that rate\n" in out
    terminal.write("rows.txt", "{0|1|2|3|4|5|6|7|8|9}" * 12)
    out = here("plan", "rows.txt").out
    assert out.startswith("1,000,000,000,000 of 1,000,000,000,000 items to buy")
    assert "These are too many to look at one by one." in out
    assert "900000000000" in out


BAD = {
    ("--max-prompts", "2"): "max_prompts=2: there are 3 prompts; ask for fewer",
    ("--exclude", "dog"): "exclude='dog': no alternative is 'dog'",
    ("--exclude", "&"): "exclude='&'",
    ("--wildcards", "nowhere"): "nowhere",
    ("--matrix", "aspect_ratio"): "--matrix: 'aspect_ratio' is not of the form NAME=VALUE",
    ("--matrix", "aspect_ratio=1:1,"): "--matrix: aspect_ratio=1:1, has an empty value; write aspect_ratio=V1,V2",
    ("--matrix", "aspect_ratio=1:1,7:5"): "aspect_ratio: '7:5' is not allowed (one of 1:1",
    ("--matrix", "aspect_ratio=1:1,1:1"): "are the same purchase; leave one out",
    ("--matrix", "num_images=1,two"): "num_images: 'two' is not allowed (an integer, 1 to 4)",
    ("--matrix", "seed=1,2", "--seed", "3"): "matrix: seed is given for every prompt already (3); leave one out",
    ("--matrix", "seed=1", "--matrix", "seed=2"): "--matrix: 'seed' is given twice",
}


@pytest.mark.parametrize("options", BAD)
def test_bad_input(options: tuple[str, ...], here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("rows.txt", "a {1|2|3} fox\n")
    for command in (("plan",), ("run", "--to", "images")):
        said = here(command[0], "rows.txt", *command[1:], *options)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("error: ")
        assert BAD[options] in said.err
    assert terminal.sandbox.calls() == []
    assert here("plan", "rows.txt", "--requests-per-minute", "0").code == 2


def test_prompts_and_plans_in_s3(
    here: Callable[..., Said], terminal: Terminal, s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = s3_server
    s3.create_bucket("prompts")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint_url)
    client = s3.client()
    client.put_object(Bucket="prompts", Key="rows.txt", Body=b"a __colour__ fox\n")
    client.put_object(Bucket="prompts", Key="lists/colour.txt", Body=b"red\nblue\n")
    planned = plan(here, "s3://prompts/rows.txt", "--wildcards", "s3://prompts/lists", "--out", "plan.jsonl")
    assert (planned["items"], planned["samples"]) == (2, ["a red fox", "a blue fox"])
    client.put_object(Bucket="prompts", Key="plan", Body=(terminal.folder / "plan.jsonl").read_bytes())
    assert plan(here, "s3://prompts/plan") == planned | {"column": None}
    said = here("plan", "s3://prompts/nope.txt")
    assert (said.code, "s3://prompts/nope.txt: there is no such object" in said.err) == (2, True)
