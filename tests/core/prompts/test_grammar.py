"""The syntax: what is read as what, what is plain, errors with their place, and back to text."""

from __future__ import annotations

import contextlib
import string
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_imagen.core.prompts import Resolver, VariantError, Wildcards, parse
from prefect_imagen.core.prompts.grammar import (
    MAX_DEPTH,
    Alternative,
    Argument,
    Assignment,
    Choice,
    Concat,
    Pick,
    Plain,
    Reference,
    WildcardUse,
    escape,
    read,
    write,
)

WILDCARDS = Wildcards(
    {
        "season": ["summer", "autumn", "winter", "spring"],
        "flavours": ["chocolate", "vanilla", "strawberry"],
        "seasons-and-more": ["summer", "{autumn|fall}", "winter", "spring"],
        "colours-cold": ["blue", "green"],
        "colours-warm": ["red", "yellow"],
        "people_of_the_world": ["__asia__", "__africa__"],
        "africa": ["Zimbabwean", "Namibian", "Basotho"],
        "asia": ["Thai"],
        "season_clothes": ["In ${season}, I wear ${season} shirts and ${season} trousers"],
        "season_default": ["In ${season:summer}, I wear ${season:summer} shirts"],
        "artists/dutch": ["Rembrandt van Rijn"],
        "artists/finnish": ["Helene Schjerfbeck"],
    }
)


def texts(source: str) -> list[str]:
    return [variant.text for variant in parse(source, Resolver(WILDCARDS)).expand()]


def content(text: str) -> Concat:
    return Concat((Plain(text),) if text else ())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{3::a|0.5::b|c}", Choice((Alternative(content("a"), Decimal(3)), Alternative(content("b"), Decimal("0.5")),
                                   Alternative(content("c"))))),
        ("{ 3 ::a}", Choice((Alternative(content("a"), Decimal(3)),))),
        ("{2$$a|b}", Choice((Alternative(content("a")), Alternative(content("b"))), Pick(2, 2))),
        ("{2$$ and $$a}", Choice((Alternative(content("a")),), Pick(2, 2, " and "))),
        ("{1-3!$$$$a}", Choice((Alternative(content("a")),), Pick(1, 3, "", True))),
        ("{-$$a}", Choice((Alternative(content("a")),), Pick(1, None))),
        ("{-2$$a}", Choice((Alternative(content("a")),), Pick(1, 2))),
        ("{2-$$ \\| $$a}", Choice((Alternative(content("a")),), Pick(2, None, " | "))),
        ("{2$$3::a}", Choice((Alternative(content("a"), Decimal(3)),), Pick(2, 2))),
        ("__a-b/*__", WildcardUse("a-b/*")),
        ("__a_b__", WildcardUse("a_b")),
        ("__a()__", WildcardUse("a")),
        ("__a(x=1, y=!{p|q},z=b\\, c\\))__", WildcardUse("a", (
            Argument("x", content("1")),
            Argument("y", Concat((Choice((Alternative(content("p")), Alternative(content("q")))),)), True),
            Argument("z", content("b, c)")),
        ))),
        ("${x}", Reference("x")),
        ("${ x }", Reference("x")),
        ("${x:}", Reference("x", content(""))),
        ("${x:a|b}", Reference("x", content("a|b"))),
        ("${x=a}", Assignment("x", content("a"))),
        ("${x=!a}", Assignment("x", content("a"), True)),
        ("${x=\\!a}", Assignment("x", content("!a"))),
    ],
)  # fmt: skip
def test_reads(text: str, part: object) -> None:
    assert read(text).parts == (part,)


