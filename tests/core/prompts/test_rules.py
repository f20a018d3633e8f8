"""Exclusions: which combinations they leave out, exact counts, and rules that cannot be meant."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_imagen.core.prompts import PromptOptionError, PromptSpec, Resolver, Variants, Wildcards, parse
from prefect_imagen.core.prompts.rules import MAX_TEXTS, Excluding, Rules

Expected = list[tuple[list[str], list[str]]]
"""Rules, spelled out: (texts that have to be taken, texts that must not be)."""


def applied(text: str, rules: list[str], row: dict[str, Any] | None = None) -> Excluding:
    return Rules(rules).apply(parse(text), row or {})


def texts(text: str, rules: list[str], row: dict[str, Any] | None = None) -> list[str]:
    return [variant.text for variant in applied(text, rules, row).expand()]


PLACES = "{snow|sun} {beach|street|hill}"


@pytest.mark.parametrize(
    ("text", "rules", "left"),
    [
        (PLACES, ["snow & beach"], ["snow street", "snow hill", "sun beach", "sun street", "sun hill"]),
        (PLACES, ["snow & beach", "sun & hill"], ["snow street", "snow hill", "sun beach", "sun street"]),
        (PLACES, ["snow & !hill"], ["snow hill", "sun beach", "sun street", "sun hill"]),
        (PLACES, ["s*"], []),
        (PLACES, ["*s* & *e*"], ["snow hill", "sun hill"]),
        (PLACES, ["!snow"], ["snow beach", "snow street", "snow hill"]),
        (PLACES, [" SNOW  &  Beach "], ["snow street", "snow hill", "sun beach", "sun street", "sun hill"]),
        (PLACES, ["sno & beach"], None),
        ("{R&D|a=b|s*|c} {x|y}", ['"R&D" & x', '"a=b"', '"s*" & y'], ["R&D y", "s* x", "c x", "c y"]),
        ("{deep {blue|green} sea|blue} {x|y}", ["blue & x"], ["deep blue sea y", "deep green sea x",
                                                             "deep green sea y", "blue y"]),
        ("{deep {blue|green} sea|blue} {x|y}", ["deep blue  sea & x"],
         ["deep blue sea y", "deep green sea x", "deep green sea y", "blue x", "blue y"]),
        ("{2$$a|b|c} {x|y}", ["a & b", "c & y"], ["a, c x", "b, c x"]),
        ("{1-2!$$a|b} {x|y}", ["a & b & x"], ["a x", "a y", "b x", "b y", "a, b y", "b, a y"]),
        ("${s=!{snow|sun}}${s} {${s} hat|none} {x|y}", ["snow & x"],
         ["snow snow hat y", "snow none y", "sun sun hat x", "sun sun hat y", "sun none x", "sun none y"]),
        ("${s={snow|sun}}${s} ${s}", ["snow & sun"], ["snow snow", "sun sun"]),
    ],
)  # fmt: skip
def test_leaves_out(text: str, rules: list[str], left: list[str] | None) -> None:
    if left is None:
        with pytest.raises(PromptOptionError, match="no alternative is 'sno'; did you mean 'snow'"):
            list(PromptSpec([text], exclude=rules).prompts())
        return
    found = applied(text, rules)
    assert texts(text, rules) == left
    assert found.count() == len(left)
    assert [found.pick(index).text for index in range(len(left))] == left
    with pytest.raises(IndexError):
        found.pick(len(left))


def test_columns() -> None:
    row = {"place": "Beach", "n": 3, "wide": True, "tags": ["x"]}
    assert texts("{snow|sun}", ["place=beach & snow"], row) == ["sun"]
    assert texts("{snow|sun}", ["place = hill & snow"], row) == ["snow", "sun"]
    assert texts("{snow|sun}", ["!place=hill & snow"], row) == ["sun"]
    assert texts("{snow|sun}", ["n=3 & wide=true & sun"], row) == ["snow"]
    assert texts("{snow|sun}", ["tags=x", "zz=y"], row) == ["snow", "sun"]
    assert texts("{snow|sun}", ['place="be*"', "place=be*"], row) == []


@pytest.mark.parametrize("rule", ["", " ", "a &", "& a", "a & & b", "!", "=b", "a=", '"', 'a "b"', '"a" b', '""'])
def test_rules_that_cannot_be_read(rule: str) -> None:
    with pytest.raises(PromptOptionError, match="exclude="):
        PromptSpec(["a"], exclude=[rule])


def test_rules_that_cannot_be_meant(tmp_path: Any) -> None:
    path = tmp_path / "p.csv"
    path.write_text("animal,place\ncat,beach\nfox,hill\n")

    def run(rule: str) -> list[str]:
        spec = PromptSpec(path, template="{{ animal }} {snow|sun}", exclude=[rule])
        return [prompt.text for prompt in spec.prompts()]

    assert run("place=beach & snow") == ["cat sun", "fox snow", "fox sun"]
    assert run("place=beach") == ["fox snow", "fox sun"]
    with pytest.raises(PromptOptionError, match="no column 'plcae'; did you mean 'place'"):
        run("plcae=beach & snow")
    with pytest.raises(PromptOptionError, match="no row has 'street' in column 'place'"):
        run("place=street & snow")
    with pytest.raises(PromptOptionError, match="leave no prompt at all"):
        run("s*")
    limited = PromptSpec(path, template="{{ animal }} {snow|sun}", exclude=["snwo"], limit=1)
    for look in (limited.prompts, limited.count):
        with pytest.raises(PromptOptionError, match="did you mean 'snow'"):
            look()
    with pytest.raises(PromptOptionError, match="a list of rules"):
        PromptSpec(["a"], exclude="snow & beach")


def test_a_space_that_nobody_can_enumerate() -> None:
    digits = "{0|1|2|3|4|5|6|7|8|9}"
    started = time.thread_time()
    spec = PromptSpec([digits * 11 + "{a|b|c|d|e|f|g|h|i|j}"], exclude=["a & 3", "!b & 4 & 5", "c"], sample=200)
    assert spec.total() == _by_inclusion_and_exclusion()
    found = [prompt.choices for prompt in spec.prompts()]
    assert len(set(found)) == 200
    for taken in found:
        assert not {"a", "3"} <= set(taken)
        assert "b" in taken or not {"4", "5"} <= set(taken)
        assert "c" not in taken
    few = applied("{x|" + digits * 12 + "}", ["0", "1", "2 & !x", "3", "4", "5", "6", "7", "8"])
    assert few.count() == 2
    assert [variant.text for variant in few.expand()] == ["x", "9" * 12]
    assert time.thread_time() - started < 30


def _by_inclusion_and_exclusion() -> int:
    both = 10**11 - 2 * 9**11 + 8**11  # words of eleven digits with a 4 and a 5
    both_and_3 = 10**11 - 3 * 9**11 + 3 * 8**11 - 7**11
    no_3 = 9**11
    return (no_3 - (both - both_and_3)) + 10**11 + 7 * (10**11 - both)


def test_what_cannot_be_counted_is_an_error_and_not_a_guess() -> None:
    digits = "{0|1|2|3|4|5|6|7|8|9}"
    assert MAX_TEXTS < 10**5
    assert applied("{a" + digits * 5 + "|b} {x|y}", ["b & x", "3 & y"]).count() == 10**5 + 9**5 + 1
    with pytest.raises(PromptOptionError, match="has 100,000 combinations"):
        applied("{a" + digits * 5 + "|b} {x|y}", ["a3* & x"])
    with pytest.raises(PromptOptionError, match="a choice of several"):
        applied("{5$$" + "|".join(map(str, range(40))) + "}", ["3 & 4"])
    with pytest.raises(PromptOptionError, match="decided once"):
        applied("${s=!{snow|sun}}{${s}|none}", ["snow"])
    many = "".join(f"{{a{n}|b{n}}}" for n in range(40))
    with pytest.raises(PromptOptionError, match="too many different terms"):
        applied(many, [f"a{n} & a{n + 20}" for n in range(20)])


@pytest.mark.slow
def test_large_wildcards_are_summarised_once() -> None:
    resolver = Resolver(Wildcards({"n": [f"v{n}" for n in range(20_000)]}))
    rules = Rules(["v7 & x"])
    started = time.thread_time()
    for _ in range(200):
        assert rules.apply(parse("__n__ {x|y}", resolver), {}).count() == 39_999
    assert time.thread_time() - started < 30


alternatives = st.recursive(
    st.sampled_from(["a", "b", "c", ""]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda found: "{" + "|".join(found) + "}"),
        st.lists(inner, min_size=2, max_size=3).map(lambda found: "{1-2$$+$$" + "|".join(found) + "}"),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda found: f"{found[1]}${{v=!{found[0]}}}${{v}}"),
    ),
    max_leaves=7,
)
terms = st.tuples(st.sampled_from(["", "!"]), st.sampled_from(["a", "b", "c", "ab", "a*", "*b"])).map("".join)


@settings(deadline=None)
@given(alternatives, st.lists(st.lists(terms, min_size=1, max_size=3).map(" & ".join), min_size=1, max_size=3))
def test_counts_and_finds_what_trying_all_would(text: str, rules: list[str]) -> None:
    variants = parse(text)
    if variants.count() > 500:
        return
    try:
        found = applied(text, rules)
    except PromptOptionError:
        assert "!" in text
        return
    expected = [variant for variant in variants.expand() if not _excluded(rules, variant.choices)]
    assert found.count() == len(expected)
    assert list(found.expand()) == expected
    assert [found.pick(index) for index in islice(range(len(expected)), 50)] == expected[:50]


def _excluded(rules: list[str], choices: tuple[str, ...]) -> bool:
    def holds(term: str) -> bool:
        text = term.removeprefix("!")
        fits = any(
            choice == text
            or (text.endswith("*") and choice.startswith(text[:-1]))
            or (text.startswith("*") and choice.endswith(text[1:]))
            for choice in choices
        )
        return fits is not term.startswith("!")

    return any(all(holds(term) for term in rule.split(" & ")) for rule in rules)


def test_rules_and_variants_have_the_same_face() -> None:
    for name in ("count", "expand", "pick", "weighted"):
        assert hasattr(Variants, name)
        assert hasattr(Excluding, name)
