"""The Jinja environment that prompt templates run in: no way out, no way to run for ever, nothing random.

Jinja's own sandbox keeps templates away from Python's internals. It does not keep them from eating the machine
(`{{ 'a' * 10**9 }}`, loops in loops), and it leaves in things that make no sense for prompts: `random` would make every
reading of a file another purchase, and printing a list would send its Python spelling. So this environment

- counts steps: loops, calls, filters, operators and outputs draw on one allowance per rendering. Steps, not seconds, so
  that a template fails on every machine or on none;
- bounds every value that can grow: text by length, lists by all that is in them, whole numbers by bits;
- has only the filters in `_filters` and the methods in `_METHODS`;
- prints text and numbers only, and quotes what it prints (see `quoting`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import BuiltinMethodType
from typing import Any

from jinja2 import Environment, StrictUndefined, nodes, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS, make_attrgetter
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from ..values import slug
from .quoting import quote
from .visible import is_blank

MAX_LENGTH = 20_000
"""Characters of one rendered prompt, and of every text or list on the way. Image models take a few thousand."""

MAX_STEPS = 100_000
"""Steps of one rendering; a loop's iteration costs one and more in a long template."""

MAX_RANGE = 10_000
"""Numbers that `range` may span."""

_CHARACTERS = 16
"""Characters of a text that weigh as much as one part of a list."""

_MAX_BITS = 4096
_MAX_DIGITS = 20


class _Meter:
    """What is left of one rendering's allowance."""

    __slots__ = ("left", "loop_cost")

    def __init__(self, template_length: int) -> None:
        self.left = MAX_STEPS
        # An iteration may print the whole template; charging for its length bounds what macros can pile up.
        self.loop_cost = 1 + template_length // 100


_METER: ContextVar[_Meter] = ContextVar("prefect_imagen_template_meter")


@contextmanager
def allowance(template_length: int) -> Iterator[None]:
    """Everything a template does within this block shares one allowance of `MAX_STEPS`."""
    token = _METER.set(_Meter(template_length))
    try:
        yield
    finally:
        _METER.reset(token)


def _charge(steps: int) -> None:
    meter = _METER.get()
    meter.left -= steps
    if meter.left < 0:
        raise SecurityError(f"the template does not come to an end within {MAX_STEPS:,} steps")


def _bounded(length: int) -> None:
    if length > MAX_LENGTH:
        raise SecurityError(f"the template builds a value of more than {MAX_LENGTH:,} characters or parts")


