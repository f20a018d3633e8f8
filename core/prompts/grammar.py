r"""The syntax of prompts: text → tree, tree → text.

    text        = { plain | choice | wildcard | assignment | reference }
    choice      = "{" [ pick ] alternative { "|" alternative } "}"
    pick        = ( N | N "-" [ N ] | "-" [ N ] ) [ "!" ] "$$" [ separator "$$" ]
    alternative = [ weight "::" ] text                      text may be empty; weight: a decimal number above 0
    wildcard    = "__" name [ "(" argument { "," argument } ")" ] "__"
    argument    = variable "=" [ "!" ] text                 up to the next "," or ")"
    assignment  = "${" variable "=" [ "!" ] text "}"
    reference   = "${" variable [ ":" text ] "}"
    variable    = letter or "_", then letters, digits, "_"
    name        = anything but white space and { } | \ ( ) $, not beginning with "_"

What is plain
    Everything else. A single `$ % # @ & < > / _ :` or a `//` is never special; `|` and `::` mean something only within
    a choice, `$$` only after its first number. `${` opens a variable only where a variable's name and `=`, `:` or `}`
    follow, so `${5|10}` is a dollar sign and a choice. `__` opens a wildcard only where a name and a closing `__`
    follow without white space between: `snake_case` and `____` are text.

Escapes
    `\{ \| \} \$ \\` are the plain character, `\__` two plain underscores, `\::` two plain colons; in an argument also
    `\,` and `\)`, and `\!` at the beginning of an argument or an assigned value. Any other backslash is a backslash.

What looks like a construct and is none is an error with its place, never text that would be sent as it stands: an
unclosed brace, a weight of 0, `{3-2$$…}`, `__{a|b}__`. The parser is a loop, not a recursion, and nesting is bounded:
no text can exhaust the stack.

>>> write(read(r"{3::red|blue} \{50% off\} {2$$ and $$a|b|__fruit__}"))
'{3::red|blue} \\{50% off\\} {2$$ and $$a|b|__fruit__}'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from .errors import VariantError
from .quoting import unquote

MAX_DEPTH = 50
"""Constructs within constructs. People need two or three; walking the tree is recursive, so there has to be an end."""

DEFAULT_SEPARATOR = ", "
"""What `{2$$a|b|c}` puts between what it takes."""

_MAX_PICK_DIGITS = 6
_NAME = r"[^\W\d]\w*"
_INTERESTING = re.compile(r"[\\{|}]|__|\$\{")
_TOKEN = re.compile(
    rf"""
      (?P<escape> \\[\\{{|}}$] | \\__ | \\:: )
    | (?P<local> \\[,)] )
    | \$\{{ \s* (?P<variable>{_NAME}) \s* (?: (?P<set>=!?) | (?P<else>:) | (?=\}}) )
    | __ (?P<wildcard>[^\s_{{}}|\\()$][^\s{{}}|\\()$]*?) (?: __ | \( \s* \) __ | (?P<call>\( (?= \s*{_NAME}\s*=)) )
    | (?P<dynamic> (?<!_)__(?=\{{|\$\{{) )
    | (?P<brace> [{{|}}] )
    | (?P<argument> [,)] )
    | (?P<plain> [^\\{{|}}$_,)]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_WILDCARD_NAME = re.compile(r"[\w\-.*/]+")
_ARGUMENT = re.compile(rf"\s*(?P<name>{_NAME})\s*=(?P<now>!?)")
_PICK = re.compile(
    r"\s*(?P<least>\d*)(?P<range>-?)(?P<most>\d*)(?P<permute>!?)\s*\$\$(?:(?P<separator>(?:[^\\{}|$]|\\.|\$(?!\$))*)\$\$)?",
    re.DOTALL,
)
_WEIGHT = re.compile(r"\s*(?P<weight>[-+]?[\d.][\d.,_eE+-]*)\s*::")
_DECIMAL = re.compile(r"\d{1,12}(?:\.\d{0,12})?|\.\d{1,12}")
_BANG = re.compile(r"\\!")
_SPECIAL = re.compile(r"[\\{|}]|__|::|\$(?=[${]|\Z)")
_SEPARATOR_ESCAPE = re.compile(r"\\([\\{}|$])")


@dataclass(frozen=True, slots=True)
class Plain:
    """Characters that stand for themselves, escapes resolved."""

    text: str
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Pick:
    """How many alternatives a choice takes, and how they are joined.

    Attributes:
        least: At least so many.
        most: At most so many; None for all there are.
        separator: Stands between them.
        permute: Whether every order of the same alternatives is a combination of its own.
    """

    least: int
    most: int | None
    separator: str = DEFAULT_SEPARATOR
    permute: bool = False


@dataclass(frozen=True, slots=True)
class Alternative:
    """One alternative of a choice; `weight` is None where none is written."""

    content: Concat
    weight: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """`{…|…}`: one of its alternatives, or several with `pick`."""

    alternatives: tuple[Alternative, ...]
    pick: Pick | None = None
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Argument:
    """A variable for the values of one wildcard."""

    name: str
    value: Concat
    immediate: bool = False


@dataclass(frozen=True, slots=True)
class WildcardUse:
    """`__name__`: one of the values under that name, or under all names that fit where it has a `*`."""

    name: str
    arguments: tuple[Argument, ...] = ()
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`${name=value}`: prints nothing. `immediate` (`=!`): decided once, and the same in every use."""

    name: str
    value: Concat
    immediate: bool = False
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """`${name}` or `${name:default}`."""

    name: str
    default: Concat | None = None
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


Part = Plain | Choice | WildcardUse | Assignment | Reference


@dataclass(frozen=True, slots=True)
class Concat:
    """What stands one after the other: a whole text, an alternative, a value."""

    parts: tuple[Part, ...]
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


class _Frame:
    """A construct that is being read: what is complete of it, and the sequence at hand."""

    __slots__ = ("_at", "_text", "parts", "since", "start")

    opening = ""

    def __init__(self, start: int, since: int) -> None:
        self.start = start
        self.since = since
        self.parts: list[Part] = []
        self._text: list[str] = []
        self._at = since

    def add_text(self, text: str, at: int) -> None:
        if not self._text:
            self._at = at
        self._text.append(text)

    def add(self, part: Part) -> None:
        self._end_text(part.start)
        self.parts.append(part)

    def sequence(self, end: int) -> Concat:
        """What was read since the last call."""
        self._end_text(end)
        done = Concat(tuple(self.parts), self.since, end)
        self.parts = []
        return done

    def _end_text(self, end: int) -> None:
        if self._text:
            self.parts.append(Plain("".join(self._text), self._at, end))
            self._text = []


class _Root(_Frame):
    __slots__ = ()


class _ChoiceFrame(_Frame):
    __slots__ = ("alternatives", "pick", "weight")

    opening = "{"

    def __init__(self, start: int, since: int, pick: Pick | None) -> None:
        super().__init__(start, since)
        self.pick = pick
        self.weight: Decimal | None = None
        self.alternatives: list[Alternative] = []

    def end_alternative(self, at: int) -> None:
        self.alternatives.append(Alternative(self.sequence(at), self.weight))
        self.weight = None

    def close(self, at: int) -> Choice:
        self.end_alternative(at)
        return Choice(tuple(self.alternatives), self.pick, self.start, at + 1)


class _VariableFrame(_Frame):
    """The value of an assignment or the default of a reference."""

    __slots__ = ("name", "operator")

    opening = "${"

    def __init__(self, start: int, since: int, name: str, operator: str) -> None:
        super().__init__(start, since)
        self.name = name
        self.operator = operator

    def close(self, at: int) -> Part:
        value = self.sequence(at)
        if self.operator == ":":
            return Reference(self.name, value, self.start, at + 1)
        return Assignment(self.name, value, self.operator == "=!", self.start, at + 1)


class _CallFrame(_Frame):
    """The arguments of a wildcard."""

    __slots__ = ("argument", "arguments", "immediate", "name")

    opening = "("

    def __init__(self, start: int, since: int, name: str) -> None:
        super().__init__(start, since)
        self.name = name
        self.argument = ""
        self.immediate = False
        self.arguments: list[Argument] = []

    def end_argument(self, at: int) -> None:
        self.arguments.append(Argument(self.argument, self.sequence(at), self.immediate))


def read(text: str, *, quoted: bool = False) -> Concat:
    """The tree of a text.

    Args:
        text: See the module.
        quoted: Whether stand-ins of `quoting` in it are plain characters of values.

    Raises:
        VariantError: See the module; the error knows the place.
    """
    # Most rows of most files are plain sentences, and there may be a million of them.
    if _INTERESTING.search(text) is None:
        plain = unquote(text) if quoted else text
        return Concat((Plain(plain, 0, len(text)),) if text else (), 0, len(text))
    return _Reader(text, quoted=quoted).read()


def read_weighted(text: str) -> Alternative:
    """A wildcard's value: a text that may begin with a weight, as an alternative may.

    Raises:
        VariantError: See the module; the error knows the place.
    """
    weight, at = _weight(text, 0)
    if weight is None:
        return Alternative(read(text))
    return Alternative(_Reader(text, at).read(), weight)


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str, at: int = 0, *, quoted: bool = False) -> None:
        self._text = text
        self._shown: Callable[[str], str] = unquote if quoted else str
        self._at = at
        self._stack: list[_Frame] = [_Root(-1, at)]

    def read(self) -> Concat:
        text = self._text
        while (match := _TOKEN.match(text, self._at)) is not None:
            at, self._at = self._at, match.end()
            here = self._stack[-1]
            kind = match.lastgroup
            if kind == "brace":
                self._brace(match.group(), at)
            elif kind == "variable" or kind == "set" or kind == "else":
                self._variable(match, at)
            elif kind == "wildcard" or kind == "call":
                self._wildcard(match, at)
            elif kind == "argument" and isinstance(here, _CallFrame):
                self._argument(here, match.group(), at)
            elif kind == "escape" or (kind == "local" and isinstance(here, _CallFrame)):
                here.add_text(match.group()[1:], at)
            elif kind == "dynamic":
                raise self._error(
                    r"'__' before a brace: a wildcard's name is fixed, so write {__a__|__b__}; or '\__' for plain text",
                    at,
                )
            elif kind == "local":
                # Only the backslash: what follows may mean something by itself.
                here.add_text("\\", at)
                self._at = at + 1
            else:
                here.add_text(self._shown(match.group()), at)
        if len(self._stack) > 1:
            raise self._unclosed(self._stack[-1])
        return self._stack[0].sequence(len(text))

    def _brace(self, brace: str, at: int) -> None:
        here = self._stack[-1]
        if brace == "{":
            self._open(_ChoiceFrame(at, self._at, self._pick(at)))
            self._begin_alternative()
        elif brace == "|":
            if isinstance(here, _ChoiceFrame):
                here.end_alternative(at)
                self._begin_alternative()
            else:
                here.add_text("|", at)
        elif isinstance(here, _ChoiceFrame | _VariableFrame):
            self._stack.pop()
            self._stack[-1].add(here.close(at))
        elif isinstance(here, _CallFrame):
            raise self._unclosed(here)
        else:
            raise self._error(r"'}' without a '{': write '\}' for a plain brace", at)

    def _pick(self, at: int) -> Pick | None:
        match = _PICK.match(self._text, self._at)
        if match is None or not (match["least"] or match["range"]):
            return None
        if max(len(match["least"]), len(match["most"])) > _MAX_PICK_DIGITS:
            raise self._error("a number before '$$' is too large", at + 1)
        least = int(match["least"] or 1)
        most = (int(match["most"]) if match["most"] else None) if match["range"] else least
        if most is not None and most < least:
            raise self._error(f"{match['least']}-{match['most']}: the smaller number comes first", at + 1)
        if most == 0:
            raise self._error(r"0 of the alternatives are taken; write '\$' for a plain dollar sign", at + 1)
        self._at = match.end()
        separator = match["separator"]
        if separator is None:
            separator = DEFAULT_SEPARATOR
        return Pick(least, most, self._shown(_SEPARATOR_ESCAPE.sub(r"\1", separator)), bool(match["permute"]))

    def _begin_alternative(self) -> None:
        here = self._stack[-1]
        assert isinstance(here, _ChoiceFrame)  # noqa: S101 - for the type checker
        here.weight, self._at = _weight(self._text, self._at, self._shown)
        here.since = self._at

    def _variable(self, match: re.Match[str], at: int) -> None:
        operator = match["set"] or match["else"]
        if operator is None:
            self._at += 1
            self._stack[-1].add(Reference(match["variable"], None, at, self._at))
            return
        self._open(_VariableFrame(at, self._at, match["variable"], operator))
        if operator != ":":
            self._skip_bang()

    def _wildcard(self, match: re.Match[str], at: int) -> None:
        name = self._shown(match["wildcard"])
        if _WILDCARD_NAME.fullmatch(name) is None:
            raise self._error(
                f"{name!r} cannot be a wildcard's name (letters, digits, '-', '_', '.', '/', '*'); "
                r"write '\__' for plain underscores",
                at,
            )
        if match["call"] is None:
            self._stack[-1].add(WildcardUse(name, (), at, self._at))
            return
        frame = _CallFrame(at, self._at, name)
        self._open(frame)
        self._begin_argument(frame)

    def _begin_argument(self, frame: _CallFrame) -> None:
        match = _ARGUMENT.match(self._text, self._at)
        if match is None:
            raise self._error(r"an argument is written name=value; a comma within a value is '\,'", self._at - 1)
        if any(match["name"] == argument.name for argument in frame.arguments):
            raise self._error(f"the argument {match['name']!r} is given twice", self._at)
        self._at = frame.since = match.end()
        frame.argument, frame.immediate = match["name"], bool(match["now"])
        self._skip_bang()

    def _argument(self, frame: _CallFrame, token: str, at: int) -> None:
        frame.end_argument(at)
        if token == ",":  # noqa: S105 - a comma, not a secret
            self._begin_argument(frame)
            return
        if not self._text.startswith("__", self._at):
            raise self._error(r"'__' has to follow the ')' of a wildcard; a parenthesis within a value is '\)'", at)
        self._at += 2
        self._stack.pop()
        self._stack[-1].add(WildcardUse(frame.name, tuple(frame.arguments), frame.start, self._at))

    def _skip_bang(self) -> None:
        if _BANG.match(self._text, self._at):
            self._stack[-1].add_text("!", self._at)
            self._at += 2

    def _open(self, frame: _Frame) -> None:
        if len(self._stack) > MAX_DEPTH:
            raise self._error(f"variants nest deeper than {MAX_DEPTH} levels", frame.start)
        self._stack.append(frame)

    def _unclosed(self, frame: _Frame) -> VariantError:
        if frame.opening == "(":
            return self._error(r"unclosed '(' of a wildcard: add ')__', or write '\__' for plain text", frame.start)
        if frame.opening == "${":
            return self._error(r"unclosed '${': add the missing '}', or write '$\{' for plain text", frame.start)
        return self._error(r"unclosed '{': add the missing '}', or write '\{' for a plain brace", frame.start)

    def _error(self, problem: str, at: int) -> VariantError:
        return VariantError(problem, self._shown(self._text), min(at, len(self._text) - 1))


def _weight(text: str, at: int, shown: Callable[[str], str] = str) -> tuple[Decimal | None, int]:
    match = _WEIGHT.match(text, at)
    if match is None:
        return None, at
    written = match["weight"]
    if _DECIMAL.fullmatch(written) is None or not (weight := Decimal(written)):
        raise VariantError(
            rf"the weight {written!r} is not a number above 0, like 3 or 0.5; write '\::' for plain colons",
            shown(text),
            match.start("weight"),
        )
    return weight, match.end()


def escape(text: str) -> str:
    r"""Spell `text` so that `read` reads it as exactly itself.

    >>> print(escape(r"{a|b} \o/ __init__"))
    \{a\|b\} \\o/ \__init\__
    """
    return _SPECIAL.sub(r"\\\g<0>", text)


def write(sequence: Concat) -> str:
    """A text that `read` reads as the same tree."""
    return _write(sequence.parts, in_arguments=False)


def _write(parts: Iterable[Part], *, in_arguments: bool) -> str:
    return "".join(_write_part(part, in_arguments=in_arguments) for part in parts)


def _write_part(part: Part, *, in_arguments: bool) -> str:
    match part:
        case Plain(text):
            text = escape(text)
            return re.sub(r"[,)]", r"\\\g<0>", text) if in_arguments else text
        case Choice(alternatives, pick):
            inner = "|".join(
                ("" if one.weight is None else f"{one.weight:f}::") + _write(one.content.parts, in_arguments=False)
                for one in alternatives
            )
            return "{" + ("" if pick is None else _write_pick(pick)) + inner + "}"
        case WildcardUse(name, arguments):
            written = ",".join(f"{one.name}={_write_value(one, in_arguments=True)}" for one in arguments)
            return f"__{name}({written})__" if arguments else f"__{name}__"
        case Assignment(name):
            return f"${{{name}={_write_value(part, in_arguments=False)}}}"
        case Reference(name, default):
            return f"${{{name}}}" if default is None else f"${{{name}:{_write(default.parts, in_arguments=False)}}}"


def _write_value(part: Argument | Assignment, *, in_arguments: bool) -> str:
    written = _write(part.value.parts, in_arguments=in_arguments)
    if part.immediate:
        return "!" + ("\\" + written if written.startswith("!") else written)
    return "\\" + written if written.startswith("!") else written


def _write_pick(pick: Pick) -> str:
    most = "" if pick.most is None else pick.most
    number = f"{pick.least}" if pick.most == pick.least else f"{pick.least}-{most}"
    separator = "" if pick.separator == DEFAULT_SEPARATOR else re.sub(r"[\\{}|$]", r"\\\g<0>", pick.separator) + "$$"
    return f"{number}{'!' if pick.permute else ''}$${separator}"
