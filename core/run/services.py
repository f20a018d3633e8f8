"""The services of one run, put together once a process: client, ledger, store, spool, limits, thread pools."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..delivery import DeliveryQueue, Downloader, Marker, Spool, Uploader
from ..errors import BadInput, ImagenError
from ..files import home
from ..http.exchange import user_agent
from ..http.memory import answers_budget
from ..images import Fetcher, decoding_budget
from ..inputs import InputShelf
from ..ledger import ClaimedItem, Ledger, LedgerMismatch, LedgerUnavailable
from ..limits import BalanceGuard, CallLimiter, CircuitBreaker, HealthGate, StopReason, StopSignal
from ..provenance import trusted_roots
from ..providers import Clients, ImageClient, ResolvedModel
from ..providers.chat_models import resolve_chat_model
from ..purchase import Purchaser, Rewriter
from ..request import DEFAULT_KEY_TEMPLATE, FOLDER_KEY_TEMPLATE, Delivery, RunRequest
from ..storage import KeyTemplate, LocalStore, ObjectStore, StoreUnavailable
from ..threads import results
from .accounts import Accounts
from .models import run_models

_MOST_MOVERS = 32
"""Images in motion at once: they keep processor and network busy, more of them only wait for each other."""


def spool_folder(delivery: Delivery) -> Path:
    """The folder of all spools: the one that is asked for, else this user's own."""
    return Path(delivery.spool) if delivery.spool else home() / "spool"