def _weight(value: object) -> int:
    """What walking through a value costs, at most `MAX_LENGTH`: a list within a list counts as often as it is there.

    Comparing, sorting, hashing and printing all walk through the values within a value. Lists that hold each other
    double with every level, so that their length alone says nothing.
    """
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS
    if not isinstance(value, list | tuple | dict):
        return 1
    pending: list[object] = [value]
    weight = 0
    while pending:
        one = pending.pop()
        if isinstance(one, list | tuple | dict):
            weight += len(one)
            _bounded(weight)
            pending.extend(one)
            if isinstance(one, dict):
                pending.extend(one.values())
        weight += 1 + (len(one) // _CHARACTERS if isinstance(one, str) else 0)
        _bounded(weight)
    return weight


def _weighed(value: Any) -> Any:
    """A value whose size is known to be within the limit, charged for."""
    _charge(1 + _weight(value) // 100)
    return value


def _loop(items: Any) -> Any:
    """Charge for looping over `items`: at once where the length is known, else as they come."""
    cost = _METER.get().loop_cost
    if isinstance(items, Sized) and not isinstance(items, Undefined):
        _charge(len(items) * cost)
        return items
    return _charged(items, cost)


def _charged(items: Iterable[Any], cost: int) -> Iterator[Any]:
    for item in items:
        _charge(cost)
        yield item


class _VariantText(str):
    """A value that is to be read as variants: the mark that the filter `variants` leaves for `_finalize`."""

    __slots__ = ()


def _text(value: object) -> str:
    """A value as a user would write it. Lists, objects and null have no such form."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise SecurityError(
            f"a value is {value}, which is not a number; leave its row out, or give what to write instead"
        )
    if isinstance(value, bool | int | float | Undefined):
        return str(value)
    if value is None:
        raise SecurityError("a value is null; give what to write instead, like {{ style|default('photo', true) }}")
    hint = "; write its items, like {{ colours|join(', ') }}" if isinstance(value, list | tuple) else ""
    raise SecurityError(f"a {type(value).__name__} cannot be written into a prompt{hint}")


def _finalize(value: object) -> str:
    text = _text(value)
    _bounded(len(text))
    _charge(1 + len(text) // 100)
    return str(text) if isinstance(value, _VariantText) else quote(text)


def _concat(values: Iterable[object]) -> str:
    parts = [_text(value) for value in values]
    _bounded(sum(map(len, parts)))
    return "".join(parts)


def _join(values: Iterable[object], separator: object = "") -> str:
    parts: list[str] = []
    between, length = _text(separator), 0
    for value in values:
        parts.append(_text(value))
        length += len(parts[-1]) + len(between)
        _bounded(length)
    return between.join(parts)


def _replace(text: str, old: object, new: object, count: int = -1) -> str:
    before, after = _text(old), _text(new)
    found = text.count(before)
    _bounded(len(text) + (found if count < 0 else min(found, count)) * max(0, len(after) - len(before)))
    return text.replace(before, after, count)


def _format(text: str, *values: object, **named: object) -> str:
    """printf-style formatting, `{{ '%03d'|format(number) }}`."""
    if re.search(r"\*|[0-9]{4}", text):
        raise SecurityError(f"the format {text[:40]!r} has a width of more than three digits")
    for value in (*values, *named.values()):
        _text(value)
    formatted = text % (named or values)
    _bounded(len(formatted))
    return formatted


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if not isinstance(precision, int) or abs(precision) > _MAX_DIGITS:
        raise SecurityError(f"round: the precision is a whole number, at most {_MAX_DIGITS} digits")
    rounding: dict[str, Callable[[float], float]] = {"ceil": math.ceil, "floor": math.floor}
    if method == "common":
        return float(round(value, precision))
    if not isinstance(method, str) or method not in rounding:
        raise SecurityError("round: the method is one of 'common', 'ceil', 'floor'")
    scale = 10.0**precision
    return rounding[method](value * scale) / scale


def _truncate_prompt(text: str, length: int) -> str:
    """At most `length` characters, cut between words where there are any, with nothing added."""
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise SecurityError("truncate_prompt: give the number of characters, 1 or more")
    if len(text) <= length:
        return text
    head = text[:length]
    if not text[length].isspace() and (words := re.match(r"(?s).*\S(?=\s)", head)):
        head = words.group()
    return head.rstrip()


def _metered(function: Callable[..., Any], *, of_text: bool) -> Callable[..., Any]:
    """A filter or test that is charged for, takes text only if `of_text`, and returns nothing over the limit."""
    # Jinja passes its environment or context first to functions that carry this mark; `wraps` keeps the mark.
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        for given in (*args[at:], *kwargs.values()):
            _weighed(given)
        if of_text:
            args = (*args[:at], _text(args[at]), *args[at + 1 :])
        result = function(*args, **kwargs)
        if isinstance(result, str):
            _bounded(len(result))
        return _weighed(result)

    return metered


@pass_environment
def _sum(
    environment: Environment, values: Iterable[Any], attribute: str | int | None = None, start: float = 0
) -> float:
    """The sum of numbers. Jinja's would join lists, copying them once for every item."""
    total = start
    for value in values if attribute is None else map(make_attrgetter(environment, attribute), values):
        if not isinstance(value, int | float) or not isinstance(total, int | float):
            raise SecurityError("sum: only numbers can be added up")
        total += value
    return total


# Names that no template can spell.
_LOOP = "loop over"
_CONCAT = "concatenate"
_WEIGHED = "weigh up"
_FILLED = "be filled"


def _filters() -> dict[str, Callable[..., Any]]:
    """The filters by name; `_Metering` uses those that no template can spell."""
    jinja_of_text = ("capitalize", "lower", "title", "trim", "truncate", "upper", "wordcount")
    jinja_of_any = (
        "abs", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items", "last", "length",
        "list", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "unique",
    )  # fmt: skip
    own_of_text: Mapping[str, Callable[..., Any]] = {
        "format": _format,
        "replace": _replace,
        "slug": slug,
        "string": _text,
        "truncate_prompt": _truncate_prompt,
        "variants": _VariantText,
    }
    return {
        **{name: _metered(FILTERS[name], of_text=True) for name in jinja_of_text},
        **{name: _metered(FILTERS[name], of_text=False) for name in jinja_of_any},
        **{name: _metered(function, of_text=True) for name, function in own_of_text.items()},
        "join": _metered(_join, of_text=False),
        "round": _metered(_round, of_text=False),
        "sum": _metered(_sum, of_text=False),
        _CONCAT: _metered(_concat, of_text=False),
        _LOOP: _loop,
        _WEIGHED: _weighed,
        _FILLED: _filled,
    }


_TEXT_METHODS = (
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdigit",
    "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines",
    "startswith", "strip", "swapcase", "title", "upper",
)  # fmt: skip

_METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset(_TEXT_METHODS)),
    (dict, frozenset(("get", "items", "keys", "values"))),
    (list, frozenset(("count", "index"))),
    (tuple, frozenset(("count", "index"))),
)
"""What may be called on a value: nothing that changes it or builds text of any size (`zfill`, `format`)."""


