"""The catalog as a file, read back by what people read it with: equal to the catalog, on both databases."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.export import COLUMNS, Format, Kind, export_catalog, export_stream
from prefect_imagen.core.export.formats import open_writer
from prefect_imagen.core.ledger import Answered, ImageState, Ledger, LedgerUnavailable, NewImage, Selection
from prefect_imagen.core.ledger.catalog import Catalog
from prefect_imagen.core.ledger.schema import calls, images, items, runs
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.storage import open_store
from prefect_imagen.core.values import from_spreadsheet, to_spreadsheet
from prefect_imagen.sandbox.local_s3 import LocalS3

AWKWARD = 'a "quoted", comma\nand a line, näher 🦊 \\ =1+1'


@pytest.fixture
def filled(harness: Any) -> Any:
    """Two runs with tags and editions, awkward texts, images of every state, a reply of several images."""
    harness.start("first", tags={"team": "spring", "client": "acme"}, edition="may")
    [plain, many, bad] = harness.plan(3, edition="may")
    harness.finish(harness.buy(plain))
    call = harness.buy(many, images=3, credits_=100_001)
    for index, state in enumerate((ImageState.STORED, ImageState.QUARANTINED, ImageState.STORED)):
        harness.finish(call, state, index=index)
    harness.finish(harness.buy(bad), ImageState.LOST)
    harness.start("second", tags={"team": "autumn"})
    [other] = harness.plan(1, prefix=AWKWARD)
    call_id = harness.send(other)
    image = NewImage(0, f"https://cdn.test/{AWKWARD[:3]}.png", None, "a fox, \x00revised")
    harness.ledger.calls.settle(call_id, Answered([image], 104_000, "reply", seed=2**70, inference_id="i,1"))
    harness.ledger.items.release([other])
    harness.plan(1, edition="may")  # owned, asked for by the second run as well
    return harness


def catalog(ledger: Ledger, selection: str = "") -> list[dict[str, Any]]:
    """The view as a SQL client sees it, in the order of the calls."""
    with ledger.read() as connection:
        query = f"SELECT * FROM catalog {selection} ORDER BY requested_at, item_id, image_index"
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


def same(kind: Kind, value: Any) -> Any:
    """A value of the view or of a reader, without what only their types differ in."""
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    match kind:
        case Kind.INTEGER:
            return int(value)
        case Kind.REAL:
            return round(float(value), 12)
        case Kind.TIME:
            moment = pd.Timestamp(value)
            return (moment if moment.tzinfo else moment.tz_localize("UTC")).tz_convert("UTC").to_pydatetime()
        case Kind.JSON:
            return json.loads(value) if isinstance(value, str) else value
        case Kind.TEXT:
            return str(value)


def alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: same(COLUMNS[name], value) for name, value in row.items()} for row in rows]


def with_pandas(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
    elif path.suffix == ".csv":
        texts = {name: str for name, kind in COLUMNS.items() if kind in (Kind.TEXT, Kind.JSON)}
        frame = pd.read_csv(path, dtype=texts)
    else:
        frame = pd.read_json(path, lines=True, dtype=False)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def with_duckdb(path: Path) -> list[dict[str, Any]]:
    reader = {
        ".parquet": f"read_parquet('{path}')",
        ".csv": f"read_csv('{path}', types={{{_types()}}}, allow_quoted_nulls=false)",
        ".jsonl": f"read_json('{path}', format='newline_delimited', columns={{{_types()}}})",
    }[path.suffix]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        result = connection.execute(f"SELECT * FROM {reader}")
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _types() -> str:
    sql = {Kind.INTEGER: "BIGINT", Kind.REAL: "DOUBLE", Kind.TIME: "TIMESTAMPTZ"}
    return ", ".join(f"'{name}': '{sql.get(kind, 'VARCHAR')}'" for name, kind in COLUMNS.items())


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_pandas_and_duckdb_read_what_the_catalog_has(filled: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"images.{ending}"
    exported = export_catalog(filled.ledger, str(path))
    wanted = alike(catalog(filled.ledger))
    assert len(wanted) == exported.rows == 6
    assert exported.bytes == path.stat().st_size
    assert alike(with_duckdb(path)) == wanted
    # pandas takes an empty field of a CSV for a missing one, quoted or not.
    blank = None if ending == "csv" else ""
    read = alike(with_pandas(path))
    assert read == [{name: blank if value == "" else value for name, value in row.items()} for row in wanted]


def test_parquet_has_types(filled: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    export_catalog(filled.ledger, str(tmp_path / "images.parquet"))
    schema = pq.read_schema(tmp_path / "images.parquet")
    kinds = {"string": Kind.TEXT, "int64": Kind.INTEGER, "double": Kind.REAL, "timestamp[us, tz=UTC]": Kind.TIME}
    found = {field.name: kinds[str(field.type)] for field in schema}
    assert found == {name: Kind.TEXT if kind is Kind.JSON else kind for name, kind in COLUMNS.items()}


def test_every_column_of_the_view_is_known(filled: Any) -> None:
    assert list(catalog(filled.ledger)[0]) == list(COLUMNS), "core/export/columns.py and the view differ"


def test_an_empty_text_is_told_from_a_null_in_csv(filled: Any) -> None:
    file = io.BytesIO()
    export_stream(filled.ledger, file, Format.CSV, Selection(run_id="second", edition=""))
    header, row = file.getvalue().decode().split("\r\n", 1)
    names = header.split(",")
    assert names == list(COLUMNS)
    assert ',"",1,0,1,1,,,,,,104000,0.052,"reply",' in row


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(), 6),
        (Selection(run_id="first"), 5),
        (Selection(run_id="second"), 2),
        (Selection(edition="may"), 5),
        (Selection(edition=""), 1),
        (Selection(tags={"team": "spring"}), 5),
        (Selection(tags={"team": "autumn"}), 2),
        (Selection(tags={"team": "spring", "client": "acme"}), 5),
        (Selection(tags={"team": "spring", "client": "else"}), 0),
        (Selection(run_id="second", edition="may"), 1),
        (Selection(before=datetime(2020, 1, 1, tzinfo=UTC)), 0),
        (Selection(before=datetime(2100, 1, 1, tzinfo=UTC)), 6),
    ],
    ids=str,
)
def test_which_images(filled: Any, selection: Selection, count: int) -> None:
    file = io.BytesIO()
    assert export_stream(filled.ledger, file, Format.JSONL, selection) == count
    assert len(file.getvalue().splitlines()) == count


def test_rows_of_a_run_come_in_its_order(filled: Any) -> None:
    file = io.BytesIO()
    export_stream(filled.ledger, file, Format.JSONL, Selection(run_id="first"))
    prompts = [json.loads(line)["prompt"] for line in file.getvalue().splitlines()]
    assert prompts == ["fox 0", "fox 1", "fox 1", "fox 1", "fox 2"]


def test_an_object_in_s3(filled: Any, tmp_path: Path, s3: LocalS3) -> None:
    place = f"s3://exports/{uuid.uuid4().hex}"
    target = f"{place}/images.parquet"
    exported = export_catalog(filled.ledger, target, **s3.options)
    assert (exported.uri, exported.rows) == (target, 6)
    store = open_store(place, **s3.options)
    store.get("images.parquet", tmp_path / "back.parquet")
    assert alike(with_duckdb(tmp_path / "back.parquet")) == alike(catalog(filled.ledger))
    with pytest.raises(BadInput, match="exists; --overwrite replaces it"):
        export_catalog(filled.ledger, target, **s3.options)
    assert export_catalog(filled.ledger, target, Selection(run_id="second"), overwrite=True, **s3.options).rows == 2
    with pytest.raises(BadInput, match="name the object"):
        export_catalog(filled.ledger, "s3://exports/", format_=Format.CSV, **s3.options)


def test_a_file_is_there_whole_or_not_at_all(filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "images.csv"
    export_catalog(filled.ledger, str(path))
    before = path.read_bytes()
    with pytest.raises(BadInput, match="exists; --overwrite"):
        export_catalog(filled.ledger, str(path))

    def breaks() -> Iterator[Any]:
        yield [[None] * len(COLUMNS)]
        raise LedgerUnavailable("gone in the middle")

    monkeypatch.setattr(Catalog, "batches", lambda *_args: nullcontext(breaks()))
    with pytest.raises(LedgerUnavailable):
        export_catalog(filled.ledger, str(path), overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if "images" in file.name] == ["images.csv"]


@pytest.mark.parametrize(
    ("target", "message"),
    [("images.xlsx", r"\.csv, \.jsonl, \.parquet"), ("images", "ending says"), (".", "ending says")],
)
def test_targets_that_are_none(harness: Any, target: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        export_catalog(harness.ledger, target)


def test_a_folder_is_no_file(harness: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        export_catalog(harness.ledger, str(tmp_path), format_=Format.CSV)


MEASURE = """
import re, sys
from pathlib import Path
from prefect_imagen.core.export import Format, export_catalog
from prefect_imagen.core.ledger import Ledger, Selection
ledger = Ledger(sys.argv[1], create=False)
rows = export_catalog(ledger, sys.argv[2], Selection(edition=sys.argv[3])).rows
peak = int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
print(rows, peak // 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with many stored images, written past the ledger's own steps: they would take minutes."""
    path = tmp_path_factory.mktemp("large") / "ledger.db"
    ledger = Ledger(str(path))
    now = datetime.now(UTC)

    def write(connection: sa.Connection, count: int, edition: str) -> None:
        many = [f"{edition}-{n:060}" for n in range(count)]
        item = {"model": "m", "parameters": {}, "edition": edition, "repeat": 1, "state": "delivered"}
        times = {"created_at": now, "updated_at": now}
        rows = [{**item, **times, "id": name, "prompt": f"fox {name} " * 10} for name in many]
        connection.execute(sa.insert(items), rows)
        paid = {
            "number": 1,
            "run_id": "run",
            "holder_id": "h",
            "outcome": "answered",
            "billed": True,
            "settled": 104_000,
        }
        sent = {"reserved": 104_000, "wire_model": "m", "contract": "c", "requested": 1, "returned": 1, "sent_at": now}
        connection.execute(sa.insert(calls), [{**paid, **sent, "id": f"c{name}", "item_id": name} for name in many])
        stored = {"idx": 0, "state": "stored", "attempts": 0, "bytes": 99, "stored_at": now}
        rows = [{**stored, "call_id": f"c{name}", "item_id": name, "uri": f"file:///a/{name}.png"} for name in many]
        connection.execute(sa.insert(images), rows)

    def run(connection: sa.Connection) -> None:
        base = {"holder_id": "h", "model": "m", "parameters": {}, "edition": "", "tags": {}, "reserved": 0, "spent": 0}
        connection.execute(sa.insert(runs), [{**base, "id": "run", "started_at": now}])

    ledger.write(run)
    ledger.write(lambda connection: write(connection, 2_000, "few"))
    ledger.write(lambda connection: write(connection, 100_000, "many"))
    ledger.close()
    return path


@pytest.mark.long
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_hundred_thousand_rows_take_no_more_memory_than_a_few(large: Path, tmp_path: Path, ending: str) -> None:
    def measured(edition: str) -> tuple[int, int]:
        arguments = [str(large), str(tmp_path / f"{edition}.{ending}"), edition]
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True, timeout=150
        )
        rows, peak = map(int, done.stdout.split())
        return rows, peak

    (few, low), (many, high) = measured("few"), measured("many")
    assert (few, many) == (2_000, 100_000)
    # All rows at once take 300 MB and more.
    assert high - low < 60, (low, high)


