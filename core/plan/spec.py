"""What a run asks for: prompts × model × combinations of parameters × repeats, as a stream of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..inputs.pictures import InputRefused
from ..inputs.reader import InputReader
from ..inputs.spec import NO_INPUTS, InputSpec, RowInputs
from ..ledger import RunItem
from ..prompts import (
    Prompt,
    PromptError,
    PromptFileError,
    PromptSource,
    PromptSpec,
    TemplateError,
    TooExpensive,
    TooManyPrompts,
    VariantError,
)
from ..prompts.sources import LIST_NAME
from ..providers import ResolvedModel
from ..providers.common_parameters import read_parameter
from ..request import DEFAULT_MODEL
from ..rewrite import RewriteSpec
from .availability import ModelAvailability
from .combinations import Matrix, read_matrix
from .rows import BatchBase, Candidate, PlannedRow

MOST_ROWS = 10_000_000
"""Rows in a run. A template can mean more than anybody would wait for, let alone pay."""

MANY_PROMPTS = 20_000
"""Prompts that are simply gone through. Beyond it, they are counted first, which takes no enumeration."""

WAY_OUT = "Mend them, or leave them out with --skip-invalid."
"""What can be done about prompts that do not fit."""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class InvalidPrompt:
    """A prompt the model cannot be asked for, and why."""

    source: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.problem}"


@dataclass(eq=False, repr=False)
class InvalidPrompts(BadInput):
    """Some prompts do not fit the model. All of them are in `problems`; nothing was sent."""

    problems: tuple[InvalidPrompt, ...]
    total: int

    def __str__(self) -> str:
        lines = [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  … and {len(self.problems) - _SHOWN} more")
        head = f"{len(self.problems)} of {self.total} prompts do not fit the model; nothing was sent."
        return "\n".join([head, *lines, WAY_OUT])


@dataclass(eq=False, repr=False)
class UnreadablePrompts(BadInput):
    """Several rows are of no use. All of them are in `problems`; nothing was sent."""

    problems: tuple[InvalidPrompt, ...]

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"… and {len(self.problems) - _SHOWN} more")
        return "\n".join([f"{len(self.problems)} rows cannot be read:", *lines, "--skip-invalid leaves them out."])


def _unreadable(prompts: PromptSpec) -> tuple[InvalidPrompt, ...]:
    every = replace(prompts, keep_going=True)
    with suppress(PromptError):
        every.total()
    return _left_out(every)


def _left_out(prompts: PromptSpec) -> tuple[InvalidPrompt, ...]:
    source = prompts.source
    name = source.name if isinstance(source, PromptSource) else LIST_NAME
    name = str(source) if isinstance(source, str | Path) else name
    return tuple(
        InvalidPrompt(name, line, problem.removeprefix(f"{name}, line {line}: "))
        for line, problem in sorted(prompts.unreadable.items())
    )


def read_parameters(model: ResolvedModel, texts: Mapping[str, str]) -> dict[str, Any]:
    """Read parameters typed on a command line by the kinds the model's contract gives them."""
    return {name: read_parameter(model, name, text) for name, text in texts.items()}


def _refuse_too_many(rows: int) -> None:
    if rows > MOST_ROWS:
        raise BadInput(
            f"{rows:,} rows are asked for; a run takes at most {MOST_ROWS:,}. Take fewer prompts: limit, sample and "
            "per_row do that"
        )


