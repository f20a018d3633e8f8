"""What bounds a run: calls in flight, calls a minute, waiting, stopping, and the gate before each paid call."""

from .backoff import Backoff
from .breaker import FORBIDDEN, CreditBreaker
from .gate import Gate
from .halt import Halt, HaltReason
from .learning import LearntRate
from .limiter import CallLimiter
from .quota import Crowd, Demand, Grant, OwnQuota, Quota, Schedule

__all__ = [
    "FORBIDDEN",
    "Backoff",
    "CallLimiter",
    "CreditBreaker",
    "Crowd",
    "Demand",
    "Gate",
    "Grant",
    "Halt",
    "HaltReason",
    "LearntRate",
    "OwnQuota",
    "Quota",
    "Schedule",
]
