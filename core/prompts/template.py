"""A Jinja template over the columns of a row: `a {{ animal|lower }} in {spring|autumn}`.

What a template sees
    Every column by its name; `row`, all columns as a dict (`row["Film title"]` for names that are not identifiers);
    `prompt`, the text of the prompt column where there is one.

Order
    The template is rendered first; variants in the result are multiplied out afterwards. Values are data: a value is
    never rendered as a template, and nothing in it is a variant, a wildcard or a variable. `{{ style|variants }}` (last
    in its chain of filters) lets a value's braces count. A wildcard may be named by a column, `__{{ region }}__`: the
    underscores are the template's.

What differs from Jinja elsewhere
    - Comments are `<#-- … --#>`, so that `{#sale|#new}` is what it looks like.
    - `{{` and `{%` still open Jinja's tags: variants that begin like that go into a raw block,
      `{% raw %}{{a|b} c|d}{% endraw %}`.
    - What macros and `{% set %}` blocks return is a value too; `|variants` lets its braces count.
    - A name that does not exist is an error, not an empty string. `{{ style|default("photo") }}` and
      `{% if style is defined %}` allow for it. So is a column that is empty in a row where it is printed:
      `{{ style|default("", true) }}` and `{% if style %}` allow for that.
    - A template that names no column is an error.
    - It is sandboxed and bounded, and has no `random`: see `jinja_env`.

Filters: those of Jinja that make sense for prompts, and `slug`, `truncate_prompt(n)` (cut between words), `variants`.

>>> template = PromptTemplate("{small|large} {{ animal|upper }}")
>>> rendered = template.render(Row(1, {"animal": "cat {x}"}), None, "<list>")
>>> [variant.text for variant in rendered.variants().expand()]
['small CAT {X}', 'large CAT {X}']
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import meta, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError

from ..errors import forget_deep_frames
from .errors import TemplateError
from .jinja_env import MAX_LENGTH, PromptEnvironment, allowance
from .quoting import STAND_INS, unquote
from .resolve import Resolver
from .sources import Row
from .suggestions import listed, nearest, shortened
from .variants import Variants, parse

MAX_TEMPLATE = 100_000
"""Characters of a template."""

_FILENAME = "<template>"
_NAMED_BY_VALUE = re.compile(r"__(?:[\w\-.*/]*\{\{[^{}]*\}\})+[\w\-.*/]*__")
_UNDEFINED = re.compile(r"'(?P<name>.*)' is undefined|'dict object' has no attribute '(?P<key>.*)'", re.DOTALL)
_STAND_IN_NAMES = "a Unicode noncharacter (U+FDD0 to U+FDDD)"
_QUOTED = re.compile(f"[{STAND_INS}]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template's output, in which what came from values is still told from what came from the template."""

    _quoted: str
    _named_by_values: bool = False

    def plain(self) -> str:
        """The output as text, where braces mean nothing."""
        return unquote(self._quoted)

    def variants(self, resolver: Resolver | None = None) -> Variants:
        """The output as variants, in which all that came from values is plain."""
        return parse(self._quoted, resolver, quoted=True, named_by_values=self._named_by_values)


