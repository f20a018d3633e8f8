"""Revisions as a batch: items that are to replace images, each with a prompt and parameters of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput
from ..ledger import Item, Revision, RunItem
from ..providers import ImageRequest
from ..rewrite import RewriteSpec
from ..values import canonical_json
from .availability import ModelAvailability
from .combinations import ParameterSet
from .rows import BatchBase, Candidate, PlannedRow


@dataclass(frozen=True, slots=True)
class RevisedRow:
    """A revision, and the line of the source that asked for the image it replaces."""

    revision: Revision
    source: str
    line: int
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RevisionBatch(BatchBase):
    """Revisions of one model. Their prompts and parameters were checked when they were asked for."""

    model: str
    rows: Sequence[RevisedRow]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    matrix: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    edition: str = ""
    repeat: int = 1
    rewrite: RewriteSpec | None = None
    fallback: tuple[str, ...] = ()
    lenient: bool = False
    terms: ModelAvailability = field(default_factory=ModelAvailability)

    @property
    def rows_per_prompt(self) -> int:
        return 1

    def candidates(self) -> tuple[Candidate, ...]:
        """The model, with each combination of parameters that occurs.

        Raises:
            InvalidRequest: Parameters do not fit the model any more.
            UnknownPrice: Nobody says what it costs.
        """
        (model,) = self.models()
        asked = {canonical_json(dict(one.revision.parameters)): one.revision.parameters for one in self.rows}
        forms = []
        for number, parameters in enumerate(asked.values()):
            request = ImageRequest.build(model, "a prompt", parameters)
            high = request.price_high
            forms.append(ParameterSet(number, request.identity(), request.num_images, request.price, high))
        return (Candidate(model, tuple(forms)),)

    def count_rows(self) -> int:
        return len(self.rows)

    def check(self) -> int:
        """Check every revision.

        Raises:
            BadInput: There is none, or one does not fit its model any more.
        """
        return sum(1 for _ in self.stream())

    def stream(self) -> Iterator[PlannedRow]:
        """The revisions, in their order.

        Raises:
            BadInput: There is none, or one does not fit its model any more.
        """
        (candidate,) = self.candidates()
        forms = {canonical_json(dict(form.identity)): form for form in candidate.forms}
        if not self.rows:
            raise BadInput("nothing is to be made anew")
        for position, one in enumerate(self.rows):
            revision = one.revision
            if (problem := self.problem((candidate,), revision.prompt)) is not None:
                raise BadInput(f"the revision of image {revision.image_id} cannot be bought: {problem}")
            item = revised_item(candidate.model.spec.id, revision)
            if item.id != revision.item_id:
                raise BadInput(f"the revision {revision.item_id} is not what was asked for: the ledger was edited")
            row = RunItem(position, item, one.source, one.line, one.row)
            yield PlannedRow(row, forms[canonical_json(dict(revision.parameters))])

    def run_items(self) -> Iterator[RunItem]:
        return (wanted.row for wanted in self.stream())


def revised_item(model: str, revision: Revision) -> Item:
    """The item of a revision."""
    return Item(model, revision.prompt, revision.parameters, revision.edition, replaces=revision.image_id)
