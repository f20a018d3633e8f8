"""What a run would do and cost, before one cent is spent. Sends nothing, writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..inputs.pictures import too_large
from ..inputs.spec import shown
from ..ledger import Item, ItemState, Ledger, RunItem
from ..providers import ResolvedModel
from ..providers.request import Omission
from ..request import RewriteFallback
from ..rewrite import RewriteSpec, price, price_high
from ..rewrite.spec import LONGEST_SOURCE
from ..values import batched
from .combinations import ParameterSet
from .file import PlanFile
from .notes import Suspicions
from .revisions import RevisionBatch
from .rows import Candidate, PlannedRow
from .spec import MANY_PROMPTS, BatchSpec, InvalidPrompt

BYTES_AN_IMAGE = 1_600_000
"""What an image is taken to weigh: replies of 2025 with Imagen 4 images of about one megapixel, as the provider's
documentation shows them, name file sizes of 1,071,496 to 1,697,349 bytes."""

EXACT_ROWS = 500_000
"""Rows that are looked at one by one; of more, the number and the price are computed, and ten are shown."""

_SAMPLES = 10
_BUYABLE = frozenset({ItemState.PLANNED, ItemState.FAILED, ItemState.CLAIMED})


Plannable = BatchSpec | PlanFile | RevisionBatch
"""What a plan can be made of."""


@dataclass(frozen=True, slots=True)
class RewritePlan:
    """The texts that a language model writes first.

    Attributes:
        owned: Texts that were written before, and are not bought again.
        held: Texts whose call may have been billed: left for a decision.
        failed: Texts that came to nothing before, and are not asked for again.
    """

    model: str
    variations: int
    texts: int
    to_buy: int
    price: int
    price_high: int
    owned: int = 0
    held: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class InputPlan:
    """The pictures that go into requests.

    Attributes:
        pictures: Different ones.
        bytes: Of their files.
        copies: Those of which a smaller copy is sent, and why.
    """

    pictures: int
    bytes: int
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch, counted and priced.

    Attributes:
        prompts: Prompts after expansion, invalid ones included.
        duplicates: Rows that ask for an item another row asks for, too.
        to_copy: Items of these whose images are not at the destination yet, and are copied there.
        archived: Items of these whose images are not at the destination and whose rows are archived: left as they are.
        paid: Items that are paid for, and still to be fetched or stored.
        held: Items whose last call may have been billed: left for a decision.
        refused: Items the provider refused before, whose images were lost, or whose prompt could not be rewritten.
        to_buy: Items that would be bought, a call each.
        price: Expected, in credits, with the texts that are to be bought.
        seconds: How long the calls take at least, by the limit of requests a minute; None without a limit, since how
            long the provider takes for an image is not documented.
        exact: Whether every row was looked at. If not, `rows` is above `EXACT_ROWS`: every prompt is taken to be
            distinct, to fit the model and to be new, so that counts and prices are upper bounds.
        rewrites: The texts that are written first; None where prompts are sent as they are.
        replaced: The model that was wanted and is withdrawn, where `model` stands in for it.
        notes: What is announced of the model, and which prompts look like a mistake.
        column: The column of the source that has the prompts, where there is one for all rows.
        inputs: The pictures that go into requests; None where none do.
    """

    model: ResolvedModel
    prompts: int
    combinations: int
    rows: int
    items: int
    to_buy: int
    images: int
    price: int
    price_high: int
    bytes: int
    seconds: float | None
    samples: tuple[str, ...]
    duplicates: int = 0
    invalid: tuple[InvalidPrompt, ...] = ()
    owned: int = 0
    to_copy: int = 0
    archived: int = 0
    paid: int = 0
    held: int = 0
    refused: int = 0
    erased: int = 0
    exact: bool = True
    rewrites: RewritePlan | None = None
    replaced: str | None = None
    omitted: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()
    column: str | None = field(default=None, compare=False)
    inputs: InputPlan | None = None


