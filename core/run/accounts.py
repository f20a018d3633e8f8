"""What the calls of a run wait for, by account: what one provider does says nothing of another.

Calls in flight are bounded together; the rate by key and model; whether anything succeeds, and whether the credit is
spent, by provider.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..errors import BadInput
from ..ledger import Ledger, SharedQuota
from ..limits import BalanceGuard, CallLimiter, CircuitBreaker, StopSignal
from ..providers import Clients, ResolvedModel
from ..providers.providers import split_name
from ..request import Limits


@dataclass(frozen=True, slots=True)
class Guards:
    """What tells that nothing more can be bought from a provider.

    Attributes:
        balance: Tells an empty account from a 403 about one request.
        calls: Pauses its calls while none succeeds.
        pictures: The same while none of its pictures arrives.
    """

    balance: BalanceGuard
    calls: CircuitBreaker
    pictures: CircuitBreaker


class Accounts:
    """Limits and guards of the providers that one run buys from, each made on first use. Thread-safe.

    Args:
        clients: None where nothing is bought.
        patience: Seconds that a provider of whom nothing succeeds is waited for.

    Attributes:
        on_change: Told of `calls` or `pictures` why buying pauses, and with None that it goes on.
    """

    def __init__(
        self, ledger: Ledger, clients: Clients | None, limits: Limits, patience: float, halt: StopSignal
    ) -> None:
        self._ledger = ledger
        self._clients = clients
        self._limits = limits
        self._patience = patience
        self._halt = halt
        self.on_change: Callable[[str, str | None], None] = lambda _, __: None
        self._lock = threading.Lock()
        self._room = threading.Semaphore(limits.concurrency)
        self._guards: dict[str, Guards] = {}
        self._limiters: dict[str, CallLimiter] = {}
        self._current: CallLimiter | None = None

    def guards(self, provider: str) -> Guards:
        """The guards of a provider."""
        with self._lock:
            if provider not in self._guards:
                calls = CircuitBreaker("calls", self._limits.concurrency, self._patience)
                pictures = CircuitBreaker("pictures", self._limits.concurrency, self._patience, lagging=True)
                for circuit in (calls, pictures):
                    circuit.on_change = partial(self._tell, circuit.of)
                self._guards[provider] = Guards(BalanceGuard(partial(self._balance, provider)), calls, pictures)
            return self._guards[provider]

    def pictures_of(self, model: str) -> CircuitBreaker:
        """Who is told of the pictures of a model, by its canonical id."""
        return self.guards(split_name(model)[0]).pictures

    def limiter(self, model: ResolvedModel) -> CallLimiter:
        """The limiter of a model; it shares its rate and its slots with all runs that have this key and model.

        Raises:
            BadInput: There is no key for its provider.
        """
        name = model.spec.id
        with self._lock:
            if name not in self._limiters:
                limits = self._limits
                per_minute, slots = limits.requests_per_minute, limits.shared_concurrency
                quota = self.quota(model.spec.provider, name, [model.wire_model], per_minute, slots)
                self._limiters[name] = CallLimiter(
                    limits.concurrency, per_minute, self._halt, quota=quota, room=self._room
                )
            self._current = self._limiters[name]
            return self._current

    def quota(
        self,
        provider: str,
        model: str,
        wire_models: Sequence[str] = (),
        per_minute: float | None = None,
        in_flight: int | None = None,
    ) -> SharedQuota:
        """What a provider lets through of a model, for all runs with its key; see `SharedQuota`."""
        key = self.clients.of(provider).fingerprint(self._ledger.id)
        return SharedQuota(self._ledger, key, model, wire_models, per_minute, in_flight)

    @property
    def clients(self) -> Clients:
        """The clients to buy with.

        Raises:
            BadInput: There are none.
        """
        if self._clients is None:
            raise BadInput("there are no API credentials to buy with")
        return self._clients

    @property
    def pauses(self) -> int:
        """How often buying paused."""
        return self.picture_pauses + sum(guards.calls.pauses for guards in self._all())

    @property
    def picture_pauses(self) -> int:
        """How often buying paused because no picture arrived."""
        return sum(guards.pictures.pauses for guards in self._all())

    @property
    def mean_seconds(self) -> float | None:
        """Mean time that a call of the model that is bought from held its slot; None before the first."""
        return self._current.mean_seconds if self._current is not None else None

    def close(self) -> None:
        """Give slots back."""
        with self._lock:
            for limiter in self._limiters.values():
                limiter.close()

    def _all(self) -> list[Guards]:
        with self._lock:
            return list(self._guards.values())

    def _balance(self, provider: str) -> int | None:
        client = self._clients.known(provider) if self._clients is not None else None
        return client.balance() if client is not None else None

    def _tell(self, of: str, reason: str | None) -> None:
        self.on_change(of, reason)