@pytest.fixture(scope="module")
def s3(s3_server: LocalS3) -> LocalS3:
    s3_server.create_bucket("exports")
    return s3_server


FORMULAS = [
    '=HYPERLINK("http://x","a")',
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "  =1",
    "\uff1d1+1",
    "'=1",
    "''=1",
    "a fox\n=1+1",
    "a fox;=1+1;b",
    "a fox\t-x",
]
HARMLESS = ["a = b", "'tis the season", "-5", "+1.5", "a-b, -c", "", "'"]


@pytest.mark.parametrize("text", [*FORMULAS, *HARMLESS])
def test_a_spreadsheet_gets_no_formula_and_gives_the_text_back(text: str) -> None:
    file = io.BytesIO()
    with open_writer(Format.CSV, [("a", Kind.TEXT), ("b", Kind.TEXT)], file) as writer:
        writer.write([["first", text]])
    (row,) = csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))
    assert from_spreadsheet(row["b"]) == text
    assert (row["b"] == text) == (text in HARMLESS)
    # However a line is cut into cells: none begins as a formula does, and none is a formula behind blanks.
    for cell in re.split("[;\t\r\n]", row["b"]):
        assert not re.match(r"\s*[=+\-@\uff1d]", cell) or text in HARMLESS, cell


