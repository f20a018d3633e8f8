"""Variants: grammar, order, counting, picking, errors."""

from __future__ import annotations

import itertools
import pickle
import string
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.prompts import VariantError, escape, parse
from prefect_imagen.core.prompts.combinations import Variant
from prefect_imagen.core.prompts.grammar import MAX_DEPTH
from prefect_imagen.core.prompts.tree import Branch, Group, Text


def texts(source: str) -> list[str]:
    return [variant.text for variant in parse(source).expand()]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a cat", ["a cat"]),
        ("", [""]),
        ("{a|b}", ["a", "b"]),
        ("{a|b}{1|2}", ["a1", "a2", "b1", "b2"]),
        ("{a|b {x|y}|} z", ["a z", "b x z", "b y z", " z"]),
        ("{{a|b}|c}", ["a", "b", "c"]),
        ("{|}", ["", ""]),
        ("{a|a}", ["a", "a"]),
        ("{ a | b }", [" a ", " b "]),
        ("a | b", ["a | b"]),
        (r"\{a\|b\}", ["{a|b}"]),
        (r"{a\|b|c\}}", ["a|b", "c}"]),
        (r"\\{a|b}", ["\\a", "\\b"]),
        (r"C:\temp \n ¯\_(ツ)_/¯ \ ", ["C:\\temp \\n ¯\\_(ツ)_/¯ \\ "]),
        ("tail\\", ["tail\\"]),
        ("50% off, a $5 bill, C# code, #sale // @home & <b>", ["50% off, a $5 bill, C# code, #sale // @home & <b>"]),
        ("// a line", ["// a line"]),
        ("{#sale|#new} 100% {red|blue}", ["#sale 100% red", "#sale 100% blue", "#new 100% red", "#new 100% blue"]),
        ("{a\nb|c}", ["a\nb", "c"]),
    ],
)
def test_expands_in_a_stable_order(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


def test_choices_are_the_branches_taken_outer_before_inner() -> None:
    assert list(parse("{a {x|y}|b} and {1|2}").expand())[1:5] == [
        Variant("a x and 2", ("a x", "x", "2")),
        Variant("a y and 1", ("a y", "y", "1")),
        Variant("a y and 2", ("a y", "y", "2")),
        Variant("b and 1", ("b", "1")),
    ]


def test_nodes_know_their_place_in_the_source() -> None:
    source = r"x \{{ab|\|}"
    root = parse(source).root
    plain, group = root.nodes
    assert isinstance(plain, Text)
    assert isinstance(group, Group)
    assert source[plain.start : plain.end] == r"x \{"
    assert source[group.start : group.end] == r"{ab|\|}"
    assert [source[branch.start : branch.end] for branch in group.branches] == ["ab", r"\|"]


@pytest.mark.parametrize(
    ("source", "position", "says"),
    [
        ("a {red|blue cat", 2, "unclosed '{'"),
        ("{a {b|c}", 0, "unclosed '{'"),
        ("{a {b|c", 3, "unclosed '{'"),
        ("a} b", 1, "'}' without a '{'"),
        ("{a|b}}", 5, "'}' without a '{'"),
        ("{" * (MAX_DEPTH + 1) + "}" * (MAX_DEPTH + 1), MAX_DEPTH, "deeper than"),
        ("{" * 100_000, MAX_DEPTH, "deeper than"),
    ],
)
def test_errors_name_the_position(source: str, position: int, says: str) -> None:
    with pytest.raises(VariantError, match=says) as caught:
        parse(source)
    assert caught.value.position == position


def test_an_error_shows_line_column_and_caret() -> None:
    with pytest.raises(VariantError) as caught:
        parse("first\n日本\t{red|blue")
    assert str(caught.value).splitlines() == [
        r"unclosed '{': add the missing '}', or write '\{' for a plain brace (line 2, column 4 of the prompt)",
        "  日本 {red|blue",
        "       ^",
    ]


def test_the_line_shown_is_shortened_around_the_caret() -> None:
    with pytest.raises(VariantError) as caught:
        parse("x" * 500 + "{" + "y" * 500)
    line, caret = str(caught.value).splitlines()[1:]
    assert len(line) < 130
    assert line[caret.index("^")] == "{"
    assert line.strip().startswith("…")
    assert line.endswith("…")


def test_the_deepest_nesting_allowed_works() -> None:
    source = "{" * MAX_DEPTH + "a|b" + "}" * MAX_DEPTH
    assert texts(source) == ["a", "b"]
    assert parse(source).pick(1).text == "b"


def test_errors_survive_pickling() -> None:
    error = VariantError("no", "a {b", 2).located("prompts.txt", 7, rendered=True)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert "prompts.txt, line 7: no" in str(again)
    assert "rendered prompt" in str(again)


def test_counts_and_picks_what_nobody_could_enumerate() -> None:
    many = parse("{0|1|2|3|4|5|6|7|8|9}" * 12)
    assert many.count() == 10**12
    assert many.pick(123_456_789_012).text == "123456789012"
    assert next(many.expand()).text == "0" * 12


@pytest.mark.slow
def test_a_large_nested_group_is_expanded_lazily_in_the_same_order() -> None:
    # 100,001 branches' worth in one group: more than the pooled way holds.
    variants = parse("{" + "{0|1|2|3|4|5|6|7|8|9}" * 5 + "|x}{a|b}")
    assert variants.count() == 200_002
    expanded = list(itertools.islice(variants.expand(), 25))
    assert expanded == [variants.pick(index) for index in range(25)]
    assert expanded[21] == Variant("00010b", ("00010", "0", "0", "0", "1", "0", "b"))
    assert sum(1 for _ in variants.expand()) == 200_002


@pytest.mark.slow
def test_many_groups_side_by_side_do_not_recurse() -> None:
    groups = 4 * sys.getrecursionlimit()
    variants = parse("{a|b}" * groups)
    assert variants.count() == 2**groups
    assert variants.pick(2**groups - 1).text == "b" * groups
    assert next(variants.expand()).text == "a" * groups


@pytest.mark.parametrize("index", [-1, 2])
def test_pick_refuses_what_does_not_exist(index: int) -> None:
    with pytest.raises(IndexError):
        parse("{a|b}").pick(index)


@pytest.mark.parametrize(
    ("source", "blank"),
    [("", True), (" ", True), ("{|a}", True), ("{a|} {b|{ |c}}", True), ("{a|}x", False), ("{a|b}{|c}", False)],
)
def test_can_be_blank_agrees_with_the_enumeration(source: str, blank: bool) -> None:
    assert parse(source).can_be_blank() is blank
    assert any(not text.strip() for text in texts(source)) is blank


# Properties -----------------------------------------------------------------------------------------------------------

plain = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="{}\\"), max_size=6)
# At the beginning of a choice, `escape` leaves @, ! and ~ as they are.
sources = st.recursive(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="@!~"), max_size=4).map(escape),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda branches: "{" + "|".join(branches) + "}"),
    ),
    max_leaves=8,
)


