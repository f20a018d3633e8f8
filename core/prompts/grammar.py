r"""The syntax of prompts: text → tree, tree → text.

    text        = { plain | choice | wildcard | assignment | reference }
    choice      = "{" [ pick ] alternative { "|" alternative } "}"
    pick        = ( N | N "-" [ N ] | "-" [ N ] ) [ "!" ] "$$" [ separator "$$" ]
    alternative = [ weight "::" ] text                      text may be empty; weight: a decimal number above 0
    wildcard    = "__" name [ "(" argument { "," argument } ")" ] "__"
    argument    = variable "=" [ "!" ] text                 up to the next "," or ")"
    assignment  = "${" variable ( "=" | "?=" ) [ "!" ] text "}"     "?=": unless it is set already
    reference   = "${" variable [ ":" text ] "}"
    variable    = letter or "_", then letters, digits, "_", "-"
    name        = anything but white space and { } | \ ( ) $, not beginning with "_"; or a name that the wildcards have

What is plain
    Everything else. A single `$ % # @ & < > / _ :` or a `//` is never special; `|` and `::` mean something only within
    a choice. `${` opens a variable only where a letter follows, so `${5|10}` is a dollar sign and a choice. `__` opens
    a wildcard only where a name and a closing `__` follow without white space: `snake_case` and `____` are text.

Escapes
    `\{ \| \} \$ \\` are the plain character, `\__` two plain underscores, `\::` two plain colons; in an argument also
    `\,` and `\)`, `\!` at the beginning of an argument or an assigned value, and `\@ \! \~` at that of an alternative.
    Any other backslash is a backslash.

What looks like a construct and is none is an error with its place, never text that would be sent as it stands: an
unclosed brace, a weight of 0, `{3-2$$…}`, `__{a|b}__`, braces around a single text, `$$` in an alternative, a sampler
of Dynamic Prompts (`{@a|b}`). Nesting is bounded, so that no text can exhaust the stack.

>>> write(read(r"{3::red|blue} \{50% off\} {2$$ and $$a|b|__fruit__}"))
'{3::red|blue} \\{50% off\\} {2$$ and $$a|b|__fruit__}'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from .errors import VariantError
from .quoting import unquote

MAX_DEPTH = 50
"""Constructs within constructs. People need two or three; walking the tree is recursive, so there has to be an end."""

DEFAULT_SEPARATOR = ", "
"""What `{2$$a|b|c}` puts between what it takes."""

_MAX_PICK_DIGITS = 6
_NAME = r"[^\W\d][\w-]*"
_INTERESTING = re.compile(r"[\\{|}]|__|\$\{")
_TOKEN = re.compile(
    rf"""
      (?P<escape> \\[\\{{|}}$] | \\__ | \\:: )
    | (?P<local> \\[,)] )
    | \$\{{ \s* (?P<variable>{_NAME}) \s* (?: (?P<set>\??=!?) | (?P<else>:) | (?=\}}) )
    | (?P<unset> \$\{{ (?= \s* [^\W\d] ) )
    | __ (?P<wildcard>[^\s_{{}}|\\()$][^\s{{}}|\\()$]*?) (?: __ | \( \s* \) __ | (?P<call>\( (?= \s*{_NAME}\s*=)) )
    | (?P<dynamic> (?<!_)__(?= \{{ | \$\{{ | [\w\-.*/]* (?: \$?\{{ [^{{}}\s]* \}} [\w\-.*/]*+ )+? (?<=__) ) )
    | (?P<brace> [{{|}}] )
    | (?P<argument> [,)] )
    | (?P<plain> [^\\{{|}}$_,)]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_WILDCARD_NAME = re.compile(r"[\w\-.*/]+")
_ARGUMENT = re.compile(rf"\s*(?P<name>{_NAME})\s*=(?P<now>!?)")
_PICK = re.compile(
    # Possessive throughout: a run of digits or spaces without the "$$" is looked at once.
    r"\s*+(?P<least>\d*+)\s*+(?P<range>-?+)\s*+(?P<most>\d*+)\s*+(?P<permute>!?+)\s*+\$\$"
    r"(?:(?P<separator>(?:[^\\{}$]|\\.|\$(?!\$))*+)\$\$)?",
    re.DOTALL,
)
_SAMPLER = re.compile(r"\s*+([@!~])")
_SLIP = re.compile(r"\s*+\d++\$[^\s|}$]")
_SPACED = re.compile(r"__([^\s_{}|\\()$][^\n{}|\\()$]{0,200}?)__")
_WEIGHT = re.compile(r"\s*+(?P<weight>[-+]?[\d.][\d.,_eE+-]*+)\s*+::")
_DECIMAL = re.compile(r"\d{1,12}(?:\.\d{0,12})?|\.\d{1,12}")
_SPECIAL = re.compile(r"[\\{|}]|__|::|\$(?=[${]|\Z)")
_SEPARATOR_ESCAPE = re.compile(r"\\([\\{}|$])")

_ENDS = {"": (), "{": ("|", "}"), "${": ("}",), "(": (",", ")")}
"""What ends a sequence of parts, by the opening of what it stands in."""

_UNCLOSED = {
    "{": r"unclosed '{': add the missing '}', or write '\{' for a plain brace",
    "${": r"unclosed '${': add the missing '}', or write '$\{' for plain text",
    "(": r"unclosed '(' of a wildcard: add ')__', or write '\__' for plain text",
}


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
    """`${name=value}`: prints nothing. With `immediate` (`=!`) it is decided once; with `unless_set` (`?=`) a value set
    before remains."""

    name: str
    value: Concat
    immediate: bool = False
    unless_set: bool = False
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


class _Sequence:
    """Parts that are being read; neighbouring texts become one."""

    def __init__(self, start: int) -> None:
        self._start = self._text_start = start
        self._parts: list[Part] = []
        self._text: list[str] = []

    def add_text(self, text: str, at: int) -> None:
        if not self._text:
            self._text_start = at
        self._text.append(text)

    def add(self, part: Part) -> None:
        self._end_text(part.start)
        self._parts.append(part)

    def done(self, end: int) -> Concat:
        self._end_text(end)
        return Concat(tuple(self._parts), self._start, end)

    def _end_text(self, end: int) -> None:
        if self._text:
            self._parts.append(Plain("".join(self._text), self._text_start, end))
            self._text = []


def is_plain(text: str) -> bool:
    """Whether nothing in a text can mean anything. Most rows of most files are such, and there may be a million."""
    return _INTERESTING.search(text) is None


def read(text: str, *, quoted: bool = False, spaced: Collection[str] = (), named_by_values: bool = False) -> Concat:
    """The tree of a text.

    Args:
        quoted: Whether stand-ins of `quoting` in it are plain characters of values.
        spaced: Names of wildcards that have blanks; without them, `__hard wood__` is prose.
        named_by_values: Whether what stands between underscores may be a value, so that any blank in it is an error.
    """
    if is_plain(text):
        plain = unquote(text) if quoted else text
        return Concat((Plain(plain, 0, len(text)),) if text else (), 0, len(text))
    return _Reader(text, quoted=quoted, spaced=spaced, named_by_values=named_by_values).read()


def read_weighted(text: str, spaced: Collection[str] = ()) -> Alternative:
    """A wildcard's value: a text that may begin with a weight, as an alternative may."""
    weight, at = _weight(text, 0)
    if weight is None:
        return Alternative(read(text, spaced=spaced))
    return Alternative(_Reader(text, at, spaced=spaced).read(), weight)


class _Reader:
    """One reading of one text, by recursive descent."""

    def __init__(
        self,
        text: str,
        at: int = 0,
        *,
        quoted: bool = False,
        spaced: Collection[str] = (),
        named_by_values: bool = False,
    ) -> None:
        self._text = text
        self._spaced = spaced
        self._named_by_values = named_by_values
        self._shown: Callable[[str], str] = unquote if quoted else str
        self._at = at
        self._depth = 0

    def read(self) -> Concat:
        return self._sequence("", 0)[0]

    def _sequence(self, opening: str, start: int, *, value: bool = False) -> tuple[Concat, str]:
        """The parts up to the token that ends them, which is returned, too.

        Args:
            opening: What they stand in: a choice, a variable, the arguments of a wildcard; or nothing.
            value: Whether a `!` at the beginning is escaped.
        """
        found = _Sequence(self._at)
        if (value and self._text.startswith("\\!", self._at)) or (
            opening == "{" and self._text.startswith(("\\@", "\\!", "\\~"), self._at)
        ):
            found.add_text(self._text[self._at + 1], self._at)
            self._at += 2
        while (match := _TOKEN.match(self._text, self._at)) is not None:
            at, self._at = self._at, match.end()
            kind, written = match.lastgroup, match.group()
            if written in _ENDS[opening]:
                return found.done(at), written
            if written == "{":
                found.add(self._choice(at))
            elif written == "}":
                if opening:
                    break
                raise self._error(r"'}' without a '{': write '\}' for a plain brace", at)
            elif kind in ("variable", "set", "else"):
                found.add(self._variable(match, at))
            elif kind in ("wildcard", "call"):
                found.add(self._wildcard(match, at))
            elif kind == "escape" or (kind == "local" and opening == "("):
                found.add_text(written[1:], at)
            elif kind == "dynamic":
                raise self._error(
                    r"'__' before a brace: a wildcard's name is fixed, so write {__a__|__b__}; or '\__' for plain text",
                    at,
                )
            elif kind == "unset":
                raise self._error(
                    r"'${' opens a variable: '}', '=' or ':' has to follow its name; write '\$' for a dollar sign",
                    at,
                )
            elif written == "$" and opening == "{" and self._text.startswith("$$", at):
                raise self._error(
                    r"'$$' in an alternative: it belongs behind a number, {2$$a|b|c}; write '\$' for a dollar sign",
                    at,
                )
            elif written.startswith("_") and (name := self._spaced_name(at)) is not None:
                found.add(WildcardUse(name, (), at, self._at))
            elif kind == "local":
                # Only the backslash: what follows may mean something by itself.
                found.add_text("\\", at)
                self._at = at + 1
            else:
                found.add_text(self._shown(written), at)
        if opening:
            raise self._error(_UNCLOSED[opening], start)
        return found.done(len(self._text)), ""

    def _spaced_name(self, at: int) -> str | None:
        """The name with blanks that begins here, if one does; the reading goes on behind it."""
        if not (self._spaced or self._named_by_values):
            return None
        match = _SPACED.match(self._text, at)
        if match is None:
            return None
        name = self._shown(match[1])
        if name not in self._spaced:
            if not self._named_by_values:
                return None
            raise self._error(
                rf"{name!r} cannot be a wildcard's name, since it has a blank; write '\__' for plain underscores", at
            )
        self._at = match.end()
        return name

    def _enter(self, start: int) -> None:
        if self._depth == MAX_DEPTH:
            raise self._error(f"variants nest deeper than {MAX_DEPTH} levels", start)
        self._depth += 1

    def _choice(self, start: int) -> Choice:
        if (sampler := _SAMPLER.match(self._text, self._at)) is not None:
            raise self._error(
                rf"{sampler[1]!r} at the beginning of a choice is a sampler of Dynamic Prompts; leave it out (--sample "
                rf"draws), or write '\{sampler[1]}' for the character",
                sampler.start(1),
            )
        pick = self._pick(start)
        self._enter(start)
        alternatives: list[Alternative] = []
        end = "|"
        while end == "|":
            weight, self._at = _weight(self._text, self._at, self._shown)
            content, end = self._sequence("{", start)
            alternatives.append(Alternative(content, weight))
        self._depth -= 1
        if len(alternatives) == 1 and pick is None and alternatives[0].weight is None:
            parts = alternatives[0].content.parts
            if not parts or any(isinstance(part, Plain) and part.text.strip() for part in parts):
                raise self._error(
                    r"braces around a single alternative: a choice is {a|b}; write '\{' and '\}' for plain braces, "
                    "or switch variants off (--no-variants)",
                    start,
                )
        return Choice(tuple(alternatives), pick, start, self._at)

    def _pick(self, at: int) -> Pick | None:
        match = _PICK.match(self._text, self._at)
        if match is None or not (match["least"] or match["range"]):
            if (slip := _SLIP.match(self._text, self._at)) is not None:
                raise self._error(
                    r"a number and one '$': how many are taken is followed by '$$'; write '\$' for a dollar sign",
                    slip.end() - 2,
                )
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

    def _variable(self, match: re.Match[str], start: int) -> Reference | Assignment:
        name, operator = match["variable"], match["set"] or match["else"]
        if operator is None:
            self._at += 1
            return Reference(name, None, start, self._at)
        self._enter(start)
        value, _ = self._sequence("${", start, value=operator != ":")
        self._depth -= 1
        if operator == ":":
            return Reference(name, value, start, self._at)
        return Assignment(name, value, operator.endswith("!"), operator.startswith("?"), start, self._at)

    def _wildcard(self, match: re.Match[str], start: int) -> WildcardUse:
        name = self._shown(match["wildcard"])
        if _WILDCARD_NAME.fullmatch(name) is None:
            raise self._error(
                f"{name!r} cannot be a wildcard's name (letters, digits, '-', '_', '.', '/', '*'); "
                r"write '\__' for plain underscores",
                start,
            )
        if match["call"] is None:
            return WildcardUse(name, (), start, self._at)
        self._enter(start)
        arguments: dict[str, Argument] = {}
        end = ","
        while end == ",":
            argument = _ARGUMENT.match(self._text, self._at)
            if argument is None:
                raise self._error(r"an argument is written name=value; a comma within a value is '\,'", self._at - 1)
            variable = argument["name"]
            if variable in arguments:
                raise self._error(f"the argument {variable!r} is given twice", self._at)
            self._at = argument.end()
            value, end = self._sequence("(", start, value=True)
            arguments[variable] = Argument(variable, value, bool(argument["now"]))
        if not self._text.startswith("__", self._at):
            problem = r"'__' has to follow the ')' of a wildcard; a parenthesis within a value is '\)'"
            raise self._error(problem, self._at - 1)
        self._at += 2
        self._depth -= 1
        return WildcardUse(name, tuple(arguments.values()), start, self._at)

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
    r"""Spell `text` so that `read` reads it as exactly itself; at the beginning of a choice, `write` does.

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
                ("" if one.weight is None else f"{one.weight:f}::") + _write_alternative(one) for one in alternatives
            )
            return "{" + ("" if pick is None else _write_pick(pick)) + inner + "}"
        case WildcardUse(name, arguments):
            written = ",".join(f"{one.name}={_write_value(one, in_arguments=True)}" for one in arguments)
            return f"__{name}({written})__" if arguments else f"__{name}__"
        case Assignment(name):
            return f"${{{name}{'?' * part.unless_set}={_write_value(part, in_arguments=False)}}}"
        case Reference(name, default):
            return f"${{{name}}}" if default is None else f"${{{name}:{_write(default.parts, in_arguments=False)}}}"


def _write_value(part: Argument | Assignment, *, in_arguments: bool) -> str:
    written = _write(part.value.parts, in_arguments=in_arguments)
    if part.immediate:
        return "!" + ("\\" + written if written.startswith("!") else written)
    return "\\" + written if written.startswith("!") else written


def _write_alternative(alternative: Alternative) -> str:
    written = _write(alternative.content.parts, in_arguments=False)
    return "\\" + written if written.startswith(("@", "!", "~")) else written


def _write_pick(pick: Pick) -> str:
    most = "" if pick.most is None else pick.most
    number = f"{pick.least}" if pick.most == pick.least else f"{pick.least}-{most}"
    separator = "" if pick.separator == DEFAULT_SEPARATOR else re.sub(r"[\\{}|$]", r"\\\g<0>", pick.separator) + "$$"
    return f"{number}{'!' if pick.permute else ''}$${separator}"
