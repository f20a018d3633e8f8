"""Drawing pictures that strangers made: in processes of their own, under a budget of memory and a deadline.

What a picture needs is told from its header before a decoder sees it, and all decoders together take no more than the
budget. The rest cannot be told beforehand: C libraries have had faults, and no thread can be stopped within one. So
they run in a process that has limits, that can be ended, and that knows no key (`core.images.decoder`). It is kept for
the next picture; handing one over costs about a millisecond.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import ImagenError, Unavailable
from ..memory import Budget, bytes_from_environment, once_per_process
from ..processes import IdleProcesses, environment_without_secrets
from .jpeg import read_scans
from .signature import Format, NotAnImage, read_header

BUDGET_VARIABLE = "PREFECT_IMAGEN_DECODE_BYTES"
"""Environment variable with the most memory, in bytes, that the decoders of a process take together."""

DEFAULT_BUDGET = 512 * 2**20
_LEAST_BUDGET = 64 * 2**20
_DECODERS = 4
_OVERHEAD = 8 * 2**20
STILL_BYTES = 6
"""Memory a pixel of a JPEG that is not progressive, whose coefficients are not kept, and of a PNG of one frame."""
_COPY_BYTES = 4
"""Memory a pixel of each copy."""
_PIPE = 2**20  # a picture goes through in some large pieces
CPU_SECONDS = 30
_DEADLINE = 300.0
"""Seconds by the clock, on a machine that may be busy; the processor's time is what a hostile picture is bounded by."""


class TooLarge(ImagenError):
    """A picture would take more memory to draw than there is for all."""


class DecoderUnavailable(Unavailable):
    """The system does not start the process in which pictures are drawn."""


@once_per_process
def decoding_budget() -> Budget:
    """The budget of this process.

    Raises:
        BadInput: The environment asks for what is no number of bytes.
    """
    return Budget(bytes_from_environment(BUDGET_VARIABLE, DEFAULT_BUDGET, _LEAST_BUDGET))


