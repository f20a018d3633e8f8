"""Work in threads, and waiting for all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def results(futures: Iterable[Future[T]]) -> list[T]:
    """Results in order. The first exception is raised after all have ended."""
    begun = list(futures)
    wait(begun)
    return [future.result() for future in begun]


def in_threads(pool: ThreadPoolExecutor, function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """Apply a function in the threads of a pool; as `results`."""
    return results(pool.submit(function, value) for value in values)
