"""Everything one run works with, put together once a process: client, ledger, store, spool, limits."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..aimlapi import AimlApiClient
from ..aimlapi.chat_models import resolve_chat_model
from ..delivery import MAX_BYTES, DeliveryQueue, Downloader, Spool, Uploader
from ..errors import BadInput
from ..files import home
from ..http.sessions import user_agent
from ..images import Fetcher
from ..ledger import LEASE_SECONDS, ClaimedItem, Ledger, LedgerUnavailable, SharedQuota, UnknownPolicy
from ..limits import BalanceGuard, CallLimiter, HealthGate, StopReason, StopSignal
from ..purchase import Purchaser, PurchaseSettings, Rewriter
from ..storage import KeyTemplate, LocalStore, ObjectStore, S3Store
from ..threads import in_threads
from .models import run_models

__all__ = ["RunContext", "RunSettings", "spool_folder"]

_MOST_MOVERS = 32
"""Images in motion at once: they keep processor and network busy, more of them only wait for each other."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run goes about it. Plain data: it travels to other processes.

    Attributes:
        concurrency: Paid calls in flight in one process, 1 to 512.
        requests_per_minute: Highest rate of paid calls, over all runs of the ledger with the same key and model; None:
            what 429s teach.
        shared_concurrency: Paid calls in flight, likewise; None: as many as all processes have.
        unknown: What to do with items whose last call may have been billed.
        retry_refused: Ask again for what the provider refused before.
        patience: Seconds that a store, a database or an API that went away is waited for.
        key_template: How objects are named.
        wait_for_others: Seconds to wait at the end for items that another run is working on.
        drain_seconds: Seconds that what is in flight has to end when the run is stopped (SIGTERM, cancelled).
        spool_max_bytes: Bytes in the spool above which nothing more is bought.
        spool: Folder for what is between reply and object; None for the one of this user.
        purchase: How hard to try to buy.
        rewrite_price: Price of the language model that rewrites prompts, where the user gave it: `IN,OUT` in USD per
            million tokens.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    shared_concurrency: int | None = None
    unknown: UnknownPolicy = UnknownPolicy.HOLD
    retry_refused: bool = False
    patience: float = 120.0
    key_template: str = "{model}/{item_id}/{call}-{index}.{ext}"
    wait_for_others: float = LEASE_SECONDS
    drain_seconds: float = 25.0
    spool: str | None = None
    spool_max_bytes: int = MAX_BYTES
    purchase: PurchaseSettings = field(default_factory=PurchaseSettings)
    rewrite_price: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 512:
            raise BadInput(f"concurrency: {self.concurrency} is not allowed (1 to 512)")
        if self.requests_per_minute is not None and not 0 < self.requests_per_minute <= 1_000_000:
            raise BadInput(f"requests_per_minute: {self.requests_per_minute} is not allowed (above 0)")
        if self.shared_concurrency is not None and self.shared_concurrency < 1:
            raise BadInput(f"shared_concurrency: {self.shared_concurrency} is not allowed (1 or more)")
        if not 0 <= self.drain_seconds <= 3600:
            raise BadInput(f"drain_seconds: {self.drain_seconds} is not allowed (0 to 3600)")
        KeyTemplate(self.key_template)


def spool_folder(settings: RunSettings) -> Path:
    """Where spools are: as the settings say, else this user's own."""
    return Path(settings.spool) if settings.spool else home() / "spool"