def _filled(value: object, column: str) -> object:
    """A column's value that is printed. An empty cell leaves a hole in the prompt, as null does."""
    if isinstance(value, str) and is_blank(value):
        raise SecurityError(
            f"{column!r} is empty in this row; allow for it, like {{{{ {column}|default('', true) }}}} or "
            f"{{% if {column} %}}, "
            f"or leave such rows out, like --exclude '{column}=\"\"'"
        )
    return value


def _column_of(node: nodes.Node) -> str | None:
    """The column whose value an expression prints, filtered or not; None where a default is given."""
    while isinstance(node, nodes.Filter) and node.node is not None:
        if node.name in ("d", "default"):
            return None
        node = node.node
    if isinstance(node, nodes.Name):
        return node.name
    if (
        isinstance(node, nodes.Getitem | nodes.Getattr)
        and isinstance(node.node, nodes.Name)
        and node.node.name == "row"
    ):
        if isinstance(node, nodes.Getattr):
            return node.attr
        return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None
    return None


class _Metering(NodeTransformer):
    """Puts what Jinja offers no hook for through filters of ours: `for`, `~`, lists, comparisons, what is printed."""

    def __init__(self, columns: Collection[str]) -> None:
        self._columns = columns

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        printed = [_column_of(one) for one in node.nodes]
        self.generic_visit(node)
        node.nodes = [
            nodes.Filter(one, _FILLED, [nodes.Const(column)], [], None, None, lineno=one.lineno)
            if column in self._columns
            else one
            for one, column in zip(node.nodes, printed, strict=True)
        ]
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - named after the node
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _LOOP)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), _CONCAT)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _WEIGHED)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _WEIGHED)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        # Otherwise the names that a loop or an assignment gives.
        return _filtered(node, _WEIGHED) if node.ctx == "load" else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _WEIGHED)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _WEIGHED)
        return node


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    # Not len(): it overflows where the span does not fit a machine word.
    if numbers and abs(numbers[-1] - numbers[0]) // abs(numbers.step) >= MAX_RANGE:
        raise SecurityError(f"range() spans more than {MAX_RANGE:,} numbers")
    return numbers


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """See the module. Comments are `<#-- … --#>`: Jinja's `{# … #}` would swallow `{#sale|#new}`."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=_finalize,
            comment_start_string="<#--",
            comment_end_string="--#>",
            autoescape=False,
        )
        self.filters = _filters()
        tests: Mapping[str, Any] = TESTS
        self.tests = {name: _metered(test, of_text=False) for name, test in tests.items()}
        self.globals = {"dict": dict, "namespace": Namespace, "range": _range}

    def metered(self, tree: nodes.Template, columns: Collection[str]) -> nodes.Template:
        """The same template, charged for its loops and concatenations. Changes `tree`.

        Args:
            columns: Names that must not be empty where they are printed.
        """
        _Metering(columns).visit(tree)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the methods in `_METHODS`, and what `loop` and `namespace` have."""
        if isinstance(obj, LoopContext | Namespace):
            return super().is_safe_attribute(obj, attr, value)
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """What stands in for an attribute that is kept back: raises when it is used."""
        return self.undefined(
            f"{attribute!r} of a {type(obj).__name__} is not available in templates",
            name=attribute,
            obj=obj,
            exc=SecurityError,
        )

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is no exception to `is_safe_attribute`; the filter `format` takes its place."""

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Charge for a call, and bound the methods whose result can be much longer than their arguments."""
        _charge(_METER.get().loop_cost)
        for given in (*args, *kwargs.values()):
            _weighed(given)
        if isinstance(obj, BuiltinMethodType) and isinstance(obj.__self__, str | list | tuple):
            _weighed(obj.__self__)
        if isinstance(obj, BuiltinMethodType) and isinstance(obj.__self__, str):
            if obj.__name__ == "replace":
                return _replace(obj.__self__, *args, **kwargs)
            if obj.__name__ == "join" and len(args) == 1:
                return _join(args[0], obj.__self__)
        if isinstance(obj, LoopContext) and args:
            args = (_loop(args[0]), *args[1:])
        return _weighed(super().call(context, obj, *args, **kwargs))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Charge for a slice, which is a copy."""
        found = super().getitem(obj, argument)
        return _weighed(found) if isinstance(argument, slice) else found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Charge for an operator, and refuse one whose result would be over the limits before it is built."""
        _charge(1)
        if operator == "%" and isinstance(left, str):
            if isinstance(right, Mapping):
                return _format(left, **right)
            return _format(left, *right) if isinstance(right, tuple) else _format(left, right)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _bounded(len(left) + len(right))
        elif operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(times, int):
                    _bounded(len(many) * times)
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length()
            if operator == "*":
                bits += right.bit_length()
            elif operator == "**":
                bits *= max(right, 1)
            if bits > _MAX_BITS:
                raise SecurityError("the template calculates a number that is too large")
        return _weighed(super().call_binop(context, operator, left, right))
