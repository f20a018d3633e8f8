"""How often the source of a run is read: once to check it, once to write its items down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.plan import BatchSpec
from prefect_imagen.core.prompts import PromptOptionError, PromptSpec

_opened: list[str] = []
sys.addaudithook(lambda event, arguments: _opened.append(str(arguments[0])) if event == "open" else None)


def readings(path: Path) -> int:
    return _opened.count(str(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    source = tmp_path / "foxes.csv"
    source.write_text("prompt,place\na {red|blue|grey} fox,snow\nan {old|young} owl,wood\n")
    return source


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, 5),
        ({"sample": 3}, 3),
        ({"limit": 2}, 2),
        ({"limit": 2, "exclude": ["red"]}, 2),
        ({"exclude": ["red"]}, 4),
        ({"max_prompts": 9}, 5),
        ({"max_prompts": 9, "exclude": ["red"], "sample": 3}, 3),
        ({"per_row": 1}, 2),
        ({"template": "{{ prompt }} in the {{ place }}, {day|night}"}, 4),
    ],
)
def test_a_source_is_read_twice_at_most(path: Path, options: dict[str, Any], rows: int) -> None:
    spec = BatchSpec(PromptSpec(path, **options))
    before = readings(path)
    assert spec.check() == rows
    items = [item.item.id for item in spec.run_items()]
    # The header of a table is read by itself, each time.
    assert 1 <= readings(path) - before <= 4
    assert items == [item.item.id for item in BatchSpec(PromptSpec(path, **options)).run_items()]


def test_what_is_wrong_with_all_of_them_is_said_by_the_check(path: Path) -> None:
    for options, problem in (({"exclude": ["pink"]}, "no alternative is 'pink'"), ({"max_prompts": 4}, "there are 5")):
        with pytest.raises(PromptOptionError, match=problem):
            BatchSpec(PromptSpec(path, **options)).check()
    path.write_text("prompt\n" + "{0|1|2|3|4|5|6|7|8|9}" * 12 + "\n")
    for options in ({}, {"limit": 10**9}, {"sample": 10**9}):
        with pytest.raises(BadInput, match="rows are asked for; a run takes at most"):
            BatchSpec(PromptSpec(path, **options)).check()