@dataclass(frozen=True, slots=True)
class BatchSpec(BatchBase):
    """Everything that decides which items a run asks for; options not described here are those of `core.request`.

    Attributes:
        model: Id, alias or `MODEL@CONTRACT`.
        rewrite: How each prompt is rewritten first; None to send it as it is. A prompt's texts are shared by all its
            combinations and repeats.
        fallback: Models that may stand in for `model` once it is withdrawn, in that order; see `core.plan.rows`.
        inputs: Where the pictures of each row are named; None where none go in.

    Raises:
        BadInput: A number or text out of range, a matrix that cannot be meant.

    Example:
        >>> spec = BatchSpec(PromptSpec(["a {red|blue} fox"]), matrix={"aspect_ratio": ["1:1", "16:9"]})
        >>> [(row.item.prompt, dict(row.item.parameters)) for row in spec.run_items()][:2]
        [('a red fox', {}), ('a red fox', {'aspect_ratio': '16:9'})]
    """

    prompts: PromptSpec
    model: str = DEFAULT_MODEL
    parameters: Mapping[str, Any] = field(default_factory=dict)
    edition: str = ""
    repeat: int = 1
    skip_invalid: bool = False
    matrix: Matrix = field(default_factory=dict)
    rewrite: RewriteSpec | None = None
    fallback: tuple[str, ...] = ()
    lenient: bool = False
    terms: ModelAvailability = field(default_factory=ModelAvailability)
    inputs: InputSpec | None = None

    @property
    def input_words(self) -> tuple[str, ...]:
        return self.inputs.words if self.inputs is not None else ()

    @property
    def input_reader(self) -> InputReader | None:
        return self.inputs.reader if self.inputs is not None else None

    def __post_init__(self) -> None:
        if not 1 <= self.repeat <= 1000:
            raise BadInput(f"repeat: {self.repeat} is not allowed (1 to 1000)")
        if len(self.edition) > 200 or not self.edition.isprintable():
            raise BadInput("edition: at most 200 printable characters")
        object.__setattr__(self, "matrix", read_matrix(self.matrix, self.parameters))

    def _checked(
        self, candidates: tuple[Candidate, ...], at_most: int | None = None
    ) -> Iterator[tuple[Prompt, RowInputs, InvalidPrompt | None]]:
        """Each prompt with the pictures of its row, and what is wrong with them if anything is."""
        try:
            for prompt in self.prompts.prompts() if at_most is None else self.prompts.checked(at_most):
                problem, inputs = self.problem(candidates, prompt.text), NO_INPUTS
                if problem is None and self.inputs is not None:
                    try:
                        inputs = self.inputs.of(prompt.row, [candidate.model for candidate in candidates])
                    except InputRefused as error:
                        problem = error.reason
                yield (
                    prompt,
                    inputs,
                    InvalidPrompt(prompt.source, prompt.line, problem) if problem is not None else None,
                )
        except (PromptFileError, VariantError, TemplateError) as error:
            # To find the others, all rows are read again: not where one takes too long.
            if error.line is None or isinstance(error, TooExpensive) or len(every := _unreadable(self.prompts)) < 2:
                raise
            raise UnreadablePrompts(every) from error

    def left_out(self) -> tuple[InvalidPrompt, ...]:
        """The rows that were left out because nothing can be made of them; known when the prompts were gone through."""
        return _left_out(self.prompts)

    def count_rows(self) -> int:
        """Rows of the run, counted without enumerating them: invalid prompts are in it."""
        return self.prompts.count() * self.variations * len(self.forms()) * self.repeat

    def check(self) -> int:
        """Check everything, without keeping anything.

        Returns:
            Prompts that can be run.

        Raises:
            InvalidRequest: The parameters themselves are wrong, whatever the prompt.
            InvalidPrompts: With every prompt that does not fit, unless they are to be skipped.
            BadInput: Nothing is left to run, or more than `MOST_ROWS`.
        """
        # What is wrong with the parameters would be wrong with every prompt: say it once.
        candidates = self.candidates()
        each = self.variations * len(candidates[0].forms) * self.repeat
        problems: list[InvalidPrompt] = []
        total = 0
        try:
            for _, _, problem in self._checked(candidates, max(MANY_PROMPTS, MOST_ROWS // each)):
                total += 1
                if problem is not None:
                    problems.append(problem)
        except TooManyPrompts as error:
            _refuse_too_many(error.count * each)
        unreadable = self.left_out()
        problems.extend(unreadable)
        total += len(unreadable)
        if problems and not self.skip_invalid:
            raise InvalidPrompts(tuple(problems), total)
        if total == len(problems):
            raise BadInput("no prompt is left to run: all of them are invalid" if total else "there are no prompts")
        _refuse_too_many((total - len(problems)) * each)
        return total - len(problems)

    def stream(self) -> Iterator[PlannedRow | InvalidPrompt]:
        """The rows of the run, in order: by prompt, then text, combination and repeat. Or why a prompt has none."""
        candidates, active = self.candidates(), self.active_index
        position = 0
        for prompt, inputs, problem in self._checked(candidates):
            if problem is not None:
                yield problem
                continue
            for wanted in self.rows_of(candidates, active, prompt, position, inputs):
                yield wanted
                position += 1

    def run_items(self) -> Iterator[RunItem]:
        """The rows of the run, in order, each with its item; invalid prompts are left out."""
        return (wanted.row for wanted in self.stream() if isinstance(wanted, PlannedRow))
