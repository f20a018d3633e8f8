"""What can be wrong with prompts. All of it is found before anything is sent.

BadInput
└── PromptError
    ├── PromptFileError     a source that cannot be read as it is: names the file and the line
    │   └── TooExpensive    a row that takes too much time or memory
    ├── VariantError        `{a|b}` that cannot be read: shows the text with a caret
    ├── TemplateError       a template that cannot be parsed or rendered: names its line and the row
    ├── PromptOptionError   an option out of range: names the option and its value
    └── TooManyPrompts      more than the caller can use: says how many
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from ..errors import BadInput

_EXCERPT = 60
_BEGIN, _END = 700, 300
"""What is kept of a problem that quotes a long text: where it begins to be told, and the advice at its end."""


class PromptError(BadInput):
    """Base of everything that is wrong with the prompts a user gave."""


@dataclass(eq=False, repr=False)
class PromptFileError(PromptError):
    """A source of prompts cannot be used.

    Attributes:
        source: The file as the user named it, or `<list>`.
        line: The first line of the row in question, counted from 1; None when it is about the whole file.
    """

    source: str
    line: int | None
    problem: str

    def __str__(self) -> str:
        return f"{_where(self.source, self.line)}: {_brief(self.problem)}"


class TooExpensive(PromptFileError):
    """A row takes more processor time or memory than it may."""


@dataclass(eq=False, repr=False)
class TooManyPrompts(PromptError):
    """There are more prompts than the caller of `PromptSpec.checked` can use."""

    count: int

    def __str__(self) -> str:
        return f"there are {self.count:,} prompts"


@dataclass(eq=False, repr=False)
class PromptOptionError(PromptError):
    """An option has a value that cannot be meant."""

    option: str
    value: object
    problem: str

    def __str__(self) -> str:
        return f"{self.option}={_brief(repr(self.value))}: {_brief(self.problem)}"


@dataclass(eq=False, repr=False)
class VariantError(PromptError):
    """Text with variants (`{a|b}`) cannot be read.

    Attributes:
        text: The whole text, in which `position` counts.
        position: Index of the character in question.
        rendered: True when `text` is a template's output, so that the user does not look for it in the file.
    """

    problem: str
    text: str
    position: int
    source: str | None = None
    line: int | None = None
    rendered: bool = False

    @property
    def text_line(self) -> int:
        return self.text.count("\n", 0, self.position) + 1

    @property
    def text_column(self) -> int:
        return self.position - self.text.rfind("\n", 0, self.position)

    def located(self, source: str, line: int, *, rendered: bool) -> VariantError:
        """The same error, knowing which row of which file it is about."""
        return VariantError(self.problem, self.text, self.position, source, line, rendered)

    def __str__(self) -> str:
        what = "rendered prompt" if self.rendered else "prompt"
        place = f"line {self.text_line}, column {self.text_column} of the {what}"
        where = "" if self.source is None else f"{_where(self.source, self.line)}: "
        return f"{where}{_brief(self.problem)} ({place})\n{self._caret()}"

    def _caret(self) -> str:
        """The line in question, shortened around the position, and a caret below it."""
        start = self.text.rfind("\n", 0, self.position) + 1
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        left, right = max(start, self.position - _EXCERPT), min(end, self.position + _EXCERPT)
        before = ("…" if left > start else "") + _printable(self.text[left : self.position])
        after = _printable(self.text[self.position : right]) + ("…" if right < end else "")
        return f"  {before}{after}\n  {' ' * _width(before)}^"


@dataclass(eq=False, repr=False)
class TemplateError(PromptError):
    """A template cannot be parsed, names something that does not exist, or goes too far when rendered.

    Attributes:
        template_line: Line in the template, counted from 1, when known.
        source: The file whose row was being rendered; None when the template is wrong whatever the rows.
    """

    problem: str
    template_line: int | None = None
    source: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = "template" if self.template_line is None else f"template, line {self.template_line}"
        if self.source is not None:
            place += f" (for {_where(self.source, self.line)})"
        return f"{place}: {_brief(self.problem)}"


def _brief(text: str) -> str:
    return text if len(text) <= _BEGIN + _END else f"{text[:_BEGIN]} … {text[-_END:]}"


def _where(source: str, line: int | None) -> str:
    return source if line is None else f"{source}, line {line}"


def _printable(text: str) -> str:
    """One cell for a control character: a tab or an escape sequence would push the caret away."""
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)


def _width(text: str) -> int:
    """Terminal cells that `text` takes: two for wide East Asian characters and emoji, none for combining marks."""
    cells = 0
    for char in text:
        if unicodedata.category(char) in ("Mn", "Me", "Cf"):
            continue
        cells += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return cells
