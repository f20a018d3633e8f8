"""How much memory the answers of APIs take, all of a process together."""

from __future__ import annotations

from ..memory import Budget, GrowingBudget, bytes_from_environment, once_per_process

ANSWERS_VARIABLE = "PREFECT_IMAGEN_REPLY_BYTES"
"""Environment variable with the most memory, in bytes, that the answers of APIs to a process take together."""

MOST_ANSWER = 128 * 2**20
"""Bytes of one answer."""

DEFAULT_ANSWERS = 256 * 2**20
_TIMES_READ = 6
"""Times of its bytes that a JSON document takes while it is read: one character of four bytes makes all of them so."""


@once_per_process
def answers_budget() -> GrowingBudget:
    """The budget for answers, from their first bytes until they are dealt with.

    Raises:
        BadInput: The environment asks for what is no number of bytes, or for less than one answer may take.
    """
    return GrowingBudget(bytes_from_environment(ANSWERS_VARIABLE, DEFAULT_ANSWERS, MOST_ANSWER), MOST_ANSWER)


@once_per_process
def working_budget() -> Budget:
    """The budget for what is made of answers: decoded, read as JSON. As large again; see `answers_budget`."""
    return Budget(answers_budget().limit)


def reading_needs(size: int) -> int:
    """Bytes that it takes to read a JSON document of so many bytes."""
    return _TIMES_READ * size
