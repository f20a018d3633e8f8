# ruff: noqa: SIM905 - a list literal would hide the pieces among quotes
"""What strangers write: prompts, templates, tables, wildcards and plans are read, or refused with an error of ours.

Every input is made of pieces that mean something, in any order, so that most of them get past the first check.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.plan import BatchSpec, PlanFile, PlanWriter, open_plan
from prefect_imagen.core.prompts import (
    PromptError,
    PromptFormat,
    PromptSpec,
    PromptTemplate,
    Resolver,
    Row,
    TemplateError,
    VariantError,
    Wildcards,
    open_source,
    open_wildcards,
    parse,
)

from .conftest import Tries

SECONDS = 10
"""Processor time that an input may take."""

GRAMMAR = [
    *r"""{ | } {2$$ {1-2$$ {2!$$ {0-1$$ $$ $ ${ ${v ${v= ${v=! ${v?= ${v: = ! : , ( ) __ __w__ __w* __* ** __n(v= )__
    :: 3:: 0.5:: \ \{ \| % @ ~ # // - 1 999999 a b é 猫 __a""".split(),
    " ", "\n", "\u200b", "a" * 50, "*" * 20, "{" * 20, "9" * 50,
]  # fmt: skip

TEMPLATE = [
    *"""{{ }} {% %} {{v}} {{row}} {{prompt}} {%endfor%} {%else%} {%endif%} {%endset%} {%endmacro%} {{m(v)}} {{v*9999}}
    {{v~v}} {{ns.a==ns.a}} {{ns.a|sort}} {{ns.a|sum(start=[])}} {{ns.a|length}} {{v|slug}} {{9**99**9}}
    {{v|replace('a','aa')}}
    {{v.__class__}} {{'%999s'|format(v)}} {{v|variants}} {{range(10**9)}} {#a|b#} {a|b} {%raw%} {%endraw%} <#-- --#>
    {{v[1:]}} {{v|map('upper')|list}} {{row.items()|list|unique|list}} {{dict(a=v)}} {{caller()}} {{loop.index}}
    {{v|d('')}} x __w__ {{deep|sum(start=n)}} {{deep*50}}""".split(),
    "{%for i in range(99)%}", "{%for i in v%}", "{%if v%}", "{%set ns=namespace(a=[v])%}", "{%set ns.a=[ns.a,ns.a]%}",
    "{%set ns.a=ns.a+ns.a%}", "{%set x%}", "{%macro m(x)%}", "{{v in ns.a}}", " ", "\n",
]  # fmt: skip

TABLE = [
    *r"""" "" "a" ' , ,, ; | a prompt text caption id é { } {a|b} {a} __w__ {"prompt":"a"} {"prompt":1} {"prompt":null}
    {"a":{"b":[1,2]}} [1] NaN 1e999 -1 #N/A sep=, <html> =1+1 0xFF \ // # version""".split(),
    "\t", "\n", "\n", "\r", "\r\n", "\n\n", "\ufeff", "\0", "\x1a", "\x1b", "\u200b", "\udcff", " ", ",", ",",
    "a" * 200, ",prompt" * 20,
]  # fmt: skip

YAML = [
    *r"""a: a/b: - [ ] { } , & &x *x *y << <<: ! !!python/object:os.system !!binary | > >- |+ # --- ... ? : 'a' "b"
    3::red __a__ {p|q} ${v} null 1990 no ~ @ %""".split(),
    "\t", " ", "  ", "\n", "\n\n", "\n  ", "\n- ", "\n  - ", "a: [b]\n", "&x [c, *x]", "[" * 30, "\u200b",
]  # fmt: skip


def written(pieces: list[str], chance: Random, most: int = 30) -> str:
    return "".join(chance.choice(pieces) for _ in range(chance.randint(1, most)))


def check_said(error: BadInput, seed: int) -> None:
    assert 0 < len(str(error)) < 5000, seed


def check_place(error: VariantError, seed: int) -> None:
    assert 0 <= error.position < max(len(error.text), 1), seed


@pytest.fixture
def within() -> Iterator[Callable[[int], None]]:
    """Whether the input before took no more time than one may."""
    last = time.process_time()

    def check(seed: int) -> None:
        nonlocal last
        now = time.process_time()
        assert now - last < SECONDS, f"seed {seed} took {now - last:.1f} s"
        last = now

    return check


def test_the_grammar(tries: Tries, within: Callable[[int], None]) -> None:
    names = Wildcards({"w": ["x", "{y|z}", "__ww__"], "ww": ["1", "2::2"], "n": ["${v:d}"], "a b": ["c"]})
    read = 0
    for seed, chance in tries(3000):
        text = written(GRAMMAR, chance)
        try:
            variants = parse(text, Resolver(names))
        except VariantError as error:
            check_said(error, seed)
            check_place(error, seed)
        else:
            read += 1
            count = variants.count()
            assert len(list(islice(variants.expand(), 50))) == min(count, 50), seed
            assert variants.pick(count - 1).text is not None, seed
            if variants.can_be_blank():
                continue
            assert next(variants.expand()).text.strip(), seed
        within(seed)
    assert read


def test_templates(tries: Tries, within: Callable[[int], None]) -> None:
    rendered = 0
    for seed, chance in tries(1000):
        row = Row(2, {"v": written(GRAMMAR, chance), "n": chance.random(), "deep": [[chance.randint(0, 9)] * 3]})
        try:
            found = PromptTemplate(written(TEMPLATE, chance, 15)).render(row, "p", "p.csv")
            list(islice(found.variants().expand(), 10))
        except (TemplateError, VariantError) as error:
            check_said(error, seed)
        else:
            rendered += 1
            assert len(found.plain()) <= 20_000, seed
        within(seed)
    assert rendered


@pytest.mark.parametrize("format", ["txt", "csv", "tsv", "tsv-quoted", "jsonl", "parquet"])
def test_files(format: PromptFormat, tries: Tries, within: Callable[[int], None], tmp_path: Path) -> None:
    path = tmp_path / "p"
    for seed, chance in tries(400 if format != "parquet" else 20):
        data = written(TABLE, chance, 60).encode("utf-8", "surrogateescape")
        path.write_bytes(b"PAR1" + data + b"PAR1" if format == "parquet" else data)
        try:
            source = open_source(path, format)
            columns = source.columns()
            for row in source.rows():
                assert columns is None or set(row.values) == set(columns), seed
        except PromptError as error:
            check_said(error, seed)
        within(seed)


def test_whole_specs(tries: Tries, within: Callable[[int], None], tmp_path: Path) -> None:
    """Through the process in which they are expanded, so that nothing of it comes back as anything but a prompt or an
    error of ours."""
    path = tmp_path / "p.csv"
    for seed, chance in tries(150):
        path.write_text(
            "prompt,v\n" + "".join(f"{written(GRAMMAR, chance, 6)},x\n" for _ in range(4)), encoding="utf-8"
        )
        template = written(TEMPLATE, chance, 5) if chance.random() < 0.5 else None
        rules = [written(["a", "v=", "x", "&", "!", '"', "*", " "], chance, 6)] if chance.random() < 0.3 else []
        try:
            spec = PromptSpec(path, template=template, exclude=rules, per_row=chance.choice([None, 2]))
            total = spec.count()
            prompts = list(islice(spec.prompts(), 50))
            assert len(prompts) == min(total, 50), seed
            assert all(prompt.text.strip() for prompt in prompts), seed
        except PromptError as error:
            check_said(error, seed)
        within(seed)


def test_wildcards(tries: Tries, within: Callable[[int], None], tmp_path: Path) -> None:
    for seed, chance in tries(500):
        for name in ("w.yaml", "w.json", "w.txt"):
            (tmp_path / name).write_text(written(YAML, chance), encoding="utf-8")
        try:
            found = open_wildcards(tmp_path)
            for name in found.names[:20]:
                for _, value in islice(found.values([name]), 20):
                    value.read()
        except PromptError as error:
            check_said(error, seed)
        within(seed)


def test_plan_files(tries: Tries, within: Callable[[int], None], tmp_path: Path) -> None:
    """A plan that was damaged anywhere is refused, or says what it said."""
    path, damaged = tmp_path / "plan.jsonl", tmp_path / "damaged.jsonl"
    spec = BatchSpec(PromptSpec(["a {red|blue} fox", "an owl"]), matrix={"aspect_ratio": ["1:1", "16:9"]})
    with PlanWriter(path, spec) as writer:
        rows = list(spec.run_items())
        for row in rows:
            writer.add(row)
        writer.finish(items=len(rows))
    whole = path.read_bytes()
    bought = {row.item.id for row in rows}
    refused = 0
    for seed, chance in tries(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            piece = (
                json.dumps(written(TABLE, chance, 2)).encode()
                if chance.random() < 0.5
                else bytes([chance.randrange(256)])
            )
            data[at : at + chance.choice([0, 1, 1, 20])] = piece
        damaged.write_bytes(bytes(data))
        try:
            plan = open_plan(damaged)
            if isinstance(plan, PlanFile):
                assert {row.item.id for row in plan.run_items()} <= bought, seed
        except BadInput as error:
            refused += 1
            check_said(error, seed)
        within(seed)
    assert refused
