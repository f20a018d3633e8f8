"""From a spec to prompts: columns, templates, variants, limit, sample, and every bad input."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import pickle
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.prompts import (
    Prompt,
    PromptFileError,
    PromptOptionError,
    PromptSpec,
    TemplateError,
    VariantError,
)

PARTI = Path(__file__).parents[2] / "data" / "PartiPrompts.tsv"


def file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def texts(source: Any, **options: Any) -> list[str]:
    return [prompt.text for prompt in PromptSpec(source, **options).prompts()]


# Sources and columns --------------------------------------------------------------------------------------------------


def test_a_prompt_knows_where_it_came_from(tmp_path: Path) -> None:
    path = file(tmp_path, "p.csv", 'id,Prompt\n1,a {red|blue} {cat|dog}\n\n2,"two\nlines"\n3, x \n')
    prompts = list(PromptSpec(path).prompts())
    assert prompts[1] == Prompt(
        "a red dog", str(path), 2, {"id": "1", "Prompt": "a {red|blue} {cat|dog}"}, ("red", "dog")
    )
    assert [(prompt.text, prompt.line, prompt.choices) for prompt in prompts[4:]] == [
        ("two\nlines", 4, ()),
        ("x", 6, ()),
    ]
    assert pickle.loads(pickle.dumps(prompts)) == prompts
    assert len(set(prompts)) == 6


@pytest.mark.slow
def test_parti_prompts() -> None:
    spec = PromptSpec(str(PARTI))
    cells = [line.split("\t")[0].strip() for line in PARTI.read_text(encoding="utf-8").split("\n")[1:1633]]
    assert spec.count() == 1632
    assert [prompt.text for prompt in spec.prompts()] == cells
    styled = replace(spec, template="{{ Prompt }}, {photo|watercolour|3d render}")
    assert styled.count() == 3 * 1632
    assert len({prompt.text for prompt in styled.prompts()}) == 3 * len(set(cells))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [("id,prompt", 1), ("caption,id", 0), ("TEXT,id", 0), ("text,Prompt", 1), ("caption,text", 1)],
)
def test_the_prompt_column_is_found_by_name(tmp_path: Path, header: str, chosen: int) -> None:
    assert texts(file(tmp_path, "p.csv", f"{header}\nleft,right\n")) == [("left", "right")[chosen]]


def test_the_prompt_column_may_be_the_only_one_or_given(tmp_path: Path) -> None:
    assert texts(file(tmp_path, "p.csv", "whatever\na cat\n")) == ["a cat"]
    two = file(tmp_path, "q.csv", "prompt,alt\na cat\n,a dog\nb,c\n")
    template = "{{ prompt|d('', true) }}{{ row.prompt|d('', true) }}!"
    assert texts(two, prompt_column="alt", template=template) == ["a cat!", "a dog!", "cb!"]


@pytest.mark.parametrize(
    ("name", "content", "options", "line", "says"),
    [
        ("p.csv", "a,b\nx,y\n", {}, None, "which column has the prompts.*'a', 'b'"),
        ("p.csv", "prompt,PROMPT\nx,y\n", {}, None, "which column"),
        ("p.csv", "a,b\nx,y\n", {"prompt_column": "c"}, None, "no column 'c'. The columns are 'a', 'b'"),
        ("p.csv", "title,b\nx,y\n", {"prompt_column": "titel"}, None, "no column 'titel'; did you mean 'title'"),
        ("p.csv", "title,b\nx,y\n", {"prompt_column": "titel", "template": "x"}, None, "no column 'titel'"),
        ("p.jsonl", '{"a": "x", "b": "y"}\n', {}, 1, "which column"),
        ("p.jsonl", '{"prompt": "x"}\n{"promt": "y", "b": 1}\n', {}, 2, "which column"),
        ("p.jsonl", '{"c": "x"}\n{"d": "y"}\n', {"prompt_column": "c"}, 2, "no column 'c'"),
        ("p.jsonl", '{"prompt": 5}\n', {}, 1, "column 'prompt' has to be text to be the prompt, not 5"),
        ("p.jsonl", '{"prompt": null}\n', {}, 1, "has to be text"),
        ("p.jsonl", '{"prompt": "a \\u0000 b"}\n', {}, 1, r"U\+0000"),
        ("p.jsonl", '{"prompt": "a \\ud800 b"}\n', {}, 1, r"U\+D800"),
        ("p.jsonl", "{}\n", {}, 1, "which column"),
        ("p.csv", "prompt,b\nx,y\n,y\n", {}, 3, "the prompt is empty"),
        ("p.txt", "a\n{ |b}\n", {}, 2, "'{ |b}' comes out empty"),
        ("p.csv", "a,b\nx,y\n,z\n", {"template": "{% if a %}{{ a }}{% endif %}"}, 3, "the prompt is empty"),
        ("p.csv", "prompt\n", {}, None, "there is no prompt in it"),
    ],
)
def test_bad_columns_and_rows(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], line: int | None, says: str
) -> None:
    path = file(tmp_path, name, content)
    with pytest.raises(PromptFileError, match=says) as caught:
        texts(path, **options)
    assert isinstance(caught.value, BadInput)
    assert (caught.value.source, caught.value.line) == (str(path), line)


def test_what_needs_no_row_is_checked_by_the_call(tmp_path: Path) -> None:
    path = file(tmp_path, "p.csv", "a,b\nx,y\n")
    with pytest.raises(PromptFileError, match="no such file"):
        PromptSpec(tmp_path / "missing.txt").prompts()
    with pytest.raises(PromptFileError, match="which column"):
        PromptSpec(path).prompts()
    with pytest.raises(TemplateError, match="no column 'c'"):
        PromptSpec(path, template="{% if a %}{{ c }}{% endif %}").prompts()


def test_a_list_is_counted_from_one_and_never_taken_for_a_path() -> None:
    prompts = list(PromptSpec(["a cat", " a {red|blue} dog "]).prompts())
    assert [(prompt.source, prompt.line, prompt.text) for prompt in prompts] == [
        ("<list>", 1, "a cat"),
        ("<list>", 2, "a red dog"),
        ("<list>", 2, "a blue dog"),
    ]
    with pytest.raises(PromptFileError, match="<list>, line 2: the prompt is empty"):
        texts(["a cat", " "])


# Variants and templates -----------------------------------------------------------------------------------------------


def test_variants_can_be_switched_off() -> None:
    assert texts([r"{a|b} \{ }"], variants=False) == [r"{a|b} \{ }"]
    assert texts(["x{y"], template="{z|} {{ prompt }}", variants=False) == ["{z|} x{y"]


def test_white_space_is_stripped_around_and_kept_within() -> None:
    assert texts(["{|very } old   cat{| }"]) == ["old   cat", "old   cat", "very  old   cat", "very  old   cat"]


def test_a_bad_variant_names_file_line_and_place(tmp_path: Path) -> None:
    path = file(tmp_path, "p.txt", "ok\n\na {red|blue cat\n")
    with pytest.raises(VariantError) as caught:
        texts(path)
    assert (caught.value.source, caught.value.line, caught.value.rendered) == (str(path), 3, False)
    assert str(caught.value).startswith(f"{path}, line 3: unclosed '{{'")
    assert str(caught.value).endswith("\n  a {red|blue cat\n    ^")
    with pytest.raises(VariantError, match="of the rendered prompt"):
        texts(["a"], template="{x|{{ prompt }}")


def test_a_template_needs_no_prompt_column(tmp_path: Path) -> None:
    path = file(tmp_path, "p.csv", "animal,colour\ncat,{red}\ndog,blue\n")
    prompts = list(PromptSpec(path, template="{{ colour|upper }} {{ animal }} {a|b}").prompts())
    assert [prompt.text for prompt in prompts] == ["{RED} cat a", "{RED} cat b", "BLUE dog a", "BLUE dog b"]
    assert prompts[3].choices == ("b",)
    assert prompts[3].row == {"animal": "dog", "colour": "blue"}


def test_a_template_over_json_lines_sees_types_and_names_the_row(tmp_path: Path) -> None:
    path = file(tmp_path, "p.jsonl", '{"n": 2, "tags": ["a", "b"]}\n\n{"n": 3}\n')
    assert texts(path, template="{{ n + 1 }}{% if tags is defined %} {{ tags|join('-') }}{% endif %}") == ["3 a-b", "4"]
    assert texts(path, template="{{ row.n }} {{ prompt|default('-') }}") == ["2 -", "3 -"]
    with pytest.raises(TemplateError, match=r"no column 'tags'\. The columns are 'n'") as caught:
        texts(path, template="{{ tags|join }}")
    assert (caught.value.source, caught.value.line) == (str(path), 3)


# Limit and sample -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fifty(tmp_path: Path) -> PromptSpec:
    """Ten rows of five prompts each."""
    return PromptSpec(file(tmp_path, "p.txt", "".join(f"row {n} {{a|b|c|d|e}}\n" for n in range(10))))


def test_limit_takes_the_first_prompts_and_reads_no_further(tmp_path: Path, fifty: PromptSpec) -> None:
    every = list(fifty.prompts())
    assert len(every) == fifty.count() == fifty.total() == 50
    assert list(replace(fifty, limit=7).prompts()) == every[:7]
    assert replace(fifty, limit=7).count() == 7
    assert replace(fifty, limit=51).count() == len(list(replace(fifty, limit=51).prompts())) == 50
    broken = PromptSpec(file(tmp_path, "b.txt", "{a|b|c}\n{unclosed\n"), limit=3)
    assert broken.count() == len(list(broken.prompts())) == 3
    with pytest.raises(VariantError):
        broken.total()


def test_a_sample_is_reproducible_ordered_and_without_repetition(fifty: PromptSpec) -> None:
    every = list(fifty.prompts())
    spec = replace(fifty, sample=12)
    sample = list(spec.prompts())
    assert spec.count() == len(sample) == 12
    assert list(spec.prompts()) == sample
    places = [every.index(prompt) for prompt in sample]
    assert places == sorted(set(places))
    assert list(replace(spec, sample_seed=1).prompts()) != sample
    assert list(replace(spec, limit=5).prompts()) == sample[:5]
    assert replace(spec, limit=5).count() == 5
    assert replace(spec, limit=99).count() == 12
    assert list(replace(fifty, sample=50).prompts()) == list(replace(fifty, sample=999).prompts()) == every
    assert replace(fifty, sample=999).count() == 50


@pytest.mark.slow
def test_a_sample_reaches_every_prompt_alike(fifty: PromptSpec) -> None:
    seen = Counter(
        prompt.text for seed in range(200) for prompt in replace(fifty, sample=5, sample_seed=seed).prompts()
    )
    assert len(seen) == 50
    # 1,000 draws, 20 expected each; 49 degrees of freedom, above 85.4 once in a thousand; seeds are fixed.
    assert sum((count - 20) ** 2 / 20 for count in seen.values()) < 85.4


def test_a_space_that_nobody_can_enumerate_is_counted_and_sampled_at_once() -> None:
    spec = PromptSpec(["a cat", "{0|1|2|3|4|5|6|7|8|9}" * 12], sample=100)
    started = time.thread_time()
    assert spec.total() == 10**12 + 1
    assert spec.count() == 100
    assert len({prompt.text for prompt in spec.prompts()}) == 100
    assert [prompt.text for prompt in islice(replace(spec, sample=None).prompts(), 3)] == [
        "a cat",
        "0" * 12,
        "0" * 11 + "1",
    ]
    assert time.thread_time() - started < 1


def test_a_file_that_shrinks_between_the_readings_is_noticed(tmp_path: Path) -> None:
    # Long rows: the second reading must not have the whole file in its buffer when it is cut.
    path = file(tmp_path, "p.txt", "".join(f"{n} {'x' * 100_000}\n" for n in range(20)))
    prompts = PromptSpec(path, sample=19).prompts()
    assert next(prompts).line in (1, 2)
    os.truncate(path, 300_000)
    with pytest.raises(PromptFileError, match="the file changed while it was being read"):
        list(prompts)


@pytest.mark.parametrize(("option", "value"), [("limit", 0), ("limit", -1), ("sample", 0)])
def test_numbers_below_one_are_refused(option: str, value: int) -> None:
    with pytest.raises(PromptOptionError, match=f"{option}={value}: the number of prompts") as caught:
        PromptSpec(["a"], **{option: value})  # type: ignore[arg-type]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_spec_is_a_value() -> None:
    spec = PromptSpec(["a", "b"], limit=1)
    assert spec == PromptSpec(("a", "b"), limit=1)
    assert hash(spec) == hash(pickle.loads(pickle.dumps(spec)))


@pytest.mark.parametrize(
    "name",
    [
        "combinations", "errors", "expand", "grammar", "jinja_env", "parquet", "quoting", "resolve", "rules", "s3",
        "sampling", "sources", "suggestions", "template", "tree", "variants", "wildcards",
    ],
)  # fmt: skip
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(f"prefect_imagen.core.prompts.{name}")
    assert doctest.testmod(module).failed == 0


# Wildcards, exclusions, caps ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_adding_a_style_adds_exactly_the_new_prompts() -> None:
    spec = PromptSpec(PARTI, template="{{ Prompt }}, {photo|watercolour|3d render}")
    before = Counter(prompt.text for prompt in spec.prompts())
    more = replace(spec, template="{{ Prompt }}, {photo|watercolour|ink|3d render}")
    after = Counter(prompt.text for prompt in more.prompts())
    assert (spec.count(), more.count()) == (3 * 1632, 4 * 1632)
    assert not before - after
    added = after - before
    assert added.total() == 1632
    assert all(text.endswith(", ink") for text in added)


def test_wildcards_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    file(tmp_path / "w", "colour.txt", "red\n{dark|light} blue\n")
    spec = PromptSpec(["a __colour__ hat", "plain"], wildcards=tmp_path / "w")
    assert [prompt.text for prompt in spec.prompts()] == ["a red hat", "a dark blue hat", "a light blue hat", "plain"]
    assert next(spec.prompts()).choices == ("red",)
    file(tmp_path / "w", "bad.txt", "ok\n{x\n")
    with pytest.raises(VariantError) as caught:
        list(replace(spec, source=["x", "__bad__"]).prompts())
    assert (caught.value.source, caught.value.line) == (str(tmp_path / "w" / "bad.txt"), 2)
    with pytest.raises(VariantError, match="<list>, line 2: there is no wildcard 'color'; did you mean 'colour'"):
        list(replace(spec, source=["x", "__color__"]).prompts())
    with pytest.raises(PromptOptionError, match="these are off"):
        replace(spec, variants=False)
    assert texts(["__colour__ ${x}"], variants=False) == ["__colour__ ${x}"]


def test_values_of_a_template_are_never_syntax(tmp_path: Path) -> None:
    values = ["__x__", "${y}", "3::a", "2$$b", "a, b)__", "!c", "$", "_", "=:", "@home", "~5"]
    path = file(tmp_path, "p.jsonl", "".join(json.dumps({"v": value}) + "\n" for value in values))
    folder = tmp_path / "w"
    folder.mkdir()
    file(folder, "w.txt", "[${v}]\n")
    found = texts(
        path, template="{x|{{ v }}}|{{ v }}n|__w(v={{ v }})__|${q=!{{ v }}}${q}|_{{ v }}_|\\{{ v }}", wildcards=folder
    )
    assert found == [text for v in values for text in (f"{one}|{v}n|[{v}]|{v}|_{v}_|\\{v}" for one in ("x", v))]


def test_per_row_depends_on_the_row_alone(tmp_path: Path) -> None:
    rows = [f"row {n} {{a|b|c|d|e}} {{x|9::y}}" for n in range(20)]
    spec = PromptSpec(rows, per_row=3)
    assert spec.count() == 60
    chosen = {text.split(" ")[1]: [] for text in rows}
    for prompt in spec.prompts():
        chosen[prompt.text.split(" ")[1]].append(prompt.text)
    assert {len(found) for found in chosen.values()} == {3}
    assert len({tuple(text[-3:] for text in found) for found in chosen.values()}) > 5
    other = replace(spec, source=["new {1|2|3|4}", *rows[::-1]])
    expected = [text for row in rows[::-1] for text in chosen[row.split(" ")[1]]]
    assert [prompt.text for prompt in other.prompts()][3:] == expected
    assert [prompt.text for prompt in replace(spec, sample_seed=1).prompts()] != [p.text for p in spec.prompts()]
    assert replace(spec, per_row=99).count() == 200
    sampled = replace(spec, sample=10)
    assert {prompt.text for prompt in sampled.prompts()} <= {prompt.text for prompt in spec.prompts()}


def test_weights_count_in_samples() -> None:
    spec = PromptSpec(["{9::cat|dog} {1|2}", "{bird|fish}"] * 100, sample=150)
    seen = Counter(prompt.text.split(" ")[0] for prompt in spec.prompts())
    assert seen.total() == spec.count() == 150
    assert seen["cat"] > 2 * seen["dog"] > 0
    assert [prompt.text for prompt in spec.prompts()] == [prompt.text for prompt in spec.prompts()]
    assert [prompt.line for prompt in spec.prompts()] == sorted(prompt.line for prompt in spec.prompts())


def test_a_cap_refuses_before_the_first_prompt() -> None:
    spec = PromptSpec(["{0|1|2|3|4|5|6|7|8|9}" * 12], max_prompts=1000)
    with pytest.raises(PromptOptionError, match="there are 1,000,000,000,000 prompts"):
        spec.prompts()
    assert spec.count() == 10**12
    assert len(list(replace(spec, sample=1000).prompts())) == 1000
    assert len(list(replace(spec, limit=1000).prompts())) == 1000
    with pytest.raises(PromptOptionError, match="per_row=0"):
        replace(spec, per_row=0)


def test_spread_shows_the_whole_space() -> None:
    spec = PromptSpec(["{0|1|2|3|4|5|6|7|8|9}" * 3, "{a|b}" * 2], limit=3)
    assert [prompt.text for prompt in spec.spread(4)] == ["000", "251", "502", "753"]
    assert [prompt.text for prompt in replace(spec, source=["x", "{a|b}"]).spread(10)] == ["x", "a", "b"]


@pytest.mark.slow
def test_a_million_combinations_pass_in_constant_memory() -> None:
    spec = PromptSpec(["{0|1|2|3|4|5|6|7|8|9}" * 6], exclude=["3 & 4"])
    tracemalloc.start()
    try:
        prompts = spec.prompts()
        for _ in islice(prompts, 20_000):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert spec.count() == 10**6 - (10**6 - 2 * 9**6 + 8**6)
    assert sum(1 for _ in PromptSpec(["{0|1|2|3|4|5|6|7|8|9}" * 5]).prompts()) == 10**5
