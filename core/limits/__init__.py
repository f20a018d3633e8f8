"""What bounds a run: calls in flight, calls a minute, waiting, stopping, and the gate before each paid call."""

from .backoff import Backoff
from .gate import Gate
from .halt import Halt, HaltReason
from .limiter import CallLimiter

__all__ = ["Backoff", "CallLimiter", "Gate", "Halt", "HaltReason"]
