"""What bounds a run: calls in flight, calls a minute, waiting, stopping, and the gate before each paid call."""

from .adaptive import AdaptiveRate
from .backoff import Backoff
from .balance import FORBIDDEN, BalanceGuard
from .circuit import CircuitBreaker, NothingSucceeds
from .health import HealthGate
from .limiter import CallLimiter
from .quota import Demand, Schedule, ThrottleEvent
from .stop import StopReason, StopSignal

__all__ = [
    "FORBIDDEN",
    "AdaptiveRate",
    "Backoff",
    "BalanceGuard",
    "CallLimiter",
    "CircuitBreaker",
    "Demand",
    "HealthGate",
    "NothingSucceeds",
    "Schedule",
    "StopReason",
    "StopSignal",
    "ThrottleEvent",
]