class Services:
    """What one run works with in one process. Thread-safe; all tasks of the run share it.

    Args:
        run_id: A run that is, or will be, on the ledger.
        ledger: Open.
        store: The destination, or None where images go nowhere yet.
        client: The API; None where nothing is bought (repair, copies).
        request: Limits, policy and delivery of the run.
    """

    def __init__(
        self,
        run_id: str,
        *,
        ledger: Ledger,
        store: ObjectStore | None,
        client: ImageClient | None,
        request: RunRequest,
    ) -> None:
        self.run_id = run_id
        self.ledger = ledger
        self.store = store
        self.request = request
        limits, delivery = request.limits, request.delivery
        trusted_roots()  # a mistake there is found before anything is bought
        self.halt = StopSignal()
        self._lock = threading.RLock()
        ledger.be_patient(delivery.patience)
        decoding_budget(), answers_budget()  # a mistake in a size is found before anything is bought
        self.spool = Spool(spool_folder(delivery), ledger.id, delivery.spool_max_bytes)
        # Chunks overlap and share these threads, first come, first served, so that chunks end in order.
        # A few more threads than calls may be in flight: some are busy writing down what the API has answered.
        buyers = limits.concurrency + math.ceil(limits.concurrency / 4)
        self.purchase_pool = ThreadPoolExecutor(buyers, thread_name_prefix="imagen-buy")
        self._purchases: list[list[Future[None]]] = []  # of each batch that is being bought
        movers = max(4, min(_MOST_MOVERS, limits.concurrency // 2))
        self.delivery_pool = ThreadPoolExecutor(movers, thread_name_prefix="imagen-move")
        self.gate = HealthGate(store.check, patience=delivery.patience) if store is not None else None
        self._marker = Marker(ledger, store, most_calls=max(10, limits.concurrency)) if store is not None else None
        self._marked = False
        self._mark_lock = threading.Lock()
        self.spool_gate = HealthGate(self.spool.check, patience=delivery.patience)
        self.inputs = InputShelf(store if delivery.keep_inputs else None, delivery.sign_inputs_above)
        self.client = client
        self.clients = Clients(client) if client is not None else None
        self.accounts = Accounts(ledger, self.clients, limits, delivery.patience, self.halt)
        self.texts = CircuitBreaker("calls for texts", limits.concurrency, delivery.patience)
        self._rewriter: Rewriter | None = None
        self._fetcher = Fetcher(_trusted(client, ledger), user_agent=user_agent(), pool_size=movers)
        self.downloader = Downloader(fetcher=self._fetcher, spool=self.spool, open_copy=self._open_copy, halt=self.halt)
        self._drain: threading.Timer | None = None
        self.halt.on_stop(self._begin_drain)
        self._delivery_queue: DeliveryQueue | None = None

    def _begin_drain(self) -> None:
        """Give calls in flight `drain_seconds` to be answered, now that the run is stopped."""
        self.ledger.be_patient(min(self.request.delivery.patience, self.request.delivery.drain_seconds))
        self._drain = threading.Timer(self.request.delivery.drain_seconds, self._end_drain)
        self._drain.daemon = True
        self._drain.start()

    def _end_drain(self) -> None:
        """Cut calls whose answer has not come; they are recorded as unknown."""
        if self.clients is not None:
            self.clients.cut_off()
        self._fetcher.cut_off()

    def close(self) -> None:
        """Close what belongs to this run alone; client, ledger and store stay open."""
        if self._drain is not None:
            self._drain.cancel()
        self.purchase_pool.shutdown(wait=False, cancel_futures=True)
        self.delivery_pool.shutdown(wait=False, cancel_futures=True)
        self.accounts.close()
        self._fetcher.close()
        if self.clients is not None:
            self.clients.close()
        self.spool.close()
        if self._marker is not None and self.halt.reason not in (StopReason.LEDGER, StopReason.STORE):
            self._marker.close()

    @property
    def destination(self) -> str | None:
        """URI of the place the images go to."""
        return self.store.destination if self.store is not None else None

    @property
    def delivery_queue(self) -> DeliveryQueue:
        """Delivers images while others are bought. Made on first use: the run is on the ledger by then."""
        with self._lock:
            if self._delivery_queue is None:
                uploader = self.uploader() if self.store is not None else None
                self._delivery_queue = DeliveryQueue(
                    self.downloader, uploader, self.delivery_pool, self.accounts.pictures_of
                )
            return self._delivery_queue

    def purchaser(self, model: ResolvedModel) -> Purchaser:
        """Create the purchaser of a model of this run.

        Raises:
            BadInput: There is no API client, or no key for the model's provider.
        """
        account = model.spec.provider
        guards = self.accounts.guards(account)
        pictures = guards.pictures if self.store is not None else None
        return self._purchaser(
            model, self.accounts.limiter(model), guards.balance, guards.calls, pictures=pictures, account=account
        )

    def _purchaser(
        self,
        model: ResolvedModel,
        limiter: CallLimiter,
        balance: BalanceGuard,
        calls: CircuitBreaker,
        *,
        pictures: CircuitBreaker | None = None,
        account: str | None = None,
    ) -> Purchaser:
        return Purchaser(
            client=self.accounts.clients,
            ledger=self.ledger,
            replies=self.spool.replies,
            limiter=limiter,
            gate=self.gate,
            spool_gate=self.spool_gate,
            account=account,
            balance=balance,
            calls=calls,
            pictures=pictures,
            halt=self.halt,
            run_id=self.run_id,
            model=model,
            parameters=self._row["parameters"],
            policy=self.request.policy,
            inputs=self.inputs,
            on_images=self.delivery_queue.submit,
        )

    def _models(self) -> Mapping[str, ResolvedModel]:
        """The models that are bought from by now; each item names its own."""
        models = run_models(self.ledger.runs.get(self.run_id))
        offered = [one.model for one in models if not one.withdrawn] or [models[0].model]
        return {model.spec.id: model for model in offered}

    def buy(self, claimed: Sequence[ClaimedItem]) -> None:
        """Buy items that this process has claimed, many at a time. The ledger has the outcome of each.

        Raises:
            BadInput: There is no API client.
        """
        if not claimed:
            return
        wanted = {item.model for item in claimed}
        purchasers = {name: self.purchaser(model) for name, model in self._models().items() if name in wanted}
        if not self._mark_first():
            return

        def buy(item: ClaimedItem) -> None:
            purchaser = purchasers.get(item.model)
            # An item of a model that is withdrawn is delivered if it was bought, and else stays as it was.
            if purchaser is None or self.halt.is_set:
                return
            try:
                if self._marker is not None:
                    self._marker.before_call()
                purchaser.buy(item)
            except LedgerMismatch as error:
                self.halt.set(StopReason.BEHIND, str(error))
            except LedgerUnavailable as error:
                self.halt.set(StopReason.LEDGER, str(error))

        purchases = [self.purchase_pool.submit(buy, item) for item in claimed]
        with self._lock:
            self._purchases.append(purchases)
        try:
            results(purchases)
        finally:
            with self._lock:
                self._purchases.remove(purchases)

    def has_idle_slots(self, batches: int) -> bool:
        """Whether so many batches are all being bought, and have fewer items left than calls may be in flight."""
        with self._lock:
            left = sum(not one.done() for purchases in self._purchases for one in purchases)
            return len(self._purchases) == batches and left < self.request.limits.concurrency

    def _mark_first(self) -> bool:
        """Advance the destination's marker before the first purchase; False, with the run halted, if none may be made.

        A store that is away is waited for, as before each call.
        """
        with self._mark_lock:
            while self._marker is not None and self.gate is not None and not self._marked and not self.halt.is_set:
                try:
                    self._marker.advance()
                    self._marked = True
                except StoreUnavailable as error:
                    self.gate.record_failure(error)
                    try:
                        self.gate.wait(lambda: self.halt.is_set)
                    except ImagenError as late:
                        self.halt.set(StopReason.STORE, str(late))
                except LedgerMismatch as error:
                    self.halt.set(StopReason.BEHIND, str(error))
                except ImagenError as error:
                    away = isinstance(error, LedgerUnavailable)
                    self.halt.set(StopReason.LEDGER if away else StopReason.STORE, str(error))
        return not self.halt.is_set

    def rewriter(self) -> Rewriter:
        """The rewriter of this run: one for all chunks, since it learns how the model wants to be asked.

        Raises:
            BadInput: There is no API client.
        """
        policy, rewrite = self.request.policy, self.request.rewrite
        with self._lock:
            if self._rewriter is None:
                self._rewriter = Rewriter(
                    purchaser=self._text_purchaser(),
                    ledger=self.ledger,
                    halt=self.halt,
                    find_model=lambda name: resolve_chat_model(name, rewrite.price if rewrite is not None else None),
                    policy=policy,
                )
            return self._rewriter

    def _text_purchaser(self) -> Purchaser:
        """Texts have limits of their own: their 429s say nothing about the image model."""
        seller = self.accounts.clients.main.provider.name
        quota = self.accounts.quota(seller, "chat/completions")
        limiter = CallLimiter(self.request.limits.concurrency, None, self.halt, quota=quota)
        return self._purchaser(
            next(iter(self._models().values())), limiter, self.accounts.guards(seller).balance, self.texts
        )

    def uploader(self) -> Uploader:
        """Create the uploader of this run.

        Raises:
            BadInput: There is no store.
        """
        if self.store is None or self.gate is None:
            raise BadInput("there is no store to upload to")
        return Uploader(
            store=self.store,
            keys=KeyTemplate(self._key_template()),
            ledger_id=self.ledger.id,
            run_tags=self._run_tags,
            source_of=self.ledger.images.source_of,
            marking=self._marking,
            origin=self.ledger.origin,
            spool=self.spool,
            gate=self.gate,
            halt=self.halt,
            patience=self.request.delivery.patience,
        )

    def _key_template(self) -> str:
        given = self.request.delivery.key_template
        if given is not None:
            return given
        in_folder = isinstance(self.store, LocalStore) and self.ledger.has_readable_names
        return FOLDER_KEY_TEMPLATE if in_folder else DEFAULT_KEY_TEMPLATE

    @functools.cached_property
    def _row(self) -> Mapping[str, Any]:
        return self.ledger.runs.get(self.run_id)

    def _run_tags(self) -> Mapping[str, str]:
        """The run's tags, read when the first image is stored: the services are older than the run's row."""
        tags: Mapping[str, str] = self._row["tags"]
        return tags

    def _marking(self) -> Mapping[str, Any] | None:
        """How the run's images are marked: also for a repair, which knows nothing of the run's options."""
        mark: Mapping[str, Any] | None = self._row["mark"]
        return mark

    def _open_copy(self, uri: str) -> tuple[ObjectStore, str]:
        """The store that holds a stored image, reached with the destination's own options where the scheme is the same.

        Raises:
            BadInput: The object lies somewhere this run has no access to.
        """
        parts = urlsplit(uri)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            return LocalStore(path.parent), path.name
        from ..storage import S3Store

        options = self.store.options if isinstance(self.store, S3Store) else None
        return S3Store(parts.netloc, "", options), parts.path.lstrip("/")


def _trusted(client: ImageClient | None, ledger: Ledger) -> tuple[str, ...]:
    """Origins that downloads may come from although they are on this machine: the API's own, and no other.

    Who only delivers has no client: the ledger knows where the images were bought.
    """
    addresses = (client.address if client is not None else None, *(account.address for account in ledger.accounts))
    return tuple(dict.fromkeys(address for address in addresses if address is not None))
