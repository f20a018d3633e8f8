"""How a process that expands prompts and the one that wants them talk: a dialogue over two pipes.

The expanding side asks for what it needs (rows, wildcards, parts of a file) and gives what it makes. It asks for the
next rows before it works on those it has, so that both sides work at the same time; and it takes an answer in before it
gives anything, so that neither side can wait for the other with both pipes full.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, Protocol

from .errors import PromptError

_LENGTH = struct.Struct("!Q")
_GIVEN_AT_ONCE = 200
_BYTES_AT_ONCE = 1_000_000


class Ask(NamedTuple):
    """A question: the answer is whatever the other side has under this name."""

    name: str
    argument: Any = None


class Give(NamedTuple):
    items: list[Any]


class Ready(NamedTuple):
    """All that can be known without rows is in order."""


class End(NamedTuple):
    value: Any
    reusable: bool


class Fail(NamedTuple):
    error: BaseException


class NoMore(Exception):
    """The other side cannot answer; it knows why."""


def send(stream: IO[bytes], message: Any) -> None:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message. Both ends are processes of this package, and of one user.

    Raises:
        EOFError: The other side is gone.
    """
    head = stream.read(_LENGTH.size)
    data = stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not data:
        raise EOFError
    return pickle.loads(data)  # noqa: S301


class Limits(Protocol):
    """What bounds the expanding side."""

    def memory(self) -> None:
        """Limit the memory from here on, when all modules are there that the job needs."""

    def at(self, line: int) -> None:
        """The work on a row begins. The system ends the process when its time is over."""

    def more(self, made: int) -> None:
        """So many prompts were made, or parts of a file read."""


class Channel:
    """The expanding side of a dialogue."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._ahead: str | None = None
        self._answers: dict[str, Any] = {}
        self._made: list[Any] = []
        self._size = 0
        self.given = 0
        """Items that were sent last."""

    def order(self) -> Any:
        return receive(self._incoming)

    def ready(self) -> None:
        send(self._outgoing, Ready())

    def give(self, item: Any, size: int) -> bool:
        """Hand an item over, with others of its kind.

        Returns:
            Whether they were sent now.
        """
        self._made.append(item)
        self._size += size
        if len(self._made) < _GIVEN_AT_ONCE and self._size < _BYTES_AT_ONCE:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        self._take_in()
        if self._made:
            send(self._outgoing, Give(self._made))
            self.given = len(self._made)
            self._made, self._size = [], 0

    def ask(self, name: str, argument: Any = None) -> Any:
        self.flush()
        if name in self._answers:
            answer = self._answers.pop(name)
        else:
            send(self._outgoing, Ask(name, argument))
            answer = receive(self._incoming)
        if answer is None:
            raise NoMore
        return answer

    def each(self, name: str) -> Iterator[Any]:
        """Everything that the other side has under a name, which it answers in lists, the last one empty."""
        while batch := self.ask(name):
            self._take_in()
            send(self._outgoing, Ask(name))
            self._ahead = name
            yield from batch

    def end(self, value: Any, *, reusable: bool) -> None:
        self.flush()
        send(self._outgoing, End(value, reusable))

    def fail(self, error: BaseException) -> None:
        self.flush()
        if not isinstance(error, PromptError):
            error = RuntimeError(f"{type(error).__name__}: {error}")
        send(self._outgoing, Fail(error))

    def _take_in(self) -> None:
        if self._ahead is not None:
            self._answers[self._ahead] = receive(self._incoming)
            self._ahead = None
