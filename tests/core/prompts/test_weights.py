"""Drawing by weight: proportions, nothing twice, everything in the end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_imagen.core.prompts import PromptOptionError, parse
from prefect_imagen.core.prompts.rules import Rules
from prefect_imagen.core.prompts.sampling import WeightedDraw, sample

DRAWS = 4000


def one_each(text: str) -> Counter[str]:
    variants = parse(text)
    return Counter(sample(variants, 1, seed)[0].text for seed in range(DRAWS))


def chi_squared(seen: Counter[str], shares: dict[str, float]) -> float:
    whole = sum(shares.values())
    assert set(seen) <= set(shares)
    return sum((seen[text] - DRAWS * share / whole) ** 2 / (DRAWS * share / whole) for text, share in shares.items())


# Seeds are fixed, so these cannot flicker. With d degrees of freedom, chi-squared is above these once in a thousand.
LIMITS = {1: 10.9, 2: 13.9, 3: 16.3, 5: 20.6, 6: 22.5, 9: 27.9}


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("{3::a|b}", {"a": 3, "b": 1}),
        ("{3::{a|b}|c}", {"a": 1.5, "b": 1.5, "c": 1}),
        ("{{a|b}|c}", {"a": 1, "b": 1, "c": 1}),
        ("{{3::a|b}|c}", {"a": 1.5, "b": 0.5, "c": 1}),
        ("{0.5::a|b}{3::x|y}", {"ax": 1.5, "ay": 0.5, "bx": 3, "by": 1}),
        ("{2$$3::a|b|c}", {"a, b": 3, "a, c": 3, "b, c": 1}),
        ("{2$$a|b|c}{1::x}", {"a, bx": 1, "a, cx": 1, "b, cx": 1}),
        ("{1-2$$2::a|2::b|2::c}", dict.fromkeys(["a", "b", "c", "a, b", "a, c", "b, c"], 1)),
        ("{2!$$-$$4::a|b|b2}", {"a-b": 2, "b-a": 2, "a-b2": 2, "b2-a": 2, "b-b2": 0.5, "b2-b": 0.5}),
        ("${v=!{3::a|b}}${v}${v}", {"aa": 3, "bb": 1}),
    ],
)
def test_weights_are_proportions(text: str, shares: dict[str, float]) -> None:
    assert chi_squared(one_each(text), shares) < LIMITS[len(shares) - 1]


def test_without_weights_all_combinations_are_alike() -> None:
    seen = one_each("{a|{b|c|{d|e}}|{2$$x|y|z}}{|1}")
    texts = [variant.text for variant in parse("{a|{b|c|{d|e}}|{2$$x|y|z}}{|1}").expand()]
    # 15 degrees of freedom.
    assert chi_squared(seen, dict.fromkeys(texts, 1)) < 37.7


def test_what_was_drawn_is_put_aside() -> None:
    # Drawing two of {2::a|b|c} one after the other: a first half of the time, then in proportion to the rest.
    variants = parse("{2::a|b|c}")
    seen = Counter("".join(variant.text for variant in sample(variants, 2, seed)) for seed in range(DRAWS))
    ab = 0.5 * 0.5 + 0.25 * 2 / 3
    assert chi_squared(seen, {"ab": ab, "ac": ab, "bc": 2 * 0.25 / 3}) < LIMITS[2]


weighted = st.recursive(
    st.sampled_from(["a", "b", ""]),
    lambda inner: st.one_of(
        st.lists(st.tuples(st.sampled_from(["", "9::", "0.01::", "999::"]), inner).map("".join), min_size=2, max_size=3)
        .map(lambda found: "{" + "|".join(found) + "}"),
        st.lists(st.tuples(st.sampled_from(["", "50::"]), inner).map("".join), min_size=2, max_size=4)
        .map(lambda found: "{0-2!$$" + "|".join(found) + "}"),
        st.lists(st.tuples(st.sampled_from(["", "50::"]), inner).map("".join), min_size=2, max_size=4)
        .map(lambda found: "{1-3$$" + "|".join(found) + "}" if len(found) > 2 else "{-$$" + "|".join(found) + "}"),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda found: f"{found[1]}${{v=!{found[0]}}}${{v}}"),
    ),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None)
@given(weighted, st.integers(0, 99))
def test_everything_is_drawn_exactly_once(text: str, seed: int) -> None:
    variants = parse(text)
    if variants.count() > 300:
        return
    assert sorted(WeightedDraw(variants, str(seed))) == list(range(variants.count()))
    few = sample(variants, 5, seed)
    assert few == sample(variants, 5, seed)
    assert len(few) == min(5, variants.count())
    texts = [variants.pick(index) for index in range(variants.count())]
    places = iter(texts)
    assert all(variant in places for variant in few)


def test_a_sample_stays_what_it_was() -> None:
    # Frozen: a schedule that samples by seed must buy the same prompts after an upgrade.
    assert [variant.text for variant in sample(parse("{9::a|b}{1|2|3}{x|2::y}"), 4, seed=0)] == FROZEN


FROZEN = ["a1y", "a3x", "a3y", "b1x"]


def test_a_space_that_nobody_can_enumerate() -> None:
    variants = parse("{9::0|1|2|3|4|5|6|7|8|9}" * 12)
    found = sample(variants, 1000, 0)
    assert len({variant.text for variant in found}) == 1000
    zeros = sum(variant.text.count("0") for variant in found)
    # 12,000 digits, half of them 0; a little less, since what was drawn does not come again.
    assert 5600 < zeros < 6200


@pytest.mark.slow
def test_weights_and_rules() -> None:
    space = Rules(["a & x"]).apply(parse("{9::a|b}{x|y}"), {})
    seen = Counter(sample(space, 1, seed)[0].text for seed in range(DRAWS))
    assert chi_squared(seen, {"ay": 9, "bx": 1, "by": 1}) < LIMITS[2]
    assert [variant.text for variant in sample(space, 99, 0)] == ["ay", "bx", "by"]
    rare = Rules(["a"]).apply(parse("{999999999::a|b|c}" + "{0|1|2|3|4|5|6|7|8|9}" * 6), {})
    with pytest.raises(PromptOptionError, match="leave out nearly all"):
        sample(rare, 5, 0)
