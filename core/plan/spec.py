"""What a run asks for: prompts × model × parameters × repeats, as a stream of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..aimlapi import ImageRequest, InvalidRequest, ResolvedModel, load_registry
from ..aimlapi.request import parse_parameter
from ..errors import BadInput
from ..ledger import Item, RunItem
from ..prompts import Prompt, PromptSpec

__all__ = ["BatchSpec", "InvalidPrompt", "InvalidPrompts", "read_parameters"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class InvalidPrompt:
    """A prompt the model cannot be asked for, and why."""

    source: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.problem}"


class InvalidPrompts(BadInput):
    """Some prompts do not fit the model. All of them are in `problems`; nothing was sent."""

    def __init__(self, problems: tuple[InvalidPrompt, ...], total: int) -> None:
        super().__init__(problems, total)
        self.problems = problems
        self.total = total

    def __str__(self) -> str:
        lines = [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  … and {len(self.problems) - _SHOWN} more")
        head = f"{len(self.problems)} of {self.total} prompts do not fit the model; nothing was sent."
        return "\n".join([head, *lines, "Shorten them, or leave them out with --skip-invalid."])


def read_parameters(model: ResolvedModel, texts: Mapping[str, str]) -> dict[str, Any]:
    """Read parameters typed on a command line by the kinds the model's contract gives them."""
    fields = model.contract.fields
    return {name: parse_parameter(fields[name], text) if name in fields else text for name, text in texts.items()}


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """Everything that decides which items a run asks for.

    Attributes:
        prompts: Where prompts come from.
        model: Id, alias or `MODEL@CONTRACT`.
        parameters: For every prompt; None values are left out.
        edition: Asks for fresh images of the same prompts.
        repeat: Images of each prompt, each a purchase of its own.
        skip_invalid: Leave out prompts that do not fit the model, instead of refusing the whole batch.

    Example:
        >>> spec = BatchSpec(PromptSpec(["a {red|blue} fox"]), repeat=2)
        >>> [(row.item.prompt, row.item.repeat) for row in spec.run_items()]
        [('a red fox', 1), ('a red fox', 2), ('a blue fox', 1), ('a blue fox', 2)]
    """

    prompts: PromptSpec
    model: str = "google/imagen4/preview"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    edition: str = ""
    repeat: int = 1
    skip_invalid: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.repeat <= 1000:
            raise BadInput(f"repeat: {self.repeat} is not allowed (1 to 1000)")
        if len(self.edition) > 200 or not self.edition.isprintable():
            raise BadInput("edition: at most 200 printable characters")

    def resolve(self) -> ResolvedModel:
        """The model and contract. Raises what `Registry.resolve` raises."""
        return load_registry().resolve(self.model)

    def requests(self) -> Iterator[tuple[Prompt, ImageRequest | InvalidPrompt]]:
        """Each prompt with its request, or with what is wrong with it.

        Raises:
            InvalidRequest: The parameters themselves are wrong, whatever the prompt.
            PromptError: The source, the template or a row is wrong.
        """
        model = self.resolve()
        # What is wrong with the parameters would be wrong with every prompt: say it once.
        ImageRequest.build(model, "a prompt", self.parameters)
        for prompt in self.prompts.prompts():
            try:
                yield prompt, ImageRequest.build(model, prompt.text, self.parameters)
            except InvalidRequest as error:
                problem = "; ".join(map(str, error.problems))
                yield prompt, InvalidPrompt(prompt.source, prompt.line, problem)

    def check(self) -> int:
        """Check everything, without keeping anything.

        Returns:
            Prompts that can be run.

        Raises:
            InvalidPrompts: With every prompt that does not fit, unless they are to be skipped.
            BadInput: Nothing is left to run.
        """
        problems: list[InvalidPrompt] = []
        total = 0
        for _, checked in self.requests():
            total += 1
            if isinstance(checked, InvalidPrompt):
                problems.append(checked)
        if problems and not self.skip_invalid:
            raise InvalidPrompts(tuple(problems), total)
        if total == len(problems):
            raise BadInput("no prompt is left to run: all of them are invalid" if total else "there are no prompts")
        return total - len(problems)

    def run_items(self) -> Iterator[RunItem]:
        """The rows of the run, in order, each with its item; invalid prompts are left out."""
        position = 0
        for prompt, request in self.requests():
            if isinstance(request, InvalidPrompt):
                continue
            identity = request.identity()
            for repeat in range(1, self.repeat + 1):
                yield RunItem(
                    position=position,
                    item=Item(request.model.spec.id, request.prompt, identity, self.edition, repeat),
                    source=prompt.source,
                    line=prompt.line,
                    row=prompt.row,
                    choices=prompt.choices,
                )
                position += 1
