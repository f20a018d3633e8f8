"""A process with limits, in which prompts are expanded: what goes too far is ended from outside.

Every operation on a text is bounded by itself. The limits here are for what nobody thought of: Python cannot interrupt
a comparison or a regular expression of its own, nor hear a signal meanwhile.

- 10 s of processor time for a row, and for each prompt of it; and for a reading 10 s and 10 ms more for each row and
  prompt, so that a file cannot be made of rows that are each just within the limit.
- 300 MB of memory beyond what the process starts with. Linux enforces it; macOS does not.
- The process has no secret in its environment, and ends with the one that started it.

A process is started when it is needed, and kept for the next reading.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from ..processes import IdleProcesses, environment_without_secrets
from .channel import Ask, End, Fail, Give, receive, send
from .errors import PromptError, TooExpensive

SECONDS = 10
"""Processor time for a row."""

MEMORY = 300_000_000
"""Bytes beyond what the process starts with."""

PLACE = struct.Struct("q")
"""How the process says which row it is at, in a file that both have open."""

OUT_OF_MEMORY = 3
"""The status with which the process ends where memory does not suffice."""

_MODULE = "prefect_imagen.core.prompts.child"


class _Process:
    def __init__(self) -> None:
        self.place = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.place.truncate(PLACE.size)
        listening, self._lifeline = os.pipe()
        try:
            # -P: a module in the current folder must not stand in for one of ours.
            self._process = subprocess.Popen(  # noqa: S603 - a module of this package
                (sys.executable, "-P", "-m", _MODULE, *map(str, (self.place.fileno(), listening, SECONDS, MEMORY))),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(self.place.fileno(), listening),
                env=environment_without_secrets(),
            )
        finally:
            os.close(listening)
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101
        self.incoming: IO[bytes] = self._process.stdout
        self.outgoing: IO[bytes] = self._process.stdin

    def end(self) -> int:
        """Kill the process, if it is still there.

        Returns:
            How it ended: an exit status, or a signal's number below zero.
        """
        with contextlib.suppress(OSError):
            self._process.kill()
        code = self._process.wait()
        for stream in (self.incoming, self.outgoing, self.place):
            with contextlib.suppress(OSError):
                stream.close()
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
        return code

    def line(self) -> int:
        return int(PLACE.unpack(os.pread(self.place.fileno(), PLACE.size, 0))[0])


_idle: IdleProcesses[_Process] = IdleProcesses(most=2)

Answers = Mapping[str, Callable[[Any], Any]]
"""What the process may ask for. An exception is raised when its turn comes: after all that was made before it."""


class Confined:
    """One reading in a process of its own.

    Args:
        source: The file, for messages.
        job: What the process does, and with what.

    Raises:
        PromptError: Something is wrong before any row is read.
    """

    def __init__(self, source: str, job: tuple[str, Any], answers: Answers) -> None:
        self._source = source
        self._job = job[0]
        self._answers = answers
        self._problem: BaseException | None = None
        self.result: Any = None
        self._process: _Process | None = _idle.take(job[0]) or _Process()
        # Not `__del__`: of a cycle, that of the process's own files may come first.
        self._abandoned = weakref.finalize(self, self._process.end)
        try:
            self._send(job)
            for _ in self._dialogue():
                pass
        except BaseException:
            self.close()
            raise

    def run(self, operation: tuple[Any, ...] | None) -> Iterator[Any]:
        """What the process makes; afterwards `result` is what it found out."""
        try:
            self._send(operation)
            yield from self._dialogue()
        finally:
            self.close()

    def close(self) -> None:
        """End the process, unless it has ended its work and waits for the next."""
        process = self._release()
        if process is not None:
            process.end()

    def _release(self) -> _Process | None:
        self._abandoned.detach()
        process, self._process = self._process, None
        return process

    def _dialogue(self) -> Iterator[Any]:
        """Until the process is ready, or done."""
        while True:
            match self._receive():
                case Give(items):
                    yield from items
                case Ask(name, argument):
                    try:
                        answer = self._answers[name](argument)
                    except Exception as error:  # noqa: BLE001 - raised when its turn comes
                        self._problem, answer = error, None
                    self._send(answer)
                case End(value, reusable):
                    self.result = value
                    self._done(reusable)
                    if self._problem is not None:
                        raise self._problem
                    return
                case Fail(error):
                    self._done(isinstance(error, PromptError))
                    raise error
                case _:
                    return

    def _done(self, reusable: bool) -> None:
        process = self._release()
        if process is not None and reusable:
            _idle.put_back(self._job, process)
        elif process is not None:
            process.end()

    def _send(self, message: Any) -> None:
        assert self._process is not None  # noqa: S101 - for the type checker
        try:
            send(self._process.outgoing, message)
        except BrokenPipeError:
            raise self._gone() from None

    def _receive(self) -> Any:
        assert self._process is not None  # noqa: S101 - for the type checker
        try:
            return receive(self._process.incoming)
        except EOFError:
            raise self._gone() from None

    def _gone(self) -> TooExpensive:
        assert self._process is not None  # noqa: S101 - for the type checker
        line = self._process.line()
        code = self._process.end()
        self._release()
        if code in (OUT_OF_MEMORY, -signal.SIGABRT):  # libraries in C++ end so
            return self._error(f"takes more than {MEMORY // 10**6} MB of memory", line)
        if code == -signal.SIGPROF:
            return self._error(f"takes more than {SECONDS} s of processor time", line)
        return self._error(f"cannot be worked on: its process ended with status {code}", line)

    def _error(self, what: str, line: int) -> TooExpensive:
        if line:
            return TooExpensive(self._source, line, f"the prompt {what}; make it simpler, or leave it out")
        return TooExpensive(
            self._source,
            None,
            f"what comes before its rows (template, wildcards, header), or the first of them, {what}; make it simpler",
        )
