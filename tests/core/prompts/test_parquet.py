"""Parquet: types, what is left out, damage, and what happens without pyarrow."""

from __future__ import annotations

import datetime
import decimal
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.prompts import PromptFileError, PromptSpec, open_source
from prefect_imagen.core.storage import S3Options
from prefect_imagen.sandbox.local_s3 import LocalS3


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "p.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(PromptFileError, match=r"pip install 'prefect-imagen\[parquet\]'"):
        PromptSpec(path).count()


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Writes columns to a Parquet file."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def write(columns: dict[str, list[Any]], **options: Any) -> Path:
        path = tmp_path / "p.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return path

    return write


def test_types_are_kept(table: Any) -> None:
    path = table(
        {
            "prompt": ["a {red|blue} cat", None],
            "n": [3, 4],
            "ratio": [2.5, None],
            "wide": [True, False],
            "tags": [["a", "b"], []],
            "meta": [{"lens": "50mm", "on": datetime.date(2026, 1, 2)}, {"lens": "35mm", "on": None}],
            "price": [decimal.Decimal("4.50"), decimal.Decimal("1.00")],
            "at": [datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), None],
            "thumbnail": [b"\0", b"\1"],
            "__index_level_0__": [0, 1],
        }
    )
    source = open_source(path)
    assert source.columns() == ("prompt", "n", "ratio", "wide", "tags", "meta", "price", "at")
    first, second = source.rows()
    assert (first.line, first.values) == (
        1,
        {
            "prompt": "a {red|blue} cat", "n": 3, "ratio": 2.5, "wide": True, "tags": ["a", "b"],
            "meta": {"lens": "50mm", "on": "2026-01-02"}, "price": "4.50", "at": "2026-01-02T03:04:05+00:00",
        },
    )  # fmt: skip
    assert (second.line, second.values["ratio"], second.values["wide"]) == (2, None, False)
    template = "{{ n + 1 }}{% if wide %} {{ tags|join('-') }} {{ meta.on }} {{ price|float * 2 }} {a|b}{% endif %}"
    texts = [prompt.text for prompt in PromptSpec(path, template=template).prompts()]
    assert texts == ["4 a-b 2026-01-02 9.0 a", "4 a-b 2026-01-02 9.0 b", "5"]
    with pytest.raises(PromptFileError, match="line 2: column 'prompt' has to be text"):
        PromptSpec(path).count()


def test_many_row_groups_are_read_in_order_and_again(table: Any) -> None:
    path = table({"prompt": [f"p{n}" for n in range(5000)]}, row_group_size=700)
    source = open_source(path)
    for _ in range(2):
        assert [row.values["prompt"] for row in source.rows()] == [f"p{n}" for n in range(5000)]
    rows = source.rows()
    assert next(rows).line == 1
    del rows
    assert PromptSpec(path, sample=3).count() == 3


@pytest.mark.parametrize("damage", ["text", "cut", "middle"])
def test_damage(table: Any, damage: str) -> None:
    path = table({"prompt": [f"prompt {n}" for n in range(3000)]})
    data = path.read_bytes()
    middle = data[:50] + b"\xff" * 9000 + data[9050:]
    path.write_bytes({"text": b"prompt\na cat\n", "cut": data[:-20], "middle": middle}[damage])
    with pytest.raises(PromptFileError, match="cannot be read as Parquet"):
        list(open_source(path).rows())


def test_no_usable_column(table: Any) -> None:
    with pytest.raises(PromptFileError, match="no column that a template could use"):
        PromptSpec(table({"image": [b"x"]}), template="x").count()


def test_from_s3(table: Any, prompts_s3: LocalS3, s3_options: S3Options) -> None:
    columns = {"prompt": [f"a {{red|blue}} cat {n}" for n in range(3000)], "n": list(range(3000))}
    path = table(columns, row_group_size=500)
    prompts_s3.client().put_object(Bucket="prompts", Key="rows.parquet", Body=path.read_bytes())
    spec = PromptSpec("s3://prompts/rows.parquet", prompt_column="prompt", s3=s3_options)
    assert spec.count() == 6000
    assert next(spec.prompts()).row == {"prompt": "a {red|blue} cat 0", "n": 0}


def test_bytes_are_no_prompt_and_no_other_column_takes_their_place(table: Any) -> None:
    path = table({"prompt": [b"a jug"], "style": ["ink"]})
    with pytest.raises(PromptFileError, match="the column 'prompt' is binary"):
        PromptSpec(path).count()
    assert [one.text for one in PromptSpec(path, prompt_column="style").prompts()] == ["ink"]
    with pytest.raises(PromptFileError, match="the column 'prompt' is binary"):
        PromptSpec(path, prompt_column="prompt").count()
    path = table({"text": ["a jug"], "image": [{"bytes": b"\0" * 99, "path": "a.png"}], "parts": [[b"x", b"y"]]})
    assert next(PromptSpec(path).prompts()).row == {"text": "a jug", "image": {"path": "a.png"}, "parts": []}


def test_times_that_python_does_not_know_are_text(table: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    nanoseconds = pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns"))
    path = table(
        {
            "prompt": ["a jug", "a vase"],
            "made": nanoseconds,
            "took": pa.array([1_234_567_891, 2], pa.time64("ns")),
            "on": pa.array([4_000_000, 0], pa.int32()).cast(pa.date32()),
            "there": pa.array([1, 0], pa.timestamp("us", "Moon/Sea")),
        }
    )
    first, second = (one.row for one in PromptSpec(path).prompts())
    assert (first["made"], second["made"]) == ("2023-11-14T22:13:20.123456789", None)
    assert first["took"] == "00:00:01.234567891"
    assert first["on"] == "12921-08-18"
    assert first["there"] == "1970-01-01T00:00:00.000001+00:00"


def test_a_row_has_a_limit(table: Any) -> None:
    path = table({"prompt": ["a jug", "a" * 5_000_000, "a vase"]})
    with pytest.raises(PromptFileError, match=r"line 2: the row has more than 4,000,000 bytes"):
        PromptSpec(path).count()


@pytest.mark.parametrize("megabytes", [1, 5, 100])
def test_a_small_file_that_stands_for_gigabytes(table: Any, megabytes: int) -> None:
    pa = pytest.importorskip("pyarrow")
    once = pa.array(["a" * (megabytes << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), once)
    path = table({"prompt": column}, compression="zstd", store_schema=False)
    assert path.stat().st_size < 5000
    with pytest.raises(PromptFileError, match=r"this is no list of prompts|MB of memory"):
        PromptSpec(path).count()
