"""`export` and `erase` as they are typed, after real runs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from prefect_imagen.cli.chosen import moment_before
from prefect_imagen.core.errors import BadInput

from ..asking import ask
from .conftest import Said, Terminal


@pytest.fixture
def bought(terminal: Terminal, prefect_api: str) -> Terminal:
    """Two runs with a tag each, in a folder."""
    terminal.environment = {**terminal.environment, "PREFECT_API_URL": prefect_api}
    for client, prompt in (("acme", "moby-dick {at dawn|at dusk}"), ("else", "a fox")):
        name = terminal.write(f"{client}.txt", f"{prompt}\n")
        said = terminal.run("run", name, "--to", "images", "--tag", f"client={client}", "--json")
        assert said.code == 0, said.err
    return terminal


def artifacts(api: str, flow_run_ids: list[str]) -> set[str]:
    wanted = {"artifacts": {"flow_run_id": {"any_": flow_run_ids}}}
    return {one["key"] or one["description"] for one in ask(f"{api}/artifacts/filter", wanted)}


def test_a_catalog_is_exported_and_a_client_erased(bought: Terminal, prefect_api: str) -> None:
    said = bought.run("export", "acme.parquet", "--tag", "client=acme", "--json")
    assert (said.code, json.loads(said.out)["rows"]) == (0, 2)
    with duckdb.connect() as connection:
        query = f"SELECT prompt, state FROM '{bought.folder}/acme.parquet' ORDER BY prompt"
        assert connection.execute(query).fetchall() == [
            ("moby-dick at dawn", "stored"),
            ("moby-dick at dusk", "stored"),
        ]
    lines = bought.run("export", "-", "--format", "jsonl").out.splitlines()
    assert {json.loads(line)["prompt"] for line in lines} == {"moby-dick at dawn", "moby-dick at dusk", "a fox"}
    again = bought.run("export", "acme.parquet")
    assert (again.code, "exists; --overwrite replaces it" in again.err) == (2, True)

    dry = bought.run("erase", "--tag", "client=acme")
    assert dry.code == 0
    assert "2 items would be erased" in dry.out
    assert "$0.104: this stays on the account" in dry.out
    assert "Nothing was erased. The same command with --yes" in dry.out
    assert len(list((bought.folder / "images").rglob("*.png"))) == 3

    done = bought.run("erase", "--tag", "client=acme", "--yes", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["items"], told["objects"], told["failed"], told["artifacts"]) == (2, 2, {}, 3)
    assert artifacts(prefect_api, told["flow_runs"]) == {"imagen-progress"}
    assert len(list((bought.folder / "images").rglob("*.png"))) == 1
    with closing(sqlite3.connect(bought.environment["PREFECT_IMAGEN_CATALOG"])) as connection:
        rows = connection.execute("SELECT state, prompt, cost_credits FROM catalog ORDER BY prompt").fetchall()
    assert rows == [("erased", "", 104_000), ("erased", "", 104_000), ("stored", "a fox", 104_000)]

    # The same run again buys nothing, and does not say that it has what it has not.
    rerun = bought.run("run", "acme.txt", "--to", "images", "--tag", "client=acme", "--json")
    report = json.loads(rerun.out)
    assert (rerun.code, report["outcome"], report["states"]["erased"]) == (1, "Incomplete", 2)
    assert len(bought.sandbox.bill()["entries"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("erase",), "say what to erase: --tag, --edition, --older-than or --run"),
        (("erase", "--older-than", "soon"), r"neither an age"),
        (("erase", "--older-than", "2999-01-01"), "lies in the future"),
        (("erase", "--tag", "acme"), "NAME=VALUE"),
        (("erase", "--run", "nope"), "no run's id begins with 'nope'"),
        (("export", "images.xlsx"), r"\.csv, \.jsonl, \.parquet"),
        (("export", "-"), "--format says how"),
        (("export", "-", "--format", "csv", "--json"), "one thing only"),
        (("export", "x.csv", "--run", "nope"), "no run's id begins with 'nope'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input(here: Callable[..., Said], tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    from prefect_imagen.core.ledger import Ledger

    Ledger(str(tmp_path / "ledger.db")).close()
    said = here(*arguments)
    assert said.code == 2
    assert re.search(message, " ".join(said.err.split())), said.err


def test_ages() -> None:
    now = datetime(2026, 4, 1, 12, tzinfo=UTC)
    texts = ("90d", "12h", "4w", "2026-01-31", "2026-01-31T10:00+02:00")
    assert [moment_before(text, now).isoformat() for text in texts] == [
        "2026-01-01T12:00:00+00:00",
        "2026-04-01T00:00:00+00:00",
        "2026-03-04T12:00:00+00:00",
        "2026-01-31T00:00:00+00:00",
        "2026-01-31T10:00:00+02:00",
    ]
    with pytest.raises(BadInput):
        moment_before("99999w", datetime(2, 1, 1, tzinfo=UTC))