@pytest.mark.parametrize(
    "text",
    [
        "50% off, 100% cotton, a $5 bill, $$$ and US$", "C# code #sale // note /* note */", "a | b", "16::9 and 3::a",
        "2$$ and $$a", "snake_case _private __dunder x__y", "fill in ____ here ______", "__ not a name __", "-__-",
        r"¯\_(ツ)_/¯ C:\temp \n \: \, \) \! \# \%", "trailing \\", "$", "$$", "_", "__", ":", "::", "a__b",
        "__very big__",
    ],
)  # fmt: skip
def test_prose_is_itself(text: str) -> None:
    assert texts(text) == [text]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"\__init\__ \{x\} \$\{y\} \\", ["__init__ {x} ${y} \\"]),
        (r"{3\::a|2\$$b|\|}", ["3::a", "2$$b", "|"]),
        ("a ${5|10} bill or $9.99", ["a $5 bill or $9.99", "a $10 bill or $9.99"]),
        (r"\${a|b}", ["$a", "$b"]),
        (r"$\{name\}", ["${name}"]),
        (r"{\@a|\!b|\~c} @d !e ~f", ["@a @d !e ~f", "!b @d !e ~f", "~c @d !e ~f"]),
        ("{std::a|C++}", ["std::a", "C++"]),
        (r"{a\$\$b|$5|5$}", ["a$$b", "$5", "5$"]),
        ("___season__", ["_summer", "_autumn", "_winter", "_spring"]),
    ],
)  # fmt: skip
def test_plain_characters_within_constructs(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


@pytest.mark.parametrize(
    ("source", "position", "says"),
    [
        ("{0::a|b}", 1, "the weight '0' is not a number above 0"),
        ("{a|-1::b}", 3, "the weight '-1'"),
        ("{1e3::a}", 1, "the weight '1e3'"),
        ("{1,5::a}", 1, "the weight '1,5'"),
        ("{3-2$$a|b|c}", 1, "the smaller number comes first"),
        ("{0$$a}", 1, "0 of the alternatives"),
        ("{9999999$$a}", 1, "too large"),
        ("x {4$$a|b|c}", 2, "4 alternatives are asked for and there are 3"),
        ("{2-$$a}", 0, "2 alternatives are asked for and there are 1"),
        ("{-$$" + "a|" * 3000 + "b}", 0, "more than can be counted"),
        ("a __{b|c}__", 2, "a wildcard's name is fixed"),
        ("a __${b}__", 2, "a wildcard's name is fixed"),
        ("__what?__", 0, "cannot be a wildcard's name"),
        ("a __seson__", 2, "did you mean 'season'"),
        ("a __colour*__ b", 2, None),
        ("a __zebra/*__", 2, "no wildcard's name fits 'zebra/"),
        ("__season(x=1__", 0, r"unclosed '\(' of a wildcard"),
        ("__season(x=1}", 0, r"unclosed '\('"),
        ("__season(x=1) b", 12, "'__' has to follow"),
        ("__season(x=1, 2)__", 12, "name=value"),
        ("__season(x=1,x=2)__", 13, "given twice"),
        ("${x=a", 0, r"unclosed '\$\{'"),
        ("${x:a", 0, r"unclosed '\$\{'"),
        ("a ${x}", 2, "there is no variable 'x' here; set it first"),
        ("${hue=a}${hew}", 8, "did you mean 'hue'"),
        ("{${x=a}|b} ${x}", 11, "no variable 'x'"),
        ("${x=${x}}", 4, "no variable 'x'"),
        ("a ${x=!{p|q}} b", 2, "comes out in 2 ways and is never used"),
        ("__season_clothes__", 3, "no variable 'season'"),
        ("${x=" * 60 + "}" * 60, None, "deeper than"),
    ],
)  # fmt: skip
def test_errors_name_the_place(source: str, position: int | None, says: str | None) -> None:
    if says is None:
        assert len(texts(source)) == 4
        return
    with pytest.raises(VariantError, match=says) as caught:
        parse(source, Resolver(WILDCARDS))
    if position is not None:
        assert caught.value.position == position
    line, caret = str(caught.value).splitlines()[-2:]
    assert line[caret.index("^")] in caught.value.text


@pytest.mark.slow
def test_names_that_double_each_other_are_stopped() -> None:
    doubling = "${v0=xx}" + "".join(f"${{v{n + 1}=${{v{n}}}${{v{n}}}}}" for n in range(25))
    started = time.thread_time()
    with pytest.raises(VariantError, match=r"more than 1,000,000 parts|longer than"):
        parse(doubling + "${v25}")
    values = {f"w{n}": [f"{{__w{n - 1}__|__w{n - 1}__}}"] for n in range(1, 200)} | {"w0": ["x"]}
    with pytest.raises(VariantError, match="too deeply"):
        parse("__w199__", Resolver(Wildcards(values)))
    deep = parse("__w30__", Resolver(Wildcards(values)))
    assert (deep.count(), deep.can_be_blank(), deep.pick(2**30 - 1).text) == (2**30, False, "x")
    assert time.thread_time() - started < 10


# The examples of Dynamic Prompts --------------------------------------------------------------------------------------
# The cases of "Syntax Guide" (adieyal/sd-dynamic-prompts, docs/SYNTAX.md). Where ours differ, `there` says how.

SEASONS = ["summer", "autumn", "winter", "spring"]
TROUSERS = "In {0}, I wear {0} shirts and {0} trousers"


@pytest.mark.parametrize(
    ("source", "expected", "there"),
    [
        ("{summer|autumn|winter|spring} is coming", [f"{s} is coming" for s in SEASONS], None),
        ("{0.5::summer|0.1::autumn|0.3::winter|0.1::spring}", SEASONS, None),
        ("{2$$chocolate|vanilla|strawberry}",
         ["chocolate, vanilla", "chocolate, strawberry", "vanilla, strawberry"], "both orders of each"),
        ("{2!$$chocolate|vanilla|strawberry}",
         ["chocolate, vanilla", "chocolate, strawberry", "vanilla, chocolate", "vanilla, strawberry",
          "strawberry, chocolate", "strawberry, vanilla"], "written without the exclamation mark"),
        ("{2$$ and $$chocolate|vanilla|strawberry}",
         ["chocolate and vanilla", "chocolate and strawberry", "vanilla and strawberry"], "both orders of each"),
        ("{1-2$$ and $$chocolate|vanilla|strawberry}",
         ["chocolate", "vanilla", "strawberry", "chocolate and vanilla", "chocolate and strawberry",
          "vanilla and strawberry"], "both orders of each"),
        ("{-2$$a|b|c}", ["a", "b", "c", "a, b", "a, c", "b, c"], "both orders of each"),
        ("{1-$$a|b|c}", ["a", "b", "c", "a, b", "a, c", "b, c", "a, b, c"], "described as 1-2"),
        ("{4$$a|b|c}", "4 alternatives are asked for and there are 3", "takes the three"),
        ("{1-4$$a|b}", ["a", "b", "a, b"], None),
        ("__season__ is coming", [f"{s} is coming" for s in SEASONS], None),
        ("{2$$__flavours__}",
         ["chocolate, vanilla", "chocolate, strawberry", "vanilla, strawberry"], "both orders of each"),
        ("{2$$__flavours__|__flavours__}",
         [f"{a}, {b}" for a in ("chocolate", "vanilla", "strawberry") for b in ("chocolate", "vanilla", "strawberry")],
         None),
        ("__seasons-and-more__ is coming",
         [f"{s} is coming" for s in ("summer", "autumn", "fall", "winter", "spring")], None),
        ("__people_of_the_world__", ["Thai", "Zimbabwean", "Namibian", "Basotho"], None),
        ("my __colours*__ shirt", [f"my {c} shirt" for c in ("blue", "green", "red", "yellow")], None),
        ("__artists/finnish__, __artists/*__",
         ["Helene Schjerfbeck, Rembrandt van Rijn", "Helene Schjerfbeck, Helene Schjerfbeck"], None),
        ("${season=!__season__}" + TROUSERS.format("${season}"), [TROUSERS.format(s) for s in SEASONS], None),
        ("${season=!{summer|autumn|winter|spring}}" + TROUSERS.format("${season}"),
         [TROUSERS.format(s) for s in SEASONS], None),
        ("${hair={blond|dark}}${hair} man, ${hair} woman",
         ["blond man, blond woman", "blond man, dark woman", "dark man, blond woman", "dark man, dark woman"], None),
        ("__season_clothes(season=winter)__", [TROUSERS.format("winter")], None),
        ("__season_clothes(season=!{summer|winter})__", [TROUSERS.format("summer"), TROUSERS.format("winter")],
         "literal values only"),
        ("${season=!{summer|winter}}__season_clothes__", [TROUSERS.format("summer"), TROUSERS.format("winter")], None),
        ("__season_default__", ["In summer, I wear summer shirts"], None),
        ("__season_default(season=May)__", ["In May, I wear May shirts"], None),
        ("red # a note", ["red # a note"], "a comment"),
        ("{red\n|blue} hat", ["red\n hat", "blue hat"], "line breaks are dropped"),
        ("__unknown__", "no wildcard 'unknown'", "left in the text"),
        ("100% cotton {red|blue}", ["100% cotton red", "100% cotton blue"], "cannot be parsed"),
    ],
)  # fmt: skip
def test_examples_of_dynamic_prompts(source: str, expected: list[str] | str, there: str | None) -> None:
    if isinstance(expected, str):
        assert there is not None
        with pytest.raises(VariantError, match=expected):
            parse(source, Resolver(WILDCARDS))
    else:
        assert texts(source) == expected


# Properties -----------------------------------------------------------------------------------------------------------

words = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=4) | st.text(
    alphabet="{}|\\$_:,()!=2-. ax", min_size=1, max_size=6
)
names = st.sampled_from(["x", "y", "_z9"])
weights = st.none() | st.decimals("0.01", "99", places=2)