class _Samples:
    """A few texts spread over a stream of unknown length: when full, every other one is dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._step = 1
        self._seen = 0
        self._kept: list[str] = []

    def add(self, text: str) -> None:
        if self._seen % self._step == 0:
            self._kept.append(text)
            if len(self._kept) >= 2 * self._size:
                self._kept = self._kept[::2]
                self._step *= 2
        self._seen += 1

    def texts(self) -> tuple[str, ...]:
        if len(self._kept) <= self._size:
            return tuple(self._kept)
        stride = len(self._kept) / self._size
        return tuple(self._kept[int(index * stride)] for index in range(self._size))


class _Tally:
    """Distinct items by combination and state; of each item, only the 32 bytes of its id are kept."""

    def __init__(self, ledger: Ledger | None, destination: str | None, *, texts: _Texts | None) -> None:
        self._ledger = ledger
        self._destination = destination
        self._texts = texts
        self._seen: set[bytes] = set()
        self.by_form: Counter[tuple[ParameterSet, ItemState]] = Counter()
        self.to_copy = 0
        self.archived = 0
        self._has_archives = ledger is not None and ledger.archives.exist

    def add(self, batch: Sequence[PlannedRow]) -> None:
        ids = {item.id for wanted in batch for item in (wanted.row.item, *wanted.row.alternatives)}
        known = self._ledger.items.states(list(ids)) if self._ledger is not None else {}
        new: dict[str, tuple[Item, ParameterSet]] = {}
        for wanted in batch:
            item = wanted.row.settled(known)
            key = bytes.fromhex(item.id)
            if key not in self._seen:
                self._seen.add(key)
                new[item.id] = item, wanted.parameters_of(item)
        known = {item_id: state for item_id, state in known.items() if item_id in new}
        states = {item_id: known.get(item_id, ItemState.PLANNED) for item_id in new}
        if self._texts is not None:
            states |= self._texts.add({item_id: (new[item_id][0], state) for item_id, state in states.items()})
        self.by_form.update((new[item_id][1], state) for item_id, state in states.items())
        if self._ledger is not None and self._destination is not None:
            owned = [item_id for item_id, state in known.items() if state is ItemState.DELIVERED]
            images = self._ledger.images.to_deliver(owned, destination=self._destination)
            self.to_copy += len({image.item_id for image in images})
            places = self._ledger.archives.places(owned) if self._has_archives else {}
            self.archived += sum(self._destination not in there for there in places.values())

    def count(self, *states: ItemState) -> int:
        return sum(count for (_, state), count in self.by_form.items() if state in states)


class _Texts:
    """Distinct texts by state, and the price of those to be bought."""

    def __init__(self, spec: RewriteSpec, ledger: Ledger | None, fallback: RewriteFallback) -> None:
        self._spec = spec
        self._model = spec.chat_model()
        self._ledger = ledger
        self._fallback = fallback
        self._seen: dict[bytes, ItemState] = {}
        self._bought: set[bytes] = set()
        self._price = self._price_high = 0

    def add(self, items: Mapping[str, tuple[Item, ItemState]]) -> dict[str, ItemState]:
        """Count the texts of items, each with its state.

        Returns:
            Other states of those items whose text could not be had: they are not bought.
        """
        rewrites = {item.rewrite.id: item.rewrite for item, _ in items.values() if item.rewrite is not None}
        new = [rewrite_id for rewrite_id in rewrites if bytes.fromhex(rewrite_id) not in self._seen]
        known = self._ledger.items.states(new) if self._ledger is not None else {}
        self._seen.update((bytes.fromhex(name), known.get(name, ItemState.PLANNED)) for name in new)
        lost: dict[str, ItemState] = {}
        for item_id, (item, state) in items.items():
            if item.rewrite is None or state not in _BUYABLE:
                continue
            key = bytes.fromhex(item.rewrite.id)
            text = self._seen[key]
            if text in _BUYABLE and key not in self._bought:
                self._bought.add(key)
                self._price += price(self._model, item.rewrite)
                self._price_high += price_high(self._model, item.rewrite)
            elif text in (ItemState.REFUSED, ItemState.LOST) and self._fallback is RewriteFallback.FAIL:
                lost[item_id] = ItemState.REFUSED
        return lost

    def plan(self) -> RewritePlan:
        states = Counter(self._seen.values())
        return RewritePlan(
            model=self._model.id,
            variations=self._spec.variations,
            texts=len(self._seen),
            owned=states[ItemState.DELIVERED],
            to_buy=len(self._bought),
            held=states[ItemState.UNKNOWN] + states[ItemState.SENT],
            failed=states[ItemState.REFUSED] + states[ItemState.LOST],
            price=self._price,
            price_high=self._price_high,
        )


def make_plan(
    spec: Plannable,
    ledger: Ledger | None = None,
    *,
    destination: str | None = None,
    requests_per_minute: float | None = None,
    rewrite_fallback: RewriteFallback = RewriteFallback.FAIL,
    each: Callable[[RunItem], None] | None = None,
) -> Plan:
    """Count and price a batch. Up to `EXACT_ROWS` rows, each is looked at; above that, they are only counted.

    The source is read once, and a second time where there are many prompts.

    Args:
        destination: URI of the place the images would go to: owned images that are not there are to be copied.
        rewrite_fallback: Whether images whose prompt could not be rewritten before are bought from it as it is.

    Raises:
        BadInput: As `BatchSpec.stream`; prompts that do not fit the model are counted, not raised.
    """
    candidate = spec.candidates()[spec.active_index]
    each_prompt = spec.rows_per_prompt
    invalid: list[InvalidPrompt] = []
    samples = _Samples(_SAMPLES)
    suspicions = Suspicions()
    texts = _Texts(spec.rewrite, ledger, rewrite_fallback) if spec.rewrite is not None else None
    tally = _Tally(ledger, destination, texts=texts)
    rows = 0
    many = False
    for batch in batched(spec.stream()):
        wanted = []
        for one in batch:
            if isinstance(one, InvalidPrompt):
                invalid.append(one)
                continue
            if one.row.position % each_prompt == 0:
                samples.add(one.row.item.prompt)
                suspicions.look_at(one.row.item.prompt, one.row.source, one.row.line)
            if each is not None:
                each(one.row)
            wanted.append(one)
        rows += len(wanted)
        tally.add(wanted)
        if not many and rows + len(invalid) >= MANY_PROMPTS:
            many = True
            if (total := spec.count_rows()) > EXACT_ROWS:
                return _outline(spec, candidate, total, requests_per_minute)
    if isinstance(spec, BatchSpec):
        invalid.extend(spec.left_out())
    to_buy: Counter[ParameterSet] = Counter()
    for (form, state), count in tally.by_form.items():
        to_buy[form] += count if state in _BUYABLE else 0
    items = tally.by_form.total()
    return _priced(
        spec,
        candidate,
        to_buy,
        texts.plan() if texts is not None else None,
        requests_per_minute,
        prompts=rows // each_prompt + len(invalid),
        rows=rows,
        items=items,
        duplicates=rows - items,
        invalid=tuple(invalid),
        owned=tally.count(ItemState.DELIVERED),
        to_copy=tally.to_copy,
        archived=tally.archived,
        paid=tally.count(ItemState.GENERATED),
        held=tally.count(ItemState.UNKNOWN, ItemState.SENT),
        refused=tally.count(ItemState.REFUSED, ItemState.LOST),
        erased=tally.count(ItemState.ERASED),
        samples=samples.texts(),
        suspicions=suspicions.notes(),
    )


def _outline(spec: Plannable, candidate: Candidate, rows: int, requests_per_minute: float | None) -> Plan:
    """The plan of more rows than anybody would wait for."""
    each_form = rows // len(candidate.forms)
    samples: tuple[str, ...] = ()
    if isinstance(spec, BatchSpec):
        source = spec.prompts
        # A sample or a limit takes its prompts from anywhere in the space, or from its beginning.
        shown = source.spread(_SAMPLES) if source.limit is None else source.prompts()
        samples = tuple(prompt.text for prompt, _ in zip(shown, range(_SAMPLES), strict=False))
    return _priced(
        spec,
        candidate,
        dict.fromkeys(candidate.forms, each_form),
        _outline_texts(spec, each_form // spec.repeat),
        requests_per_minute,
        prompts=each_form // (spec.repeat * spec.variations),
        rows=rows,
        items=rows,
        samples=samples,
        exact=False,
    )


def _priced(
    spec: Plannable,
    candidate: Candidate,
    to_buy: Mapping[ParameterSet, int],
    rewrites: RewritePlan | None,
    requests_per_minute: float | None,
    suspicions: tuple[str, ...] = (),
    **counted: Any,
) -> Plan:
    """The plan with so many items to buy of each combination, and the texts for them."""
    calls = sum(to_buy.values())
    images = sum(count * form.num_images for form, count in to_buy.items())
    expected = sum(count * form.price for form, count in to_buy.items())
    highest = sum(count * form.price_high for form, count in to_buy.items())
    paid_calls = calls + (rewrites.to_buy if rewrites else 0)
    return Plan(
        model=candidate.model,
        combinations=spec.rows_per_prompt // (spec.variations * spec.repeat),
        to_buy=calls,
        images=images,
        price=expected + (rewrites.price if rewrites else 0),
        price_high=highest + (rewrites.price_high if rewrites else 0),
        bytes=images * BYTES_AN_IMAGE,
        seconds=None if requests_per_minute is None else paid_calls / requests_per_minute * 60,
        rewrites=rewrites,
        replaced=spec.models()[0].name if spec.active_index else None,
        omitted=candidate.omitted,
        notes=(*spec.terms.notes, *_no_picture(spec, candidate.model), *suspicions),
        column=spec.prompts.column if isinstance(spec, BatchSpec) else None,
        inputs=_inputs(spec, candidate.model),
        **counted,
    )


def _no_picture(spec: Plannable, model: ResolvedModel) -> tuple[str, ...]:
    """That a model which changes pictures is given none; its documentation does not require one."""
    if not isinstance(spec, BatchSpec) or spec.inputs is not None or not model.spec.id.endswith("-edit"):
        return ()
    names = {"images", *(name for name, one in model.contract.fields.items() if one.means == "images")}
    if names & spec.parameters.keys():
        return ()
    return (f"{model.name} changes pictures, and none is given: --image or --image-column names them",)


def _inputs(spec: Plannable, model: ResolvedModel) -> InputPlan | None:
    """The pictures that were found while the rows were gone through."""
    reader = spec.input_reader
    if reader is None or not spec.input_words:
        return None
    found, limits = reader.pictures(), model.contract.inputs
    copies = [(place, too_large(picture, limits)) for place, picture in found]
    return InputPlan(
        len(found),
        sum(picture.size for _, picture in found),
        tuple(f"{shown(place)}: {why}" for place, why in copies if why is not None),
    )


def _outline_texts(spec: Plannable, texts: int) -> RewritePlan | None:
    """As if every prompt were as long as one may be that is rewritten."""
    if spec.rewrite is None:
        return None
    model = spec.rewrite.chat_model()
    longest = list(spec.rewrite.rewrites("€" * LONGEST_SOURCE, spec.rewrite.text_limit(spec.resolve())))[-1]
    return RewritePlan(
        model=model.id,
        variations=spec.rewrite.variations,
        texts=texts,
        to_buy=texts,
        price=price(model, longest) * texts,
        price_high=price_high(model, longest) * texts,
    )