class _Decoder:
    """One process. Used by one thread at a time."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this program, and a file of this package
                # -P: the folder of the program holds modules whose names are those of the standard library.
                [sys.executable, "-P", str(Path(__file__).with_name("decoder.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pipesize=_PIPE,
                env={**environment_without_secrets(), "MALLOC_ARENA_MAX": "1"},
                # Ctrl-C on a terminal is for the run, which ends this process by closing its input.
                start_new_session=True,
            )
        except OSError as error:
            raise DecoderUnavailable(f"no process can be started to draw pictures: {error.strerror or error}") from None

    def ask(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Have a picture drawn.

        Raises:
            NotAnImage: The process did not survive it.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a decoder is started with pipes")
        try:
            process.stdin.write(json.dumps({**job, "bytes": len(data)}).encode() + b"\n")
            process.stdin.write(data)
            process.stdin.flush()
            # It has read all of the picture before it looks at it, so that only the answer may be long in coming. None
            # of the last one is left in the buffer.
            answering = select.poll()
            answering.register(process.stdout, select.POLLIN)
            line = process.stdout.readline() if answering.poll(_DEADLINE * 1000) else b""
            answer: dict[str, Any] = json.loads(line) if line else {}
            pixels = process.stdout.read(answer["bytes"]) if answer else b""
        except OSError:
            answer, pixels = {}, b""
        if not answer:
            raise NotAnImage(self._how_it_ended())
        return answer, pixels

    def _how_it_ended(self) -> str:
        self.end()
        code = self._process.returncode
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"not decoded within {CPU_SECONDS} s of processor time"
        return f"its decoder did not survive it (exit {code})"

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not read by the process
                    pipe.close()
        self._process.wait()


def _new_slots() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, min(_DECODERS, os.cpu_count() or 1)))


_slots = _new_slots()
_idle: IdleProcesses[_Decoder] = IdleProcesses(most=_DECODERS)


def close_decoders() -> None:
    """End the decoders of this process; a later picture starts new ones."""
    _idle.end()


def _start_anew() -> None:
    """A forked process has slots of its own."""
    global _slots
    _slots = _new_slots()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def _ask(kind: Format, data: bytes, need: int, **job: Any) -> tuple[dict[str, Any], bytes]:
    budget = decoding_budget()
    if need > budget.limit:
        raise TooLarge(
            f"drawing it takes {need / 2**20:,.0f} MB, more than the {budget.limit / 2**20:,.0f} MB for all pictures "
            f"({BUDGET_VARIABLE})"
        )
    with budget.holding(need), _slots:
        decoder = _idle.take("") or _Decoder()
        try:
            answer = decoder.ask(
                {"format": kind.pillow, "memory": need, "seconds": CPU_SECONDS, "side": 0, "cut": False, **job}, data
            )
        except BaseException:
            decoder.end()
            raise
        _idle.put_back("", decoder)
        return answer


def memory_needed(kind: Format, data: bytes, pixels: int, bytes_per_pixel: int | None = None) -> int:
    """Bytes to draw a picture of so many pixels: what the decoder takes, and its copies of the file."""
    return _OVERHEAD + 3 * len(data) + pixels * (bytes_per_pixel or kind.bytes_per_pixel)


def draw(kind: Format, data: bytes, *, need: int, pixels: int, cut: bool = False) -> dict[str, Any]:
    """Draw a picture to its last pixel.

    Args:
        kind: Its format, one that Pillow knows.
        data: Its bytes.
        need: Bytes of memory, see `memory_needed`.
        pixels: The most pixels drawn, all frames together.
        cut: Say how many rows at its end are grey, `grey`.

    Returns:
        `width`, `height`, `frames`, `drawn` (frames), `grey`; or `error`, what the decoder says.

    Raises:
        TooLarge: It needs more than the budget.
        NotAnImage: It ended its decoder.
        DecoderUnavailable: No process can be started.
    """
    return _ask(kind, data, need, pixels=pixels, cut=cut)[0]


def thumbnail(source: Path | bytes, side: int) -> Image.Image | None:
    """A small RGB copy of a picture; None where none can be made.

    Args:
        source: A file, or its bytes.
        side: Of the square that it fits in, in pixels.

    Raises:
        OSError: The file cannot be read.
        DecoderUnavailable: No process can be started.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        header = read_header(data)
        if header.format.pillow is None or header.width is None or header.height is None:
            return None
        # A reduced copy and its RGB form come on top of the picture itself.
        need = memory_needed(header.format, data, header.width * header.height) + 16 * side * side
        answer, pixels = _ask(header.format, data, need, pixels=header.width * header.height, side=side)
    except (NotAnImage, TooLarge):
        return None
    if "error" in answer:
        return None
    return Image.frombytes("RGB", (answer["width"], answer["height"]), pixels)


def _is_progressive(data: bytes) -> bool:
    try:
        return read_scans(data).progressive
    except ValueError:
        return True


def prepare(
    data: bytes, *, side: int, most: int, formats: Sequence[str], lossless: bool
) -> tuple[dict[str, Any], bytes]:
    """Make a copy of a picture that is upright, in sRGB, and not too large.

    Args:
        data: The picture's bytes.
        side: Pixels of its longest side at most; 0 to make no copy.
        most: Bytes at most.
        formats: Media types that may stay as they are.
        lossless: Never as JPEG.

    Returns:
        `width`, `height` (upright) and `frames` of the picture, `transparent` where it says what is clear in it, and
        with a copy its `content_type`; or `error`. And the copy's bytes, empty where the picture can stay as it is.

    Raises:
        TooLarge: It needs more than the budget.
        NotAnImage: It is no picture that is drawn here, or ended its decoder.
        DecoderUnavailable: No process can be started.
    """
    header = read_header(data)
    kind = header.format
    if kind.pillow is None or header.width is None or header.height is None:
        raise NotAnImage(f"{kind.name} is not decoded here")
    pixels = header.width * header.height
    still = kind.pillow == "PNG" or (kind.pillow == "JPEG" and not _is_progressive(data))
    need = memory_needed(kind, data, pixels, STILL_BYTES if still else None)
    if side:
        # It is made smaller first, along its lines and then its columns; then turned, converted and encoded.
        scale = min(1.0, side / max(header.width, header.height))
        smaller = int(pixels * scale * scale)
        need += _COPY_BYTES * max(int(pixels * scale) + smaller, 4 * smaller)
    ready = {"side": side, "most": most, "given": kind.content_type, "formats": list(formats), "lossless": lossless}
    return _ask(kind, data, need, pixels=pixels, ready=ready)
