"""docs/prompts.md: every example does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.prompts import PromptError, PromptSpec

PAGE = Path(__file__).parents[3] / "docs" / "prompts.md"
BLOCKS = re.findall(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
EXAMPLES = [body for kind, _, body in BLOCKS if kind == "prompts"]
NUMBERS = {"sample", "sample_seed", "per_row", "limit", "max_prompts"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page shows, in the current folder."""
    for kind, name, body in BLOCKS:
        if kind == "file":
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcome(asked: str) -> str:
    options: dict[str, Any] = {"wildcards": "wildcards", "exclude": []}
    source: Any = None
    for line in asked.splitlines():
        key, _, value = line.partition(": ")
        if key == "prompt":
            source = [value]
        elif key == "source":
            source = value
        elif key == "exclude":
            options["exclude"].append(value)
        elif key == "wildcards":
            options["wildcards"] = None
        else:
            options[key] = int(value) if key in NUMBERS else value
    try:
        spec = PromptSpec(source, **options)
        prompts = [prompt.text for prompt in spec.prompts()]
    except PromptError as error:
        return f"error: {error}\n"
    assert spec.count() == len(prompts)
    return "".join(f"{prompt}\n" for prompt in prompts)


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.usefixtures("folder")
def test_example(example: str) -> None:
    asked, expected = example.split("→\n")
    found = outcome(asked)
    if expected.startswith("count: "):
        found = f"count: {found.count(chr(10)):,}\n"
    assert found == expected


def test_the_page_has_examples_of_everything() -> None:
    assert len(EXAMPLES) > 30
    assert {kind for kind, _, _ in BLOCKS} == {"prompts", "file", "python", "sh", "sql"}


def test_python() -> None:
    code = next(body for kind, _, body in BLOCKS if kind == "python")
    exec(compile(code, str(PAGE), "exec"), {})
