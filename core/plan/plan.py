"""What a run would do and cost, before one cent is spent. Sends nothing, writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from ..aimlapi import ImageRequest, ResolvedModel
from ..ledger import ItemState, Ledger, RunItem
from ..ledger.claims import in_batches
from ..ledger.schema import items
from .spec import BatchSpec, InvalidPrompt

__all__ = ["Plan", "make_plan"]

_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch, counted and priced.

    Attributes:
        model: What is bought, through which contract.
        prompts: Prompts after expansion, invalid ones included.
        rows: Rows of the run: valid prompts times repeats.
        items: Distinct items.
        duplicates: Rows that ask for an item another row asks for, too.
        invalid: Prompts that do not fit the model.
        owned: Items that are delivered already.
        paid: Items that are paid for, and still to be fetched or stored.
        held: Items whose last call may have been billed: left for a decision.
        refused: Items the provider refused before.
        to_buy: Items that would be bought.
        images: Images that would be made.
        price: Expected, in credits.
        price_high: At most, by the highest known price, in credits.
        samples: Prompts, spread over the batch.
    """

    model: ResolvedModel
    prompts: int
    rows: int
    items: int
    duplicates: int
    invalid: tuple[InvalidPrompt, ...]
    owned: int
    paid: int
    held: int
    refused: int
    to_buy: int
    images: int
    price: int
    price_high: int
    samples: tuple[str, ...]


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


def make_plan(spec: BatchSpec, ledger: Ledger | None = None) -> Plan:
    """Count and price a batch.

    Args:
        spec: What is asked for.
        ledger: What is owned already; None if there is no ledger yet.

    Raises:
        BadInput: As `BatchSpec.requests`; prompts that do not fit the model are counted, not raised.
    """
    model = spec.resolve()
    invalid: list[InvalidPrompt] = []
    samples = _Samples(_SAMPLES)
    prompts = 0
    request: ImageRequest | None = None
    for prompt, checked in spec.requests():
        prompts += 1
        if isinstance(checked, InvalidPrompt):
            invalid.append(checked)
        else:
            samples.add(prompt.text)
            request = checked
    # Ids as 32 bytes each, so that a hundred thousand prompts stay small.
    states: dict[bytes, ItemState] = {}
    rows = 0
    for batch in in_batches(spec.run_items()):
        rows += len(batch)
        states.update(dict.fromkeys((_key(row) for row in batch), ItemState.PLANNED))
        if ledger is not None:
            states.update(_known(ledger, [row.item.id for row in batch]))
    count = dict.fromkeys(ItemState, 0)
    for state in states.values():
        count[state] += 1
    to_buy = count[ItemState.PLANNED] + count[ItemState.FAILED] + count[ItemState.CLAIMED]
    return Plan(
        model=model,
        prompts=prompts,
        rows=rows,
        items=len(states),
        duplicates=rows - len(states),
        invalid=tuple(invalid),
        owned=count[ItemState.DELIVERED],
        paid=count[ItemState.GENERATED],
        held=count[ItemState.UNKNOWN] + count[ItemState.SENT],
        refused=count[ItemState.REFUSED] + count[ItemState.LOST],
        to_buy=to_buy,
        images=to_buy * (request.num_images if request else 0),
        price=to_buy * (request.price if request else 0),
        price_high=to_buy * (request.price_high if request else 0),
        samples=samples.texts(),
    )


def _key(row: RunItem) -> bytes:
    return bytes.fromhex(row.item.id)


def _known(ledger: Ledger, ids: list[str]) -> dict[bytes, ItemState]:
    with ledger.read() as connection:
        found = connection.execute(sa.select(items.c.id, items.c.state).where(items.c.id.in_(ids)))
        return {bytes.fromhex(row.id): ItemState(row.state) for row in found}
