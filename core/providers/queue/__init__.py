"""The protocol of job queues: a request is submitted, its result is fetched when it is done."""

from .client import QueueClient

__all__ = ["QueueClient"]
