"""A plan that was written down is carried out exactly, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Ledger, RunSpec
from prefect_imagen.core.plan import BatchSpec, PlanFile, PlanWriter, make_plan, open_batch, open_plan
from prefect_imagen.core.prompts import PromptFileError, PromptSpec
from prefect_imagen.core.request import RunRequest

FOXES = [{"animal": "fox", "floors": 3}, {"animal": "Füchsin 🦊", "floors": None}, {"animal": "fox", "floors": 3}]


@pytest.fixture
def spec(tmp_path: Path) -> BatchSpec:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in FOXES))
    return BatchSpec(
        PromptSpec(rows, template="{{ animal }}, {photo|oil|ink}", exclude=["ink"]),
        model="google/imagen4/preview@2025-05",
        parameters={"negative_prompt": "rain"},
        matrix={"aspect_ratio": ["1:1", "16:9"]},
        edition="2026",
        repeat=2,
    )


def write(spec: BatchSpec, path: Path) -> PlanFile:
    with PlanWriter(path, spec) as writer:
        writer.finish(items=make_plan(spec, each=writer.add).items)
    plan = open_plan(path)
    assert plan is not None
    return plan


def test_the_same_rows_come_out(spec: BatchSpec, tmp_path: Path) -> None:
    plan = write(spec, tmp_path / "plan.txt")
    rows = list(plan.run_items())
    assert rows == list(spec.run_items())
    assert [row.item.id for row in rows] == [row.item.id for row in spec.run_items()]
    assert [dict(row.row) for row in rows[::8]] == FOXES
    assert (len(rows), plan.check(), plan.count_rows()) == (24, 6, 24)
    assert (plan.model, plan.edition, plan.repeat) == ("google/imagen4/preview@2025-05", "2026", 2)
    assert plan.resolve() == spec.resolve()
    assert make_plan(plan) == make_plan(spec)
    header, *lines = (json.loads(line) for line in (tmp_path / "plan.txt").read_text().splitlines())
    assert (header["prefect_imagen_plan"], header["rows"], header["items"], len(lines)) == (1, 24, 16, 24)
    assert header["prompts"]["exclude"] == ["ink"]
    assert lines[3]["parameters"] == {"aspect_ratio": "16:9", "negative_prompt": "rain"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.txt", "rows.jsonl"]


def test_the_ledger_takes_it_as_it_takes_the_batch(
    spec: BatchSpec, tmp_path: Path, sqlite: str, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(sqlite)
    batch = open_batch(str(write(spec, tmp_path / "p").name))
    ledger.runs.start(RunSpec("run", batch.resolve().name, batch.parameters, edition=batch.edition))
    ledger.runs.add_items("run", batch.run_items())
    assert ledger.runs.progress("run").total == make_plan(spec).items
    assert make_plan(spec, ledger).to_buy == 16


def change(path: Path, line: int, values: dict[str, Any]) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1] = json.dumps({**json.loads(lines[line - 1]), **values})
    path.write_text("".join(f"{text}\n" for text in lines))


TAMPERED: dict[str, tuple[int, dict[str, Any], str]] = {
    "prompt": (4, {"prompt": "a wolf"}, "line 4: the id [0-9a-f]{12}… is not that of this line's content"),
    "parameters": (3, {"parameters": {"aspect_ratio": "9:16"}}, "line 3: the id"),
    "model": (2, {"model": "flux/schnell"}, "line 2: the id"),
    "repeat": (2, {"repeat": 3}, "line 2: the id"),
    "edition of all": (1, {"edition": "2027"}, "line 2: the id"),
    "another model": (1, {"model": "flux/schnell"}, "negative_prompt"),
    "matrix": (1, {"matrix": {}}, "line 4: the id"),
    "version": (1, {"prefect_imagen_plan": 2}, "line 1: a plan of version 2; this package reads version 1"),
    "count": (1, {"rows": 26}, "the plan has 26 rows, and 24 are here: it is not whole"),
    "header": (1, {"repeat": "two"}, "line 1: not the header of a plan: repeat"),
    "type": (5, {"line": "1"}, "line 5: not a line of a plan: line: "),
    "further key": (5, {"price": 0}, "line 5: not a line of a plan: price: "),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_plan_that_was_edited_is_refused(name: str, spec: BatchSpec, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    write(spec, path)
    line, values, pattern = TAMPERED[name]
    change(path, line, values)
    with pytest.raises(BadInput, match=pattern):
        open_batch(str(path)).check()


def test_a_line_that_is_missing_or_twice_is_noticed(spec: BatchSpec, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    write(spec, path)
    whole = path.read_text().splitlines(keepends=True)
    for lines in (whole[:-1], [*whole[:5], *whole[6:]], [*whole[:5], whole[4], *whole[5:]]):
        path.write_text("".join(lines))
        with pytest.raises(PromptFileError, match=r"not whole|line 6: the id|line 7: the id"):
            open_batch(str(path)).check()


def test_only_a_plan_is_taken_for_one(tmp_path: Path) -> None:
    for name, text in {
        "prompts.jsonl": '{"prompt": "a prefect_imagen_plan"}\n',
        "plan.jsonl": '{"model": "m", "rows": 1, "prompt": "a fox"}\n',
        "plan.txt": "prefect_imagen_plan\n",
        "plan.csv": 'prompt\n"{""prefect_imagen_plan"": 1}"\n',
        "empty.jsonl": "",
        "binary.parquet": "PAR1\x00\x01",
    }.items():
        (tmp_path / name).write_text(text)
        assert open_plan(tmp_path / name) is None, name
    assert open_plan(tmp_path / "nope.jsonl") is None
    assert open_plan(tmp_path) is None
    assert open_plan(["a fox"]) is None
    assert isinstance(open_batch(str(tmp_path / "prompts.jsonl")), BatchSpec)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"template": "{{ x }}"}, "template"),
        ({"model": "flux/schnell"}, "model"),
        ({"no_variants": True}, "select.variants"),
        ({"limit": 1}, "select.limit"),
        ({"set": {"seed": 1}}, "image.parameters"),
        ({"matrix": {"seed": [1, 2]}}, "image.matrix"),
        ({"edition": "2"}, "edition"),
        ({"exclude": ["ink"]}, "select.exclude"),
        ({"skip_invalid": True}, "select.skip_invalid"),
    ],
)
def test_a_plan_takes_no_option_that_would_change_it(
    options: dict[str, Any], name: str, spec: BatchSpec, tmp_path: Path
) -> None:
    path = tmp_path / "plan.jsonl"
    write(spec, path)
    with pytest.raises(BadInput, match=rf"is a plan and says itself what is bought; leave out {name}$"):
        open_batch(str(path), RunRequest.by_flag(options))
    assert isinstance(open_batch(path, RunRequest(model="google/imagen4/preview")), PlanFile)


def test_nothing_is_left_behind_and_nothing_is_overwritten_by_half_a_plan(spec: BatchSpec, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_text("what was here")
    with PlanWriter(path, spec) as writer, pytest.raises(BadInput, match="nothing to plan"):
        writer.finish(items=0)
    assert path.read_text() == "what was here"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["plan.jsonl", "rows.jsonl"]
    for place, pattern in (
        (tmp_path, "cannot be written: it is a folder"),
        (tmp_path / "no" / "plan", "cannot be written: No such file"),
        (tmp_path / "rows.jsonl", "the prompts are in this file"),
    ):
        with pytest.raises(BadInput, match=pattern):
            PlanWriter(place, spec)


def test_values_that_json_has_no_form_for_stay_readable(tmp_path: Path) -> None:
    spec = BatchSpec(PromptSpec(["a fox"]))
    (row,) = spec.run_items()
    odd = {"when": tmp_path, "share": [float("nan"), 0.5], "half": "\ud83e"}
    with PlanWriter(tmp_path / "plan", spec) as writer:
        writer.add(type(row)(row.position, row.item, row.source, row.line, odd, row.choices))
        writer.finish(items=1)
    plan = open_plan(tmp_path / "plan")
    assert plan is not None
    (read,) = plan.run_items()
    assert read.row == {"when": str(tmp_path), "share": ["nan", 0.5], "half": "\ud83e"}
    assert read.item == row.item


def test_a_plan_file_that_was_written_earlier_gives_the_same_items() -> None:
    plan = open_plan(Path(__file__).parents[2] / "data" / "plan-v1.jsonl")
    assert plan is not None
    ids = [row.item.id for row in plan.run_items()]
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    assert (len(ids), digest) == (24, "571b9371980ab8c2ee790c4dc896384edcd11abe4550d80cadfa22f9e6970a18")