class PromptTemplate:
    """A template, parsed and compiled once.

    Raises:
        TemplateError: It cannot be parsed, or uses a filter or test that does not exist.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._named_by_values = _NAMED_BY_VALUE.search(source) is not None
        if len(source) > MAX_TEMPLATE:
            raise TemplateError(f"it has {len(source):,} characters; the limit is {MAX_TEMPLATE:,}")
        environment = _environment()
        if _QUOTED.search(source):
            raise TemplateError(f"it contains {_STAND_IN_NAMES}; remove it")
        try:
            tree = environment.parse(source)
            # Constant expressions are calculated while compiling.
            with allowance(len(source)):
                self._names = meta.find_undeclared_variables(tree)
                self._columns = _required(tree)
                code = environment.compile(
                    environment.metered(tree, {name for name, _ in self._columns}), filename=_FILENAME
                )
        except TemplateSyntaxError as error:
            raise TemplateError(_syntax_problem(error, source), error.lineno) from error
        except Exception as error:
            # Nesting too deep for the compiler, for one.
            forget_deep_frames(error)
            raise TemplateError(f"it cannot be compiled: {_reason(error)}") from error
        self._template = environment.template_class.from_code(environment, code, dict(environment.globals), None)

    def check(self, columns: Collection[str] | None, *, has_prompt: bool) -> None:
        """Look for names that no row can have, before any row is read.

        Names under `default` or `is defined` are allowed to be missing.

        Args:
            columns: Those that every row has; None where rows differ.

        Raises:
            TemplateError: A name is neither a column nor anything else that templates know; or there is none, as where
                another program has filled in the template already.
        """
        if not self._names:
            raise TemplateError(
                "it names no column, so that every row would be the same prompt; a column is written {{ name }} (which "
                "`prefect deploy` empties in prefect.yaml: write {{ (name) }} there)"
            )
        if columns is None:
            return
        known = {*columns, "row", *(("prompt",) if has_prompt else ())}
        for (name, in_row), line in self._columns.items():
            if name not in (columns if in_row else known):
                raise TemplateError(_unknown(name, columns), line)

    def render(self, row: Row, prompt: str | None, source: str) -> Rendered:
        """The template filled in from one row.

        Args:
            prompt: What the name `prompt` stands for; None where there is no prompt column.

        Raises:
            TemplateError: A name does not exist in this row, an operation is not allowed or failed, or the rendering
                goes over the limits of `jinja_env`.
        """
        if _holds_stand_ins(row.values):
            problem = f"a column contains {_STAND_IN_NAMES}; remove it"
            raise TemplateError(problem, None, source, row.line)
        names = {**row.values, "row": dict(row.values)}
        if prompt is not None:
            names["prompt"] = prompt
        pieces: list[str] = []
        length = 0
        try:
            with allowance(len(self.source)):
                for piece in self._template.generate(names):
                    pieces.append(piece)
                    length += len(piece)
                    if length > MAX_LENGTH:
                        break
        except UndefinedError as error:
            raise TemplateError(self._undefined_problem(error, row.values), _line(error), source, row.line) from error
        except Exception as error:
            # A template can raise whatever the operations on its values raise.
            reason, line = _reason(error), _line(error)
            forget_deep_frames(error)
            raise TemplateError(reason, line, source, row.line) from error
        if length > MAX_LENGTH:
            raise TemplateError(f"it prints more than {MAX_LENGTH:,} characters", None, source, row.line)
        return Rendered("".join(pieces), self._named_by_values)

    def _undefined_problem(self, error: UndefinedError, columns: Collection[str]) -> str:
        found = _UNDEFINED.fullmatch(error.message or "")
        if found is None or (found["key"] is not None and (found["key"], True) not in self._columns):
            return _reason(error)
        return _unknown(found["name"] or found["key"], columns)


@cache
def _environment() -> PromptEnvironment:
    return PromptEnvironment()


def _required(tree: nodes.Template) -> Mapping[tuple[str, bool], int]:
    """(name, whether asked of `row`) → first line, of everything that has to exist."""
    undeclared = meta.find_undeclared_variables(tree)
    optional = {_named(node.node) for node in tree.find_all(nodes.Filter) if node.name in ("d", "default")}
    optional |= {_named(node.node) for node in tree.find_all(nodes.Test) if node.name in ("defined", "undefined")}
    required: dict[tuple[str, bool], int] = {}
    for node in tree.find_all((nodes.Name, nodes.Getitem, nodes.Getattr)):
        named = _named(node)
        if named is not None and named not in optional and (named[1] or named[0] in undeclared):
            required.setdefault(named, node.lineno)
    return required


def _named(node: nodes.Node | None) -> tuple[str, bool] | None:
    """The column that an expression names: `style` and `row["style"]` do."""
    if isinstance(node, nodes.Name):
        return node.name, False
    if not isinstance(node, nodes.Getitem | nodes.Getattr):
        return None
    if not isinstance(node.node, nodes.Name) or node.node.name != "row":
        return None
    if isinstance(node, nodes.Getattr):
        return None if hasattr(dict, node.attr) else (node.attr, True)
    return (node.arg.value, True) if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None


def _unknown(name: str, columns: Collection[str]) -> str:
    spelled = [column if column.isidentifier() else f'row["{column}"]' for column in nearest(name, columns)]
    hint = f"; did you mean {' or '.join(spelled)}?" if spelled else "."
    return f"there is no column {shortened(name)}{hint} The columns are {listed(columns)}"


def _syntax_problem(error: TemplateSyntaxError, source: str) -> str:
    problem = error.message or "it cannot be parsed"
    if problem.startswith("No filter named"):
        name = problem.split("'")[1]
        close = nearest(name, (known for known in _environment().filters if " " not in known))
        return f"there is no filter {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
    if "{{" in source and "'}'" in problem:
        problem += (
            "; '{{' opens a Jinja expression: variants that begin with two braces are written "
            "{% raw %}{{a|b} c|d}{% endraw %}"
        )
    return problem


def _holds_stand_ins(values: Mapping[str, Any]) -> bool:
    """Whether a character that stands for a quoted one is anywhere in `values`; a loop, since JSON may nest deeply."""
    pending: list[Any] = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if _QUOTED.search(value):
                return True
        elif isinstance(value, Mapping):
            pending.extend((*value.keys(), *value.values()))
        elif isinstance(value, list):
            pending.extend(value)
    return False


def _line(error: BaseException) -> int | None:
    """The line of the template in which `error` arose: Jinja puts the template's own lines into the traceback."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it nests or calls itself too deeply"
    return str(error) or type(error).__name__
