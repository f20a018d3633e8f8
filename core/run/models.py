"""Which models a run may buy from, as its row in the ledger keeps it: in order, with prices, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..providers import ResolvedModel, load_registry
from ..providers.spec import Price

if TYPE_CHECKING:
    from ..plan import BatchBase


@dataclass(frozen=True, slots=True)
class RunModel:
    """A model that a run may buy from.

    Attributes:
        model: At the price that is reserved.
        withdrawn: Whether it is gone, or its provider sells nothing now: its items are delivered, and not bought.
        omitted: Parameters that are left out, as sentences.
    """

    model: ResolvedModel
    withdrawn: bool
    omitted: tuple[str, ...] = ()


def as_rows(batch: BatchBase) -> list[dict[str, Any]]:
    """The models of a batch as plain data.

    Raises:
        BadInput: As `BatchBase.candidates`.
    """
    rows = []
    for candidate in batch.candidates():
        model = candidate.model
        price = model.spec.price
        rows.append(
            {
                "model": model.name,
                "price": price.model_dump(mode="json") if price is not None else None,
                "withdrawn": not batch.terms.is_offered(model),
                "omitted": [str(omission) for omission in candidate.omitted],
            }
        )
    return rows


def run_models(run: Mapping[str, Any]) -> tuple[RunModel, ...]:
    """The models of a run; of one that was begun before there was a choice, the one that it names.

    Args:
        run: The run's row.

    Raises:
        UnknownModel: A model is not known here; a worker needs the same file of models.
    """
    registry = load_registry()
    rows: Sequence[Mapping[str, Any]] = run.get("models") or [{"model": run["model"]}]
    found = []
    for row in rows:
        model = registry.resolve(row["model"], allow_withdrawn=True)
        if row.get("price") is not None:
            model = model.priced(Price.model_validate(row["price"]))
        found.append(RunModel(model, bool(row.get("withdrawn")), tuple(row.get("omitted") or ())))
    return tuple(found)