def sequences(parts: st.SearchStrategy[object]) -> st.SearchStrategy[Concat]:
    def merged(found: list[object]) -> Concat:
        # Two texts side by side are one text.
        kept: list[object] = []
        for part in found:
            if isinstance(part, Plain) and kept and isinstance(kept[-1], Plain):
                kept[-1] = Plain(kept[-1].text + part.text)
            else:
                kept.append(part)
        return Concat(tuple(kept))  # type: ignore[arg-type]

    return st.lists(parts, max_size=4).map(merged)


def constructs(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    content = sequences(inner)
    picks = st.builds(
        lambda least, more, separator, permute: Pick(least, None if more is None else least + more, separator, permute),
        st.integers(1, 4), st.none() | st.integers(0, 3), words, st.booleans(),
    )  # fmt: skip
    return st.one_of(
        st.builds(
            Choice,
            st.lists(st.builds(Alternative, content, weights), min_size=1, max_size=3).map(tuple),
            st.none() | picks,
        ),
        st.builds(
            WildcardUse,
            st.sampled_from(["a", "b/c", "d-*", "e_f"]),
            st.lists(
                st.builds(Argument, names, content, st.booleans()), max_size=2, unique_by=lambda one: one.name
            ).map(tuple),
        ),
        st.builds(Assignment, names, content, st.booleans()),
        st.builds(Reference, names, st.none() | content),
    )


trees = sequences(st.recursive(st.builds(Plain, words), constructs, max_leaves=12))


@settings(deadline=None)
@given(trees)
def test_what_is_written_is_read_as_the_same(tree: Concat) -> None:
    written = write(tree)
    with contextlib.suppress(VariantError):  # the strategy makes braces around a single text, too
        assert read(written) == tree
        assert write(read(written)) == written


@settings(deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="{}|\\$_:,()=!2-. a", max_size=40), st.text(alphabet=string.printable)))
def test_what_can_be_read_is_written_as_the_same(text: str) -> None:
    try:
        tree = read(text)
    except VariantError as error:
        raised = error
    else:
        assert read(write(tree)) == tree
        return
    assert 0 <= raised.position < len(text)
    assert "^" in str(raised)


