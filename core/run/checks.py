"""What is checked before a run begins: each problem is a clear error, and nothing that costs was sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BadInput
from ..files import home
from ..inputs import InputReader
from ..inputs.shelf import check_addresses
from ..ledger import Ledger
from ..money import credits_to_usd, format_usd, usd_to_credits
from ..plan import AnyBatch, BatchSpec, make_terms, open_batch
from ..providers import Clients, Endpoint, ImageClient, InvalidRequest, WithdrawnModel, load_registry
from ..providers.errors import ApiError, BadKey
from ..request import DEFAULT_KEY_TEMPLATE, RunRequest
from ..rewrite import make_request
from ..storage import KeyTemplate, ObjectStore


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch that was read once from end to end, at today's prices.

    Attributes:
        batch: What is asked for.
        prompts: How many prompts can be run.
    """

    batch: AnyBatch
    prompts: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose batch and services were checked: the only thing that `Run.open` takes.

    Attributes:
        request: What is asked for, and how.
        client: The API; its key was accepted.
        ledger: Bound to that API.
        store: The destination; it may be written to, and is marked as this ledger's.
        checked: The batch; None for a run that is on the ledger already.
    """

    request: RunRequest
    client: ImageClient
    ledger: Ledger
    store: ObjectStore
    checked: CheckedBatch | None = None


_handed_over: ContextVar[Prepared | None] = ContextVar("prefect_imagen_prepared", default=None)


@contextlib.contextmanager
def handed_over(prepared: Prepared) -> Iterator[None]:
    """Within, a flow that is called takes what was prepared instead of checking all of it again."""
    token = _handed_over.set(prepared)
    try:
        yield
    finally:
        _handed_over.reset(token)


def take_over() -> Prepared | None:
    """What the caller of a flow has prepared, once."""
    prepared = _handed_over.get()
    _handed_over.set(None)
    return prepared


def check_request(
    prompts: str | Path | Sequence[str],
    request: RunRequest,
    endpoint: Endpoint,
    *,
    ledger: Callable[[], Ledger] | None = None,
    store: ObjectStore | None = None,
) -> CheckedBatch:
    """Check everything that needs no key, no ledger and no store; ask the API for prices unless told not to.

    Reads the source once, and each picture that goes into a request.

    Args:
        prompts: File, object in S3, or list.
        request: What to make of them.
        endpoint: Where it is to be bought.
        ledger: Opens the ledger, where pictures of its catalog go in.
        store: The destination, whose options reach pictures below it.

    Raises:
        BadInput: What is wrong with prompts, model, parameters or budget.
        WithdrawnModel: The model is gone, and no other may be used.
    """
    # Also where nothing else would look at it before the first image is stored.
    keys = KeyTemplate(request.delivery.key_template or DEFAULT_KEY_TEMPLATE)
    reader = InputReader(ledger, store, trusted=(endpoint.base_url,))
    batch = open_terms(prompts, request, endpoint, reader)
    budget = usd_to_credits(request.budget_usd) if request.budget_usd is not None else None
    checked = CheckedBatch(batch, check_batch(batch, budget=budget))
    if isinstance(batch, BatchSpec) and batch.prompts.columns is not None:
        keys.check_columns(batch.prompts.columns)
    return checked


def prepare(
    request: RunRequest,
    *,
    client: ImageClient,
    ledger: Ledger,
    store: ObjectStore,
    checked: CheckedBatch | None = None,
    tags: Mapping[str, str] | None = None,
) -> Prepared:
    """Check the services and bind ledger, API and destination to each other. Free calls only.

    Args:
        request: What is asked for.
        client: The API.
        ledger: Open.
        store: The destination.
        checked: From `check_request`; None for a run that is on the ledger already.
        tags: Of the run; None for the request's.

    Raises:
        BadInput, Unavailable: As `check_services`.
    """
    adopt = request.delivery.adopt_ledger
    check_services(client, ledger, store, adopt=adopt, tags=request.tags if tags is None else tags)
    if checked is not None:
        _check_stand_ins(client, ledger, checked.batch)
        delivery, models = request.delivery, checked.batch.models() if checked.batch.input_words else ()
        check_addresses(store, models, wanted=delivery.sign_inputs_above is not None, kept=delivery.keep_inputs)
    return Prepared(request, client, ledger, store, checked)


def with_budget_left(prepared: Prepared, spent: int) -> Prepared | None:
    """The same with what is left of its budget; None if too little is left for one item.

    Args:
        prepared: With the whole budget.
        spent: Credits that runs before it have spent of it, or may have.
    """
    request = prepared.request
    if request.budget_usd is None or prepared.checked is None or not spent:
        return prepared
    left = usd_to_credits(request.budget_usd) - spent
    if left < min(form.price_high for form in prepared.checked.batch.forms()):
        return None
    changed = request.model_copy(update={"budget_usd": float(credits_to_usd(left))})
    return replace(prepared, request=changed)


def open_terms(
    prompts: str | Path | Sequence[str], request: RunRequest, endpoint: Endpoint, reader: InputReader | None = None
) -> AnyBatch:
    """The batch of a request to an endpoint, with what its models cost; raises what `with_terms` raises."""
    batch = open_batch(prompts, request, reader)
    if isinstance(batch, BatchSpec):
        fallback = tuple(endpoint.stand_in(name) for name in batch.fallback)
        batch = replace(batch, model=endpoint.choose(batch.model), fallback=fallback)
    offline, price = not request.policy.ask_catalogue, request.image.price
    return with_terms(batch, endpoint, offline=offline, price=price)


def with_terms(spec: AnyBatch, endpoint: Endpoint, *, offline: bool = False, price: float | None = None) -> AnyBatch:
    """Ask the API's catalogue what the models of a batch cost, and which are gone; free, and quick to give up.

    Args:
        spec: The batch.
        endpoint: Where its model is bought. Fallback models of other providers are bought at these.
        offline: Ask nothing.
        price: What an image of the model costs, in USD; None for what is known.

    Raises:
        WithdrawnModel: The model is gone, and no other may stand in for it.
        UnknownModel: One is not known.
    """
    registry = load_registry()
    endpoint.check(registry.resolve(spec.model, allow_withdrawn=True))
    provider = endpoint.catalog(home() / "cache", offline=offline, fresh=True)
    terms = make_terms(provider, (spec.model, *spec.fallback), endpoint.provider.name)
    if price is not None:
        terms = terms.at(registry.resolve(spec.model, allow_withdrawn=True), price)
    ready = replace(spec, terms=terms)
    try:
        ready.models()
    except WithdrawnModel as error:
        raise _with_the_way_out(ready, error) from None
    return ready


def _with_the_way_out(spec: AnyBatch, error: WithdrawnModel) -> WithdrawnModel:
    """The error, saying whether the successor could do all that is asked for."""
    if error.successor is None:
        return error
    try:
        replace(spec, fallback=(*spec.fallback, error.successor)).candidates()
    except InvalidRequest:
        return WithdrawnModel(error.name, error.withdrawn_at, error.successor, True)
    except BadInput:
        return error
    return error


def check_batch(spec: AnyBatch, *, budget: int | None) -> int:
    """Check prompts, model, parameters and budget; needs no service.

    Args:
        spec: What is asked for.
        budget: In credits, or None.

    Returns:
        Prompts that can be run.

    Raises:
        BadInput: What is wrong with them; a budget below the price of one item.
    """
    count = spec.check()
    cheapest = min(spec.forms(), key=lambda form: form.price_high)
    price, images = cheapest.price_high, cheapest.num_images
    text = ""
    if spec.rewrite is not None:
        model = spec.rewrite.chat_model()
        shortest = next(spec.rewrite.rewrites("", spec.rewrite.text_limit(spec.resolve())))
        price += make_request(model, shortest).price_high
        text = f", and a rewritten prompt by {model.id}"
    if budget is not None and budget < price:
        raise BadInput(
            f"the budget of {format_usd(budget)} is below the price of one item: {format_usd(price)} "
            f"for {images} image{'s' if images > 1 else ''} of {spec.resolve().name}{text}"
        )
    return count


def check_services(
    client: ImageClient,
    ledger: Ledger,
    store: ObjectStore | None,
    *,
    adopt: bool = False,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Check that key, ledger and destination work and belong together; free calls only.

    Args:
        client: The API.
        ledger: Gets bound to the API on its first run.
        store: The destination; a marker with the ledger's id is left there on the first run.
        adopt: Take over a destination that another ledger has marked.
        tags: Of the run, as its images may get them.

    Raises:
        BadInput: A bad key, a missing bucket or right, a ledger of another API or an older copy, a destination of
            another ledger.
        Unavailable: Something does not answer.
    """
    origin = client.origin()
    _check_key(client)
    if store is not None:
        store.preflight(tags)
    # Last, since it is for good: an address with a typo in it must not become a new ledger's API.
    ledger.bind(origin, client.address, client.provider.name)
    if store is not None:
        from ..delivery import Marker  # with all that looks at images: a plan needs none of it

        Marker(ledger, store).bind(adopt=adopt)


def _check_key(client: ImageClient) -> None:
    try:
        client.check_key()
    except BadKey as error:
        raise BadInput(f"the API refuses the key: {error.message}") from None
    except ApiError:
        # The balance is a courtesy: a key without the right to see it can still buy images.
        pass


def _check_stand_ins(client: ImageClient, ledger: Ledger, batch: AnyBatch) -> None:
    """The same for the providers of fallback models: their keys are those of the environment."""
    others = {model.spec.provider: model.name for model in batch.models() if not batch.terms.is_withdrawn(model)}
    clients = Clients(client)
    try:
        for provider, model in others.items():
            if provider == client.provider.name:
                continue
            try:
                other = clients.of(provider)
                origin = other.origin()
                _check_key(other)
            except BadInput as error:
                raise BadInput(f"fallback {model}: {error}") from None
            ledger.bind(origin, other.address, provider)
    finally:
        clients.close()
