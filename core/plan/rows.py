"""Shared behaviour of batches: the model, its fallbacks, and the parameter combinations of each.

A row of a run is one purchase that a user wants. Where other models may stand in (`fallback`), it has one candidate for
each: the item of the wanted model first, then those of the others with translated parameters. The ledger decides which
of them the row is: the first that was bought or may have been; else that of the first model that is not gone. So an
image that the wanted model made is not bought again from its successor, one that the successor made is not bought again
by the next run, and each item names the model that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from ..inputs.reader import InputReader
from ..inputs.spec import NO_INPUTS, PLACEHOLDER, RowInputs
from ..ledger import Item, Rewrite, RunItem
from ..providers import ImageRequest, InvalidRequest, ResolvedModel
from ..providers.request import Omission
from ..providers.spec import FieldSpec
from ..rewrite import RewriteSpec
from .availability import ModelAvailability, resolve_all
from .combinations import Matrix, ParameterSet, make_forms

if TYPE_CHECKING:
    from ..prompts import Prompt


class PlannedRow(NamedTuple):
    """A row of the run, and the combination of parameters it asks for; and those of the models that may stand in."""

    row: RunItem
    form: ParameterSet
    alternatives: tuple[ParameterSet, ...] = ()

    def parameters_of(self, item: Item) -> ParameterSet:
        """The form of one of the row's candidates."""
        candidates = (self.row.item, *self.row.alternatives)
        return (self.form, *self.alternatives)[[one.id for one in candidates].index(item.id)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that a batch may buy from, and how it is asked."""

    model: ResolvedModel
    forms: tuple[ParameterSet, ...]

    @property
    def omitted(self) -> tuple[Omission, ...]:
        """What is left out in one form or another, each once."""
        found = {str(omission): omission for form in self.forms for omission in form.omitted}
        return tuple(found.values())


def texts_of(prompt: str, model: ResolvedModel, rewrite: RewriteSpec | None) -> tuple[Rewrite | None, ...]:
    """What a prompt is rewritten to; None alone where it is sent as it is."""
    return (None,) if rewrite is None else tuple(rewrite.rewrites(prompt, rewrite.text_limit(model)))


def check_prompt(model: ResolvedModel, prompt: str, rewrite: RewriteSpec | None) -> str | None:
    """What is wrong with a prompt, if anything is. One that is rewritten may be longer than the model allows."""
    if rewrite is not None:
        return rewrite.check_source(prompt)
    try:
        needed = {name: _anything(spec) for name, spec in model.contract.fields.items() if spec.required}
        ImageRequest.build(model, prompt, needed)
    except InvalidRequest as error:
        return "; ".join(map(str, error.problems))
    return None


def _anything(spec: FieldSpec) -> Any:
    """A value for a field that a request cannot be without, where the prompt alone is looked at."""
    if spec.kind == "choice":
        return spec.choices[0]
    return [PLACEHOLDER] if spec.kind == "list" else PLACEHOLDER


class BatchBase:
    """Model, parameters and terms of a batch."""

    __slots__ = ()

    model: str
    parameters: Mapping[str, Any]
    matrix: Matrix
    edition: str
    repeat: int
    rewrite: RewriteSpec | None
    fallback: tuple[str, ...]
    lenient: bool
    terms: ModelAvailability

    @property
    def input_words(self) -> tuple[str, ...]:
        """The common words for the pictures that each row brings with it."""
        return ()

    @property
    def input_reader(self) -> InputReader | None:
        """Reads these pictures, and knows those that were found so far."""
        return None

    def models(self) -> tuple[ResolvedModel, ...]:
        """The wanted model, then those that may stand in for it, at today's prices."""
        return resolve_all(self.model, self.fallback, self.terms)

    @property
    def active_index(self) -> int:
        """Which of the models is bought from: the first that is offered."""
        return next(place for place, model in enumerate(self.models()) if self.terms.is_offered(model))

    def resolve(self) -> ResolvedModel:
        """The model that is bought from. Raises as `models`."""
        return self.models()[self.active_index]

    def candidates(self) -> tuple[Candidate, ...]:
        """Every model with the forms in which it is asked.

        Raises:
            InvalidRequest: The parameters do not fit one of them, whatever the prompt.
            UnknownPrice: Nobody says what one costs.
            BadInput: Two combinations are the same purchase.
        """
        wanted, *others = self.models()
        return (
            Candidate(wanted, self._forms(wanted, None)),
            *(Candidate(other, self._forms(other, wanted)) for other in others),
        )

    def _forms(self, model: ResolvedModel, asked: ResolvedModel | None) -> tuple[ParameterSet, ...]:
        identify = ImageRequest.identity if self.rewrite is None else self.rewrite.identity
        return make_forms(
            model,
            self.parameters,
            self.matrix,
            identify,
            lenient=self.lenient,
            asked=asked,
            placeholders={word: [PLACEHOLDER] for word in self.input_words},
        )

    def forms(self) -> tuple[ParameterSet, ...]:
        """The combinations in which each prompt is bought; at least one. Raises as `candidates`."""
        return self.candidates()[self.active_index].forms

    @property
    def variations(self) -> int:
        """Texts of each prompt: 1 where it is sent as it is."""
        return 1 if self.rewrite is None else self.rewrite.variations

    @property
    def rows_per_prompt(self) -> int:
        """Rows of the run that each prompt makes."""
        return self.variations * len(self.forms()) * self.repeat

    def problem(self, candidates: tuple[Candidate, ...], prompt: str) -> str | None:
        """What is wrong with a prompt for any of the models, if anything is."""
        for place, candidate in enumerate(candidates):
            problem = check_prompt(candidate.model, prompt, self.rewrite)
            if problem is not None:
                return f"{candidate.model.name}: {problem}" if place else problem
        return None

    def rows_of(
        self,
        candidates: tuple[Candidate, ...],
        active: int,
        prompt: Prompt,
        position: int,
        inputs: RowInputs = NO_INPUTS,
    ) -> Iterator[PlannedRow]:
        """The rows of a prompt: by text, then combination, then repeat."""
        pictures = [inputs.native(candidate.model) for candidate in candidates]
        kept = inputs.without_secrets(prompt.row)
        texts = [texts_of(prompt.text, candidate.model, self.rewrite) for candidate in candidates]
        numbers = product(range(len(texts[0])), range(len(candidates[0].forms)), range(1, self.repeat + 1))
        for offset, (text, number, repeat) in enumerate(numbers):
            items = [
                Item(
                    one.model.spec.id,
                    prompt.text,
                    {**one.forms[number].identity, **going_in},
                    self.edition,
                    repeat,
                    mine[text],
                )
                for one, mine, going_in in zip(candidates, texts, pictures, strict=True)
            ]
            row = RunItem(
                position=position + offset,
                item=items[0],
                source=prompt.source,
                line=prompt.line,
                row=kept,
                choices=prompt.choices,
                inputs=inputs.places,
                alternatives=tuple(items[1:]),
                active_index=active,
            )
            yield PlannedRow(row, candidates[0].forms[number], tuple(one.forms[number] for one in candidates[1:]))