@settings(deadline=None)
@given(st.text(), st.text(alphabet="{}|\\$_:,()=!2-. a"))
def test_escaped_text_is_itself_wherever_it_stands(text: str, other: str) -> None:
    for plain in (text, other):
        assert read(escape(plain)) == content(plain)
        assert texts("{x|" + escape(plain) + "}") == ["x", plain]


@pytest.mark.parametrize("unit", ["{", "${x=", "__a(x=", "{a|", "__", "$", "\\", "{2$$", "3::", "_", "{{a}"])
def test_long_repetitions_are_read_in_linear_time(unit: str) -> None:
    started = time.thread_time()
    with contextlib.suppress(VariantError):
        read(unit * (200_000 // len(unit)))
    assert time.thread_time() - started < 3


def test_the_deepest_nesting_allowed_works() -> None:
    text = "{a|" * MAX_DEPTH + "b" + "}" * MAX_DEPTH
    assert parse(text).count() == MAX_DEPTH + 1
    assert parse(text).pick(MAX_DEPTH).text == "b"


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("a {red} cup", 2, "single alternative"),
        ("{}", 0, "single alternative"),
        ('{"subject": {"key": "a {red|blue} cup"}}', 12, "single alternative"),
        ("{{ product }} on oak", 1, "single alternative"),
        ("a {b, c} cup --ar 3:2", 2, "single alternative"),
        ("{@a|b}", 1, "sampler"),
        ("{ ~2$$a|b}", 2, "sampler"),
        ("%{in ... wool$$cup}", 13, "in an alternative"),
        ("{a|{b|c$$d}}", 7, "in an alternative"),
        ("{2$red|blue}", 2, "a number and one"),
        ("${hue|x}", 0, "has to follow its name"),
        ("${two words=x}", 0, "has to follow its name"),
        ("__sea${x}__", 0, "a wildcard's name is fixed"),
        ("__sea{a|b}son__", 0, "a wildcard's name is fixed"),
    ],
)
def test_what_is_nearly_a_construct_is_an_error(text: str, position: int, says: str) -> None:
    with pytest.raises(VariantError, match=says) as caught:
        read(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${my-hue=red}a ${my-hue} cup", ["a red cup"]),
        ("${a?=red}${a?=blue}${a}", ["red"]),
        ("{1 - 2$$a|b}", ["a", "b", "a, b"]),
        ("{2$$|$$a|b}", ["a|b"]),
        ("{2$$ | $$a|b}", ["a | b"]),
        ("({__season__}:1.3)", ["(summer:1.3)", "(autumn:1.3)", "(winter:1.3)", "(spring:1.3)"]),
        ("a __very big__ cup", ["a __very big__ cup"]),
    ],
)
def test_what_is_meant_is_read(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


def test_a_name_with_a_blank_is_one_where_there_is_such_a_wildcard() -> None:
    names = Resolver(Wildcards({"old wood": ["oak", "__rare wood__"], "rare wood": ["yew"]}))
    assert [one.text for one in parse("a __old wood__ box, __new wood__", names).expand()] == [
        "a oak box, __new wood__",
        "a yew box, __new wood__",
    ]


def test_a_message_stays_short_whatever_it_quotes() -> None:
    with pytest.raises(VariantError) as caught:
        texts("{" + "9" * 100_000 + "x::a|b} {" + "9" * 100_000 + "0.0.0::a|b}")
    assert len(str(caught.value)) < 2_000
    assert "is not a number above 0" in str(caught.value)