@given(st.text(alphabet="=+-@';\t\r\n a1\uff1d", max_size=12))
def test_any_text_comes_back(text: str) -> None:
    assert from_spreadsheet(to_spreadsheet(text)) == text


def test_prompts_that_are_read_from_an_export_are_what_was_asked_for(harness: Any, tmp_path: Path) -> None:
    harness.start("run")
    (item,) = harness.plan(1, prefix="=1+1;-a fox")
    harness.finish(harness.buy(item))
    safe, raw = tmp_path / "safe.csv", tmp_path / "raw.csv"
    export_catalog(harness.ledger, str(safe))
    export_catalog(harness.ledger, str(raw), spreadsheet_safe=False)
    assert '"=1+1;-a fox' in raw.read_text()
    assert "\"'=1+1;'-a fox" in safe.read_text()
    for path in (safe, raw):
        (prompt,) = PromptSpec(path, prompt_column="prompt").prompts()
        assert prompt.text == harness.ledger.catalog.rows()[0]["prompt"]


def test_no_signature_is_in_catalog_or_export(harness: Any, tmp_path: Path) -> None:
    harness.start("run")
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    urls = [
        "https://cdn.test/a.png?X-Amz-Signature=s3cret&x=a?b",
        "https://cdn.test/b.png",
        "https://cdn.test/c?",
        None,
    ]
    pictures = [NewImage(place, url, None, None) for place, url in enumerate(urls)]
    harness.ledger.calls.settle(call_id, Answered(pictures, 104_000, "reply"))
    assert [task.source_url for task in harness.ledger.images.to_deliver([item], destination=None)] == urls
    shown = [row["source_url"] for row in harness.ledger.catalog.rows()]
    assert shown == ["https://cdn.test/a.png", "https://cdn.test/b.png", "https://cdn.test/c", None]
    for ending in ("csv", "jsonl"):
        export_catalog(harness.ledger, str(tmp_path / f"images.{ending}"))
        assert "s3cret" not in (tmp_path / f"images.{ending}").read_text()


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_an_export_is_for_its_owner_alone(filled: Any, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for ending in ("csv", "jsonl", "parquet"):
            export_catalog(filled.ledger, str(tmp_path / "new" / f"images.{ending}"))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
