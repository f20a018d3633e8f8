"""Beside Dynamic Prompts, whose syntax this is: the same prompts, or a difference that docs/prompts.md names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect_imagen.core.prompts import PromptError, PromptSpec

PAGE = (Path(__file__).parents[3] / "docs" / "prompts.md").read_text(encoding="utf-8")
MOST = 500
FILES = {
    "metal.txt": "copper\nzinc\nlead\n",
    "fabric.txt": "# woven\nvelvet\n\ntweed\n",
    "twice.txt": "reed\nmoss\nmoss\n",
    "mixed.txt": "{dark|pale} rose\namber\n",
    "leads.txt": "__metal__ wire\nold __fabric__\n",
    "given.txt": "At ${h:noon}, a ${h:noon} sky\n",
    "bay/tide.txt": "ebb\n",
    "bay/tide-late.txt": "flood\n",
    "far/off/shore.txt": "reef\n",
    "stone wall.txt": "slate\nflint\n",
    "weighty.txt": "4::iron\nnickel\n",
    "birds.yaml": "wild:\n  sea: [gull, tern]\n  land:\n    - wren\n    - 2::jay\n"
    "alone: just one owl\nyears: [1990, no]\n",
    "deep.json": '{"cave": {"wet": ["newt"], "dry": ["bat"]}}',
    "needs.txt": "a bowl of ${what}\n",
}

SAME = r"""
a {copper|zinc} bowl|{one|two|three} bowls|{a|{b|c}} d|x {y|z}|{ a | b }|{a|b}{c|d}|{a|b} {a|b}|{a|a}
{0.5::a|0.5::b}|{4::a|b|c}|{2.5::a b|c}|{ 2::a | 3::b }
__metal__ cup|a __fabric__ and __metal__ cup|__twice__|__mixed__ cup|__leads__|__bay/tide__|__bay/*__|__bay/tide*__
__wild/sea__|__wild/land__|__wild/*__|__cave/wet__|__cave/*__|({__metal__}:1.3)|<lora:__fabric__:0.7>|{__metal__|x}
__stone wall__|${m=zinc}a ${m} cup|${m={zinc|lead}}a ${m} cup|${m=__metal__}a ${m} cup|a ${m:lead} cup
${m=zinc}a ${m:lead} cup|${ m = zinc }a ${ m } cup|${my-m=zinc}a ${my-m} cup
__given__|__given(h=dusk)__|${h=dawn}__given__|__needs(what=tea)__|__needs(what={tea|salt})__
{a:1.2|b:0.5}|(a:1.2), [b], ((c)), {d|e}|BREAK {a|b} AND c|{a|b} --ar 16:9|{it's|"quoted"}|{日本|中国} 猫|a|b
"""

DIFFERENT = {
    r"{2$$a|b|c}": "in the order written",
    r"{1-2$$ and $$a|b}": "in the order written",
    r"{2$$ | $$a|b}": "in the order written",
    r"{4$$a|b|c}": "only the upper end",
    r"{a}": "braces around a single text",
    r'{"a": "b"}': "braces around a single text",
    r"{@a|b}": "samplers",
    r"{!a|b}": "samplers",
    r"{~a|b}": "samplers",
    r"__@metal__": "samplers",
    r"__!metal__": "samplers",
    r"%{a ..., in felt$$cup}": "wrapped",
    r"${x=tal}__me${x}__": "a wildcard's name is fixed",
    r"__{metal|fabric}__": "a wildcard's name is fixed",
    r"${m=zinc}${m?=lead}a ${m} cup": "a value that is set remains",
    r"${m=!{zinc|lead}}a ${m} cup": "decided once",
    r"__weighty__ cup": "a weight in a TXT file",
    r"__alone__": "a single text in YAML",
    r"__years__": "text as written",
    r"__missing__": "an error with the nearest names",
    r"__far/*__": "within a level",
    r"red # note": "plain text",
    r"{0::a|b}": "above 0",
    r"{a|}": "a prompt that comes out empty",
    r"50% off {a|b}": "plain text",
    r"$5 {a|b}": "plain text",
    r"{a\|b|c}": "backslash",
    r"{a|b}}": "a closing brace",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wildcards")
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def reference(folder: Path) -> Callable[[str], set[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generators = pytest.importorskip("dynamicprompts.generators")
        from dynamicprompts.wildcards.wildcard_manager import WildcardManager

    generator = generators.CombinatorialPromptGenerator(WildcardManager(folder))

    def generate(template: str) -> set[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {" ".join(str(text).split()) for text in generator.generate(template, MOST)}

    return generate


def ours(template: str, folder: Path) -> set[str]:
    return {" ".join(prompt.text.split()) for prompt in PromptSpec([template], wildcards=folder).prompts()}


def templates() -> list[str]:
    """The bar between two templates is the one outside of braces."""
    found = []
    for line in SAME.split("\n"):
        depth, start = 0, 0
        for at, char in enumerate(line):
            depth += (char == "{") - (char == "}")
            if char == "|" and not depth:
                found.append(line[start:at])
                start = at + 1
        found.append(line[start:])
    return [one for one in found if one]


@pytest.mark.parametrize("template", templates())
def test_the_same_prompts(template: str, folder: Path, reference: Callable[[str], set[str]]) -> None:
    assert ours(template, folder) == reference(template)


@pytest.mark.parametrize("template", DIFFERENT)
def test_a_difference_is_one_and_is_named(template: str, folder: Path, reference: Callable[[str], set[str]]) -> None:
    def outcome(make: Callable[[], set[str]]) -> object:
        try:
            return make()
        except Exception as error:
            return PromptError if isinstance(error, PromptError) else type(error)

    table = PAGE[PAGE.index("## Differences from Dynamic Prompts") :]
    assert outcome(lambda: ours(template, folder)) != outcome(lambda: reference(template))
    assert DIFFERENT[template] in table


WORDS = st.sampled_from(
    ["a", "red kite", "oak,", "(b:1.2)", "x-y", "3 cups", "é", "__metal__", "__fabric__", "__mixed__"]
)


def choices(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, min_size=2, max_size=3).map(lambda parts: "{" + "|".join(parts) + "}")


TEMPLATES = st.recursive(
    WORDS, lambda inner: choices(inner) | st.lists(inner, min_size=1, max_size=2).map(" ".join), max_leaves=5
)


@given(TEMPLATES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_template_of_both_gives_the_same(folder: Path, reference: Callable[[str], set[str]], template: str) -> None:
    assert re.fullmatch(r"[^$%#]*", template)
    assert ours(template, folder) == reference(template)