def reference(branch: Branch) -> Iterator[str]:
    """The definition, naively: the product of the nodes, the last varying fastest."""
    per_node = [
        [node.text] if isinstance(node, Text) else [text for inner in node.branches for text in reference(inner)]
        for node in branch.nodes
    ]
    return map("".join, itertools.product(*per_node))


@given(sources)
def test_expand_count_and_pick_agree_with_the_definition(source: str) -> None:
    variants = parse(source)
    expanded = list(variants.expand())
    assert [variant.text for variant in expanded] == list(reference(variants.root))
    assert variants.count() == len(expanded)
    assert [variants.pick(index) for index in range(len(expanded))] == expanded
    assert variants.can_be_blank() is any(not variant.text.strip() for variant in expanded)


@given(plain)
def test_text_without_braces_and_backslashes_is_itself(text: str) -> None:
    assert list(parse(text).expand()) == [Variant(text, ())]


@given(st.text())
def test_escaped_text_parses_back_to_itself(text: str) -> None:
    assert texts(escape(text)) == [text]
    assert texts("{x|" + escape(text) + "}") == ["x", text]


@given(st.one_of(st.text(), st.text(alphabet="{}|\\a "), st.text(alphabet=string.printable)))
def test_any_text_parses_or_raises_the_parsers_own_error(text: str) -> None:
    try:
        variants = parse(text)
    except VariantError as error:
        raised = error
    else:
        assert list(itertools.islice(variants.expand(), 1)) == [variants.pick(0)]
        variants.pick(variants.count() - 1)
        return
    assert 0 <= raised.position < len(text)
    assert "^" in str(raised)
