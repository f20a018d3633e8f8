"""Templates: what they see, how values meet variants, what they cannot do."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.prompts import PromptTemplate, Row, TemplateError
from prefect_imagen.core.prompts.jinja_env import MAX_LENGTH
from prefect_imagen.core.prompts.visible import is_blank

from ...pickled import sent_by_dask

ROW: dict[str, Any] = {
    "name": "Bob {x|y} \\",
    "n": 3,
    "ratio": 2.345,
    "tags": ["red", "blue"],
    "note": None,
    "Film title": "Alien",
    "range": "wide",
    "meta": {"lens": "50mm"},
}


def expand(template: str, prompt: str | None = None, **extra: Any) -> list[str]:
    rendered = PromptTemplate(template).render(Row(7, {**ROW, **extra}), prompt, "rows.jsonl")
    return [variant.text for variant in rendered.variants().expand()]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ name }}", ["Bob {x|y} \\"]),
        ("{a|{{ name }}}", ["a", "Bob {x|y} \\"]),
        ("{{ name }}{a|b}", ["Bob {x|y} \\a", "Bob {x|y} \\b"]),
        (r"\{{ name }}", ["\\Bob {x|y} \\"]),
        (r"\\{{ name }}", ["\\Bob {x|y} \\"]),
        (r"\{ {{ name }}\}", ["{ Bob {x|y} \\}"]),
        ("{{ name|upper }}", ["BOB {X|Y} \\"]),
        ("{{ name|variants }}", None),
        ("{{ name[4:9]|variants }}", ["x", "y"]),
        ("{{ '{a|b}' }} {c|d}", ["{a|b} c", "{a|b} d"]),
        ("{{ '{a|b}'|variants }}", ["a", "b"]),
        ("{% macro m() %}{p|q} {{ name }}{% endmacro %}{{ m() }}", ["{p|q} Bob {x|y} \\"]),
        ("{% macro m() %}{p|q} {{ name }}{% endmacro %}{{ m()|variants }}", ["p Bob {x|y} \\", "q Bob {x|y} \\"]),
        ("{% set s %}{p|q}{% endset %}{{ s|variants }}{{ s }}", ["p{p|q}", "q{p|q}"]),
        ("{% filter upper %}{a|b} {{ name }}{% endfilter %}", ["A BOB {X|Y} \\", "B BOB {X|Y} \\"]),
        ("{% raw %}{{a|b} c|d}{% endraw %}", ["a c", "b c", "d"]),
        ("{a|{b|c}} x", ["a x", "b x", "c x"]),
        ("{#sale|#new} <#-- a note --#>50% // #1", ["#sale 50% // #1", "#new 50% // #1"]),
        ("{{ row['Film title'] }} {{ row.n }} {{ range }}", ["Alien 3 wide"]),
        ("{{ prompt }}", ["the {prompt}"]),
        ("{{ note|default('photo', true) }} {{ zz|default('q') }}{% if zz is defined %}!{% endif %}", ["photo q"]),
        ("{{ n * 2 }} {{ '%03d'|format(n) }} {{ '%s-%s' % (n, name[:3]) }} {{ 'a' ~ n }}", ["6 003 3-Bob a3"]),
        ("{{ tags|join(', ') }} {{ '+'.join(tags) }} {{ tags|map('upper')|join }}", ["red, blue red+blue REDBLUE"]),
        ("{% for t in tags %}{{ loop.index }}/{{ loop.length }}{{ t }} {% endfor %}", ["1/2red 2/2blue "]),
        ("{% for t in tags recursive %}{{ t[0] }}{% if loop.depth < 2 %}{{ loop(tags) }}{% endif %}{% endfor %}",
         ["rrbbrb"]),
        ("{% for t in tags|select('ne', 'red') %}{{ t }}{% endfor %}", ["blue"]),
        ("{{ name.replace('Bob', 'Al')[:2] }} {{ name|replace('Bob', 'Cy')|truncate(3, true, '') }}", ["Al Cy "]),
        ("{{ 'Crème  brûlée!'|slug }} {{ 'a tale'|title }} {{ ratio|round(1) }} {{ ratio|round(0, 'ceil') }}",
         ["creme-brulee A Tale 2.3 3.0"]),
        ("{{ 'one two three'|truncate_prompt(9) }}|{{ 'abcdef'|truncate_prompt(3) }}|{{ 'ab cd'|truncate_prompt(2) }}",
         ["one two|abc|ab"]),
        ("{{ meta.lens }} {{ row.items()|map('first')|join('/') }}",
         ["50mm name/n/ratio/tags/note/Film title/range/meta"]),
        ("{% set ns = namespace(k=0) %}{% for t in tags %}{% set ns.k = ns.k + 1 %}{% endfor %}{{ ns.k }}", ["2"]),
    ],
)  # fmt: skip
def test_renders(template: str, expected: list[str] | None) -> None:
    if expected is None:
        expected = ["Bob x \\", "Bob y \\"]
    assert expand(template, prompt="the {prompt}") == expected


@pytest.mark.slow
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cn"]), max_size=30))
def test_a_value_comes_out_as_it_is_wherever_it_stands(value: str) -> None:
    assume(not is_blank(value))
    assert expand("{a|b{{ v }}}{{ v }}\\{{ v }}", v=value) == [f"a{value}\\{value}", f"b{value}{value}\\{value}"]
    assert PromptTemplate("{x}{{ v }}").render(Row(1, {"v": value}), None, "f").plain() == "{x}" + value


def test_a_value_is_never_a_template() -> None:
    assert expand("{{ v }}", v="{{ 1 + 1 }}{% raw %}") == ["{{ 1 + 1 }}{% raw %}"]


@pytest.mark.parametrize(
    ("template", "line", "says"),
    [
        ("{{ name", 1, "unexpected end of template"),
        ("a\n{% for %}", 2, "Expected an expression"),
        ("a\nb\n{{ name|upcase }}", 3, "there is no filter 'upcase'"),
        ("{{ name|slugg }}", 1, "did you mean slug"),
        ("{{ name|random }}", 1, "there is no filter 'random'"),
        ("{{a|b}|c}", 1, r"\{% raw %\}"),
        ("{{" + "(" * 500 + "1" + ")" * 500 + "}}", None, "too deeply"),
        ("\ufdd0", None, "noncharacter"),
    ],
)
def test_templates_that_cannot_be_parsed(template: str, line: int | None, says: str) -> None:
    with pytest.raises(TemplateError, match=says) as caught:
        PromptTemplate(template)
    assert isinstance(caught.value, BadInput)
    assert caught.value.template_line == line
    assert str(sent_by_dask(caught.value)) == str(caught.value)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ nmae }}", "no column 'nmae'; did you mean name.* The columns are 'name', 'Film title'"),
        ("{% if name %}{{ stuff }}{% endif %}", "no column 'stuff'. The columns are"),
        ("{{ film_title }}", r'did you mean row\["Film title"\]'),
        ("{{ row['Film titel'] }}", r'did you mean row\["Film title"\]'),
        ("{{ row.nmae }}", "no column 'nmae'"),
        ("{{ prompt }}", "no column 'prompt'"),
        ("{{ os.getcwd() }}", "no column 'os'"),
        ("{{ lipsum() }}", "no column 'lipsum'"),
    ],
)
def test_unknown_names_are_found_before_any_row(template: str, says: str) -> None:
    parsed = PromptTemplate(template)
    with pytest.raises(TemplateError, match=says) as caught:
        parsed.check(("name", "Film title"), has_prompt=False)
    assert caught.value.template_line == 1
    assert caught.value.source is None


@pytest.mark.parametrize(
    "template",
    [
        "{{ name }} {{ row.name }} {{ row['name'] }} {{ row.items()|length }} {{ prompt }}",
        "{{ zz|default('x') }} {{ row.zz|d('x') }} {% if yy is defined %}{{ yy }}{% endif %}",
        "{{ name }}{% set own = 1 %}{{ own }}{% for x in [1] %}{% endfor %}{% set ns = namespace(a=1) %}{{ ns.a }}",
    ],
)
def test_known_optional_and_own_names_pass(template: str) -> None:
    PromptTemplate(template).check(("name",), has_prompt=True)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ nmae }}", "no column 'nmae'; did you mean name"),
        ("{{ row['nmae'] }}", "no column 'nmae'"),
        ("{{ meta.zoom }}", "has no attribute 'zoom'"),
        ("{{ note }}", r"null; give what to write instead, like \{\{ style\|default"),
        ("{{ note|upper }}", "null"),
        ("{{ tags }}", r"a list cannot be written into a prompt; .*join"),
        ("{{ tags ~ 'x' }}", "a list cannot be written"),
        ("{{ row }}", "a dict cannot be written"),
        ("{{ name.upper }}", "cannot be written"),
        ("{{ '%s' % (tags,) }}", "a list cannot be written"),
        ("{{ name + 1 }}", "can only concatenate str"),
        ("{{ n / 0 }}", "division by zero"),
        ("{% include 'x' %}", "no loader"),
        ("{{ name|truncate_prompt(0) }}", "number of characters, 1 or more"),
        ("{{ ratio|round(1, 'up') }}", "one of 'common'"),
    ],
)
def test_rows_that_cannot_be_rendered_name_template_line_and_row(template: str, says: str) -> None:
    parsed = PromptTemplate("first line\n" + template)
    with pytest.raises(TemplateError, match=says) as caught:
        parsed.render(Row(7, ROW), None, "rows.jsonl")
    assert (caught.value.template_line, caught.value.source, caught.value.line) == (2, "rows.jsonl", 7)
    assert str(caught.value).startswith("template, line 2 (for rows.jsonl, line 7): ")


@pytest.mark.parametrize("value", ["\ufdd1", ["a", {"k": "\ufdd3"}], {"\ufdd0": 1}])
def test_values_with_the_characters_that_seal_are_refused(value: Any) -> None:
    with pytest.raises(TemplateError, match="noncharacter"):
        expand("{{ n }}", v=value)


ESCAPES = [
    "{{ name.__class__ }}",
    "{{ name['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ range.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ row.get.__self__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ row|map(attribute='__class__')|list }}",
    "{{ [name]|map(attribute='__class__')|join }}",
    "{{ name|attr('__class__') }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ '{a.__class__}'.format_map(row) }}",
    "{{ row.update({'a': 1}) }}",
    "{{ tags.append(1) }}",
    "{{ dict.fromkeys }}",
    "{% import 'os' as os %}{{ os }}",
]

RUNAWAYS = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ 2 ** (10 ** 9) }}",
    "{{ 'a'.center(10000000000) }}",
    "{{ n.to_bytes(10000000000, 'big') }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '%*d' % (10000000000, 1) }}",
    "{{ '%10000000000d'|format(1) }}",
    "{{ 1.5|round(1000000000, 'ceil') }}",
    "{{ range(10**12) }}",
    "{{ range(10**40)|list }}",
    "{% for i in range(10000) %}aaaa{% endfor %}",
    "{% for i in range(10000) %}{{ name }}{% endfor %}",
    "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
    "{% for i in range(10000)|map('string') %}{% for j in range(10000)|map('string') %}{% endfor %}{% endfor %}",
    "{% for i in range(10000) if range(10000)|list|length < 0 %}{% endfor %}",
    "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=['a']) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=9) %}{% for i in range(60) %}{% set ns.s = ns.s * ns.s %}{% endfor %}",
    "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s|replace('a', 'aaa') %}{% endfor %}",
    "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', 'aaa') %}{% endfor %}",
    "{{ range(10000)|join('a' * 10000) }}",
    "{{ ('a' * 10000).join(range(10000)|map('string')) }}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(k) %}{% if k %}{% set a = f(k - 1) %}{% set b = f(k - 1) %}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% for i in [1] recursive %}{% if loop.depth < 9 %}{{ loop(range(9999)) }}{% endif %}{% endfor %}",
    "{% block x %}{{ self.x() }}{% endblock %}",
    "{% set x %}{% for i in range(9999) %}" + "a" * 5000 + "{% endfor %}{% endset %}",
    "a" * (MAX_LENGTH + 1),
]


@pytest.mark.parametrize("template", ESCAPES + RUNAWAYS)
def test_no_way_out_and_no_way_on_for_ever(template: str) -> None:
    started = time.thread_time()
    with pytest.raises(TemplateError) as caught:
        expand(template)
    assert time.thread_time() - started < 5
    assert len(str(caught.value)) < 600


def test_an_allowance_is_for_one_rendering() -> None:
    parsed = PromptTemplate("{% for i in range(9000) %}{% if i == 5 %}x{% endif %}{% endfor %}")
    for _ in range(20):
        assert parsed.render(Row(1, {}), None, "f").plain() == "x"


def test_the_longest_output_allowed() -> None:
    assert expand("a" * MAX_LENGTH) == ["a" * MAX_LENGTH]


NESTED = (
    "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
    "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
)


@pytest.mark.parametrize(
    "template",
    [
        *(
            NESTED + use
            for use in (
                "{{ ns.a == ns.b }}", "{{ ns.a in [ns.b] }}", "{{ [ns.a, ns.b]|sort|length }}", "{{ 1|round(ns.a) }}",
                "{{ row[ns.a] }}", "{{ '%s' % ns.a }}", "{{ [ns.a]|select('eq', ns.b)|list|length }}",
            )
        ),
        NESTED.replace("[ns.a, ns.a]", "(ns.a, ns.a)") + "{{ [ns.a]|unique|list|length }}",
        NESTED.replace("[ns.a, ns.a]", "{'x': ns.a, 'y': ns.a}") + "{{ ns.a == ns.b }}",
        NESTED.replace("[ns.a, ns.a]", "[ns.a] * 2") + "{{ ns.a == ns.b }}",
        NESTED.replace("[ns.a, ns.a]", "[ns.a] + [ns.a]") + "{{ ns.a == ns.b }}",
        "{{ ([[1] * 20000] * 20000)|sum(start=[])|length }}",
        "{{ [[1], [2]]|sum(start=[]) }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + [[1] * 20000] %}{% endfor %}",
        "{% for i in range(9999) %}{% set x = 'ab' * 9999 in 'ba' * 9999 %}{% endfor %}",
        "{% for i in range(9999) %}{{ prompt.count('ab') }}{% endfor %}",
        "x" * 100_001,
    ],
)  # fmt: skip
def test_values_within_values_are_bounded_however_they_are_made(template: str) -> None:
    before = time.process_time()
    with pytest.raises(TemplateError, match=r"parts|steps|only numbers|the limit is"):
        PromptTemplate(template).render(Row(1, {"x": "1"}), "ab" * 400_000, "p.csv")
    assert time.process_time() - before < 5


def test_an_accent_by_the_thousand_takes_no_longer_than_a_letter() -> None:
    marks = "\u0315\u0300" * 9_000
    before = time.process_time()
    rendered = PromptTemplate("{% for i in range(100) %}{% set s = x|slug %}{% endfor %}{{ x|slug }}").render(
        Row(1, {"x": f"e{marks}"}), None, "p.csv"
    )
    assert rendered.plain() == "e"
    assert time.process_time() - before < 30


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_not_printed(value: float) -> None:
    with pytest.raises(TemplateError, match="not a number"):
        PromptTemplate("{{ x }}").render(Row(1, {"x": value}), None, "p.csv")
