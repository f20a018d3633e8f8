"""The state of one sandbox, which all routes share."""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from importlib.metadata import PackageNotFoundError, version

from ..core.errors import BadInput
from ..core.money import usd_to_credits
from ..core.providers.providers import DEFAULT_PROVIDER
from ..core.providers.registry import UnknownModel, load_registry
from ..core.providers.spec import ModelSpec, ResolvedModel
from .call_log import CallLog
from .error_bodies import Failure, empty_key, missing_key, now_iso
from .faults import FaultInjector
from .image_cache import CDN_PREFIX, CachedImage, ImageCache
from .model_stock import ModelStatus, ModelStock
from .options import SandboxOptions
from .rate_limit import RateLimit
from .replays import Replays

_IMAGEN4 = "google/imagen4/preview"


def sandbox_version() -> str:
    """Version of the installed package, as the `Server` header names it."""
    try:
        return version("prefect-imagen")
    except PackageNotFoundError:
        return "unknown"


class SandboxState:
    """The options of a sandbox, and everything that lives as long as its server.

    Attributes:
        options: The settings.
        origin: Scheme, host and port that image URLs begin with.
        registry: The models that are served.
        call_log: Calls, bill, balance, counters.
        faults: Decides which fault a call or a download gets.
        images: The images.
        replays: What was billed under idempotency keys.
        rate_limit: The limit of calls to the paid endpoints.
        shelf: What is sold, and at what price.
    """

    def __init__(self, options: SandboxOptions, origin: str) -> None:
        self.options = options
        self.origin = origin
        self.registry = load_registry()
        self.call_log = CallLog(usd_to_credits(options.balance_usd))
        self.stock = ModelStock(self.registry, options.any_model_usd)
        self.faults = FaultInjector()
        self.images = ImageCache(options)
        self.replays = Replays()
        self.rate_limit = RateLimit(options.calls_a_window, options.rate_window, options.concurrent_calls)
        self._keys = frozenset(key.get_secret_value() for key in options.keys)

    def model(self, name: str) -> ResolvedModel | None:
        """The model that a request names, with the contract it is served with; None: unknown or withdrawn."""
        if "@" in name:
            # The registry's way to pick a contract; the API knows nothing of it.
            return None
        try:
            wanted = f"{name}@{self.options.imagen4_contract}" if name == _IMAGEN4 else name
            found = self.registry.resolve(wanted, allow_withdrawn=True)
        except UnknownModel:
            return None
        if found.spec.price is None and found.spec.provider != DEFAULT_PROVIDER:
            return None  # nobody has described it
        return None if self.status_of(found.spec).status == "withdrawn" else found

    def status_of(self, spec: ModelSpec) -> ModelStatus:
        """The status of a model: that of the stock, or withdrawn by a fault that has begun to strike."""
        current = self.stock.status_of(spec)
        fault = self.faults.withdrawn(spec.names)
        if fault is None or current.status == "withdrawn":
            return current
        today = now_iso()[:10]
        successor = fault.replaced_by or spec.lifecycle.successor
        return ModelStatus(status="withdrawn", deprecated_at=today, shutdown_at=today, replaced_by=successor)

    def canonical(self, name: str) -> str:
        """The model id that the account shows for a name; the name itself if the registry does not know it."""
        try:
            return self.registry.resolve(name, allow_withdrawn=True).spec.id
        except BadInput:
            return name

    @staticmethod
    def fingerprint(key: str | None) -> str:
        """A short hash of a key, which tells keys apart without storing them; empty if there is none."""
        return hashlib.sha256(key.encode()).hexdigest()[:12] if key else ""

    def refusal(self, key: str | None) -> Failure | None:
        """The error for a key that is not accepted, or for None, no key; None if it is accepted."""
        if not key and self.options.anonymous:
            return None
        if key is None:
            return missing_key("no_key")
        if not key:
            return empty_key()
        return None if not self._keys or key in self._keys else missing_key("wrong_key")

    def url(self, image: CachedImage) -> str:
        """The URL of an image, with its signed query."""
        return f"{self.origin}{CDN_PREFIX}{image.name}?{image.query.decode()}"

    async def simulate_latency(self, extra: float = 0.0) -> None:
        """Wait as long as a paid call takes.

        Args:
            extra: Seconds added to latency and jitter.
        """
        options = self.options
        seconds = options.latency + random.uniform(-options.jitter, options.jitter) + extra  # noqa: S311
        if seconds > 0:
            await asyncio.sleep(seconds)

    @staticmethod
    def new_id() -> str:
        """A fresh id for a request or an inference."""
        return uuid.uuid4().hex
