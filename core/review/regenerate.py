"""Images made anew: with another seed, another prompt or other parameters.

What is wanted is checked and recorded when it is asked for; nothing is bought before a run takes it up. Each is an item
of its own, whose id says which image it replaces. Two reviewers who ask for the same ask for one item.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput
from ..ledger import Item, Ledger, NewRevision, RegenerationKind, Revision, RevisionRequest
from ..money import usd_to_credits
from ..plan import RevisedRow, RevisionBatch
from ..providers import Endpoint, ImageClient, ImageRequest, ResolvedModel, load_registry
from ..providers.common_parameters import to_native
from ..request import RunRequest
from ..run.checks import CheckedBatch, Prepared, check_batch, prepare, with_terms
from ..storage import ObjectStore
from .choice import loaded

_PARENT = ("image_id", "model", "contract", "prompt", "parameters", "edition", "state")
_SOURCE = ("image_id", "source_file", "source_line", "source_row", "destination")


@dataclass(frozen=True, slots=True)
class Regeneration:
    """What a reviewer wants instead of an image.

    Attributes:
        image_id: The image that is replaced.
        kind: `seed`: the same prompt and parameters with another seed. `prompt`: another prompt. `parameters`: other
            values of some parameters.
        prompt: With `prompt`: the new one.
        parameters: With `parameters`: fields of the model or common parameters; None takes the model's default.
        id: Made by the client. What is sent again under its id is recorded once.
    """

    image_id: str
    reviewer: str
    kind: RegenerationKind = RegenerationKind.SEED
    prompt: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if (self.prompt is not None) != (self.kind is RegenerationKind.PROMPT):
            raise BadInput(f"image {self.image_id}: a prompt is given if and only if the prompt is to be another one")
        if bool(self.parameters) != (self.kind is RegenerationKind.PARAMETERS):
            raise BadInput(f"image {self.image_id}: parameters are given if and only if they are to be others")


def ask(ledger: Ledger, wanted: Sequence[Regeneration]) -> list[Revision]:
    """Record what is to be made anew; all of it or nothing. Costs nothing.

    Returns:
        The revision of each, in the order in which they were given. It may be there, and even bought, already.

    Raises:
        BadInput: An image that is not in the catalog; a prompt or parameters that do not fit its model, or that are
            those of the image itself.
    """
    parents = {
        row["image_id"]: row
        for row in ledger.review.rows([one.image_id for one in wanted], columns=_PARENT)
        if row["state"] != "erased"
    }
    new = [_revise(one, parents.get(one.image_id)) for one in wanted]
    requests = [
        RevisionRequest(revision.item_id, one.reviewer, id=one.id) for one, revision in zip(wanted, new, strict=True)
    ]
    ledger.revisions.add(new, requests)
    found = ledger.revisions.get(revision.item_id for revision in new)
    return [found[revision.item_id] for revision in new]


def withdraw(ledger: Ledger, item_ids: Sequence[str], reviewer: str) -> None:
    """Take back what a reviewer asked for. What was bought already stays.

    Raises:
        BadInput: A revision that the ledger does not have.
    """
    ledger.revisions.add((), [RevisionRequest(item_id, reviewer, withdrawn=True) for item_id in item_ids])


def open_batches(ledger: Ledger, revisions: Sequence[Revision]) -> list[tuple[str | None, RevisionBatch]]:
    """Revisions as batches, one for each model and destination.

    Returns:
        For each, the destination of the images that are replaced, and the batch.
    """
    sources = {row["image_id"]: row for row in ledger.review.rows([one.image_id for one in revisions], columns=_SOURCE)}
    grouped: dict[tuple[str, str | None], list[RevisedRow]] = {}
    for one in revisions:
        source = sources[one.image_id]
        row = RevisedRow(
            one, source["source_file"] or "", source["source_line"] or 0, loaded(source["source_row"]) or {}
        )
        grouped.setdefault((one.model, source["destination"]), []).append(row)
    return [(destination, RevisionBatch(model, tuple(rows))) for (model, destination), rows in grouped.items()]


def prepare_batches(
    ledger: Ledger,
    request: RunRequest,
    *,
    connect: Callable[[str], ImageClient],
    store_of: Callable[[str | None], ObjectStore],
    of: Collection[str] | None = None,
) -> list[Prepared]:
    """Check everything that is to be made anew, at today's prices, as a run for each model and destination.

    Args:
        ledger: Open.
        request: For budget, limits, policy and delivery.
        connect: Makes a client of the API that sells a model.
        store_of: Opens the destination of the images that are replaced, or another one in its place.
        of: Only what replaces one of these images. What another run has bought of it meanwhile is asked for, too: it
            is owned and costs nothing, and the run that asks for it has it among its images.

    Raises:
        BadInput: A revision that does not fit its model any more; a budget below the price of one.
        Unavailable: A service does not answer.
    """
    open_ = ledger.revisions.open(retry_refused=request.policy.retry_refused)
    if of is not None:
        there, wanted = set(of), {one.item_id for one in open_}
        replacing = itertools.chain.from_iterable(ledger.revisions.of_images(there).values())
        open_ = [one for one in replacing if one.item_id in wanted or not there.issuperset(one.images)]
    budget = usd_to_credits(request.budget_usd) if request.budget_usd is not None else None
    prepared = []
    for destination, batch in open_batches(ledger, open_):
        client = connect(batch.model)
        ready = with_terms(batch, Endpoint.of(client), offline=not request.policy.ask_catalogue)
        checked = CheckedBatch(ready, check_batch(ready, budget=budget))
        store = store_of(destination)
        prepared.append(prepare(request, client=client, ledger=ledger, store=store, checked=checked))
    return prepared


def _revise(wanted: Regeneration, parent: Mapping[str, Any] | None) -> NewRevision:
    if parent is None:
        raise BadInput(f"there is no image {wanted.image_id} in the catalog; column image_id of an export has them")
    name = f"{parent['model']}@{parent['contract']}"
    model = load_registry().resolve(name)
    old = _parameters(model, loaded(parent["parameters"]))
    prompt, parameters = wanted.prompt if wanted.prompt is not None else parent["prompt"], old
    if wanted.kind is RegenerationKind.SEED:
        # A seed that was asked for would give the same image again; without one, it follows from the item's id.
        parameters = {field: value for field, value in old.items() if field != "seed"}
    elif wanted.kind is RegenerationKind.PARAMETERS:
        given = {field: value for field, value in wanted.parameters.items() if value is not None}
        native = to_native(model, given)
        removed = {field for field, value in wanted.parameters.items() if value is None}
        parameters = {field: value for field, value in old.items() if field not in removed}
        parameters |= native.native if not native.problems else given
    request = ImageRequest.build(model, prompt, parameters)
    identity = request.identity()
    same = prompt == parent["prompt"] and identity == ImageRequest.build(model, prompt, old).identity()
    if same and wanted.kind is not RegenerationKind.SEED:
        raise BadInput(f"image {wanted.image_id}: nothing was changed; another seed gives another image")
    item = Item(parent["model"], prompt, identity, parent["edition"], replaces=wanted.image_id)
    return NewRevision(item.id, wanted.image_id, wanted.kind, name, prompt, identity, parent["edition"])


def _parameters(model: ResolvedModel, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an image's item, for one image."""
    number = model.contract.field_for("num_images")
    return {**parameters, **({number: 1} if number is not None else {})}
