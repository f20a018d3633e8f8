"""On which terms a run buys: which of the models that were named is to be asked, and at what prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from ..errors import BadInput
from ..providers import ModelSpec, ResolvedModel, UnknownModel, WithdrawnModel, load_registry
from ..providers.catalog import DeprecationNotice, ProviderCatalog
from ..providers.spec import Price


@dataclass(frozen=True, slots=True)
class ModelAvailability:
    """Prices of today, and what is withdrawn. Plain data: it travels to other processes.

    Attributes:
        prices: Canonical id of a model → its price; a model that is not here has the registry's.
        withdrawn: Canonical id of a model that is gone → since which day, or an empty text.
        successors: Canonical id → what the provider names instead.
        retiring: Canonical id → what is announced of a model that will go.
        closed: Provider of whom nothing more can be bought in this run → why.
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    successors: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    retiring: Mapping[str, DeprecationNotice] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)

    def priced(self, model: ResolvedModel) -> ResolvedModel:
        """The model at today's price."""
        price = self.prices.get(model.spec.id)
        return model if price is None else model.priced(price)

    def is_withdrawn(self, model: ResolvedModel) -> bool:
        return model.spec.id in self.withdrawn or model.spec.lifecycle.status == "withdrawn"

    def is_offered(self, model: ResolvedModel) -> bool:
        """Whether a model can be bought: it is not withdrawn, and its provider sells."""
        return not self.is_withdrawn(model) and model.spec.provider not in self.closed

    def at(self, model: ResolvedModel, usd: float) -> ModelAvailability:
        """The same with the price that the user names for an image of a model."""
        today = datetime.now(UTC).date().isoformat()
        price = Price(usd=Decimal(str(usd)), usd_high=Decimal(str(usd)), as_of=today, source="as given with the run")
        return replace(self, prices={**self.prices, model.spec.id: price})

    def withdrawing(self, model: ResolvedModel) -> ModelAvailability:
        """The same, once a call has shown that the model is not served."""
        return replace(self, withdrawn={**self.withdrawn, model.spec.id: ""})

    def closing(self, provider: str, reason: str) -> ModelAvailability:
        """The same, once nothing more can be bought from a provider."""
        return replace(self, closed={**self.closed, provider: reason})


def resolve_all(model: str, fallback: Sequence[str], terms: ModelAvailability) -> tuple[ResolvedModel, ...]:
    """The model and those that may stand in for it, at today's prices, in the order they are asked.

    Raises:
        UnknownModel: One is not known.
        WithdrawnModel: All of them are gone.
        BadInput: One is named twice.
    """
    registry = load_registry()
    resolved = [registry.resolve(name, allow_withdrawn=True) for name in (model, *fallback)]
    seen: set[str] = set()
    for one in resolved:
        if one.spec.id in seen:
            raise BadInput(f"fallback: {one.spec.id} is named twice")
        seen.add(one.spec.id)
    if not any(terms.is_offered(one) for one in resolved):
        last = resolved[-1].spec
        day = terms.withdrawn.get(last.id) or last.lifecycle.withdrawn_at
        raise WithdrawnModel(resolved[-1].name, day, _successor(last, terms))
    return tuple(map(terms.priced, resolved))


def _successor(spec: ModelSpec, terms: ModelAvailability) -> str | None:
    """What to use instead: the provider's word, or the registry's; not one that is gone itself."""
    registry = load_registry()
    seen = {spec.id}
    while (name := terms.successors.get(spec.id) or spec.lifecycle.successor) is not None:
        try:
            following = registry.resolve(name, allow_withdrawn=True)
        except UnknownModel:
            return name
        if not terms.is_withdrawn(following):
            return name
        if following.spec.id in seen:
            return None
        seen.add(following.spec.id)
        spec = following.spec
    return None


def make_terms(provider: ProviderCatalog, names: Sequence[str], seller: str) -> ModelAvailability:
    """What a provider's catalog means for the models of a run; it says nothing of what others sell.

    Args:
        provider: Its catalog.
        names: The models.
        seller: Name of the provider.
    """
    registry = load_registry()
    today = datetime.now(UTC).date()
    prices: dict[str, Price] = {}
    withdrawn: dict[str, str] = {}
    successors: dict[str, str] = {}
    notes: list[str] = []
    retiring: dict[str, DeprecationNotice] = {}
    for name in names:
        model = registry.resolve(name, allow_withdrawn=True)
        spec = model.spec
        known = provider if spec.provider == seller else ProviderCatalog(provider.origin)
        notice, price = known.notice(spec), known.price(model)
        if price is not None:
            prices[spec.id] = price
        if notice.successor is not None:
            successors[spec.id] = notice.successor
        if notice.withdrawn(today):
            withdrawn[spec.id] = notice.shutdown.isoformat() if notice.shutdown is not None else ""
            continue
        if notice.retiring:
            retiring[spec.id] = notice
        if (note := _note(spec.id, notice, known.lists(spec))) is not None:
            notes.append(note)
    if provider.problem and provider.heard_at is None:
        notes.append(f"{provider.problem}: prices and dates are those this package came with")
    elif provider.problem:
        notes.append(provider.problem)
    return ModelAvailability(prices, withdrawn, successors, tuple(notes), retiring)


def _note(model: str, notice: DeprecationNotice, listed: bool | None) -> str | None:
    if listed is False:
        return f"{model} is not in the API's catalogue; a call that is answered with 404 costs nothing"
    if notice.status == "listed":
        return None
    when = f" on {notice.shutdown}" if notice.shutdown is not None else ""
    instead = f" Its successor: {notice.successor}." if notice.successor else ""
    return f"{model} is {notice.status} and will be withdrawn{when}.{instead}"