class RunContext:
    """The parts of one run in one process. Thread-safe; shared by all tasks of the run.

    Args:
        run_id: A run that is in the ledger.
        ledger: Open.
        store: The destination, or None where images go nowhere yet.
        client: The API; None where nothing is bought (repair, copies).
        settings: How to go about it.
    """

    def __init__(
        self,
        run_id: str,
        *,
        ledger: Ledger,
        store: ObjectStore | None,
        client: AimlApiClient | None,
        settings: RunSettings,
    ) -> None:
        self.run_id = run_id
        self.ledger = ledger
        self.store = store
        self.settings = settings
        self.halt = StopSignal()
        self._lock = threading.RLock()
        ledger.be_patient(settings.patience)
        self.spool = Spool(spool_folder(settings), ledger.id, settings.spool_max_bytes)
        # Chunks overlap; their threads do not add up. Whoever comes first is served first, so chunks end in order.
        # A few more threads than calls may be in flight: some are busy writing down what the API has answered.
        buyers = settings.concurrency + math.ceil(settings.concurrency / 4)
        self.purchase_pool = ThreadPoolExecutor(buyers, thread_name_prefix="imagen-buy")
        movers = max(4, min(_MOST_MOVERS, settings.concurrency // 2))
        self.delivery_pool = ThreadPoolExecutor(movers, thread_name_prefix="imagen-move")
        self.limiter = CallLimiter(settings.concurrency, settings.requests_per_minute, self.halt)
        self._sharing = False
        self.gate = HealthGate(store.check, patience=settings.patience) if store is not None else None
        self.spool_gate = HealthGate(self.spool.check, patience=settings.patience)
        self.client = client
        self.breaker = BalanceGuard(client.balance if client is not None else lambda: None)
        self._rewriter: Rewriter | None = None
        self._fetcher = Fetcher(_trusted(client), user_agent=user_agent(), pool_size=movers)
        self.downloader = Downloader(fetcher=self._fetcher, spool=self.spool, open_copy=self._open_copy, halt=self.halt)
        self._drain: threading.Timer | None = None
        self.halt.on_stop(self._begin_drain)
        self._delivery_queue: DeliveryQueue | None = None

    def _begin_drain(self) -> None:
        """The run was stopped: what is in flight has `drain_seconds`, then its answers are waited for no longer."""
        self.ledger.be_patient(min(self.settings.patience, self.settings.drain_seconds))
        self._drain = threading.Timer(self.settings.drain_seconds, self._end_drain)
        self._drain.daemon = True
        self._drain.start()

    def _end_drain(self) -> None:
        """Calls whose answer has not come are unknown, and recorded as such."""
        if self.client is not None:
            self.client.cut_off()
        self._fetcher.cut_off()

    def close(self) -> None:
        """Close what belongs to this run alone."""
        if self._drain is not None:
            self._drain.cancel()
        self.purchase_pool.shutdown(wait=False, cancel_futures=True)
        self.delivery_pool.shutdown(wait=False, cancel_futures=True)
        self.limiter.close()
        self._fetcher.close()

    @property
    def destination(self) -> str | None:
        """URI of the place the images go to."""
        return self.store.destination if self.store is not None else None

    @property
    def delivery_queue(self) -> DeliveryQueue:
        """What carries images to the store. Made on first use: the run is in the ledger by then, with its tags."""
        with self._lock:
            if self._delivery_queue is None:
                uploader = self.uploader() if self.store is not None else None
                self._delivery_queue = DeliveryQueue(self.downloader, uploader, self.delivery_pool)
            return self._delivery_queue

    def purchaser(self, limiter: CallLimiter | None = None) -> Purchaser:
        """The one who buys.

        Args:
            limiter: Bounds its calls; None for the run's own, whose turns are from here on those of all runs with this
                key and model.

        Raises:
            BadInput: There is no API client.
        """
        if self.client is None:
            raise BadInput("there are no API credentials to buy with")
        run = self.ledger.runs.get(self.run_id)
        models = run_models(run)
        offered = [one.model for one in models if not one.withdrawn]
        model = offered[0] if offered else models[0].model
        with self._lock:
            if limiter is None and not self._sharing:
                self._sharing = True
                self.limiter.use(self._shared_quota(self.client, model.spec.id, [model.wire_model]))
        return Purchaser(
            client=self.client,
            ledger=self.ledger,
            replies=self.spool.replies,
            limiter=limiter or self.limiter,
            gate=self.gate,
            spool_gate=self.spool_gate,
            breaker=self.breaker,
            halt=self.halt,
            run_id=self.run_id,
            model=model,
            fallback_models=offered[1:],
            parameters=run["parameters"],
            settings=self.settings.purchase,
            on_images=self.delivery_queue.submit,
        )

    def buy(self, claimed: Sequence[ClaimedItem]) -> None:
        """Buy items that this process has claimed, many at a time. What became of them is in the ledger.

        Raises:
            BadInput: There is no API client.
        """
        if not claimed:
            return
        purchaser = self.purchaser()

        def buy(item: ClaimedItem) -> None:
            if self.halt.is_set:
                return
            try:
                purchaser.buy(item)
            except LedgerUnavailable as error:
                self.halt.set(StopReason.LEDGER, str(error))

        in_threads(self.purchase_pool, buy, claimed)

    def rewriter(self) -> Rewriter:
        """The one who has prompts rewritten: one for the run, since it learns how the model wants to be asked.

        Raises:
            BadInput: There is no API client.
        """
        with self._lock:
            if self._rewriter is None:
                self._rewriter = Rewriter(
                    purchaser=self.purchaser(self._rewriting_limiter()),
                    ledger=self.ledger,
                    halt=self.halt,
                    find_model=lambda name: resolve_chat_model(name, self.settings.rewrite_price),
                    unknown=self.settings.unknown,
                    retry_refused=self.settings.retry_refused,
                    trust_unbilled_5xx=self.settings.purchase.trust_unbilled_5xx,
                )
            return self._rewriter

    def _shared_quota(self, client: AimlApiClient, model: str, wire_models: Sequence[str]) -> SharedQuota:
        """Turns and slots of all runs with this key and model."""
        return SharedQuota(
            self.ledger,
            client.fingerprint(self.ledger.id),
            model,
            wire_models,
            self.settings.requests_per_minute,
            self.settings.shared_concurrency,
        )

    def _rewriting_limiter(self) -> CallLimiter:
        """Texts have limits of their own: what their 429s teach says nothing of the image model."""
        if self.client is None:
            raise BadInput("there are no API credentials to buy with")
        quota = SharedQuota(self.ledger, self.client.fingerprint(self.ledger.id), "chat/completions", ())
        return CallLimiter(self.settings.concurrency, None, self.halt, quota=quota)

    def uploader(self) -> Uploader:
        """The one who stores.

        Raises:
            BadInput: There is no store.
        """
        if self.store is None or self.gate is None:
            raise BadInput("there is no store to upload to")
        return Uploader(
            store=self.store,
            keys=KeyTemplate(self.settings.key_template),
            ledger_id=self.ledger.id,
            run_tags=self._run_tags,
            spool=self.spool,
            gate=self.gate,
            halt=self.halt,
            patience=self.settings.patience,
        )

    @functools.cached_property
    def _tags(self) -> Mapping[str, str]:
        tags: Mapping[str, str] = self.ledger.runs.get(self.run_id)["tags"]
        return tags

    def _run_tags(self) -> Mapping[str, str]:
        """The run's tags, asked for when the first image is stored: the context is older than the run's row."""
        return self._tags

    def _open_copy(self, uri: str) -> tuple[ObjectStore, str]:
        """The store that holds a stored image, reached with the destination's own options where the scheme is the same.

        Raises:
            BadInput: The object lies somewhere this run has no access to.
        """
        parts = urlsplit(uri)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            return LocalStore(path.parent), path.name
        options = self.store.options if isinstance(self.store, S3Store) else None
        return S3Store(parts.netloc, "", options), parts.path.lstrip("/")


def _trusted(client: AimlApiClient | None) -> tuple[str, ...]:
    """Origins the download guard lets pass although they are on this machine: the configured API's own, no other."""
    if client is None:
        return ()
    parts = urlsplit(client.base_url)
    return (f"{parts.scheme}://{parts.netloc}",)
