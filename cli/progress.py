"""How far the run is, on standard error: a live bar on a terminal, else a plain line now and then.

It asks the ledger, from a thread of its own; the run knows nothing of it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import datetime
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..core.errors import ImagenError
from ..core.ledger import ItemState, Ledger, RunProgress
from ..core.money import format_usd

__all__ = ["Progress", "Speed", "duration", "status_line"]

_BAR_SECONDS = 0.25
_LINE_SECONDS = 10.0
_WINDOW_SECONDS = 30.0
_FAILED = (ItemState.REFUSED, ItemState.FAILED, ItemState.LOST)


class Speed:
    """Images a second, over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, moment: float, images: int) -> None:
        """Note how many images there were at a moment, in seconds."""
        self._seen.append((moment, images))
        while len(self._seen) > 2 and moment - self._seen[1][0] > _WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """0 where nothing is known yet."""
        if len(self._seen) < 2:
            return 0.0
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start else 0.0


def duration(seconds: float) -> str:
    """Seconds as a person says it: `1 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _counts(progress: RunProgress) -> list[tuple[str, str]]:
    """Items by what matters to a person, each with its colour; what is zero is left out, but for the delivered."""
    failed = sum(progress.items[state] for state in _FAILED)
    counts = [(f"{progress.items[ItemState.DELIVERED]:,} delivered", "green")]
    if progress.owned:
        counts.append((f"{progress.owned:,} of them owned before", "dim"))
    if progress.items[ItemState.UNKNOWN]:
        counts.append((f"{progress.items[ItemState.UNKNOWN]:,} unknown", "yellow"))
    if failed:
        counts.append((f"{failed:,} failed", "red"))
    return counts


def _money(progress: RunProgress) -> str:
    """What is billed, and in brackets what calls in flight or unknown may add."""
    text = f"{format_usd(progress.spent)} billed"
    if progress.reserved:
        text += f" (+ {format_usd(progress.reserved)})"
    if progress.budget is not None:
        text += f" of {format_usd(progress.budget)}"
    return text


def _pace(progress: RunProgress, total: int, speed: float) -> str:
    if speed <= 0:
        return ""
    left = (total - progress.images) / speed
    return f"{speed:.1f}/s" + (f", {duration(left)} left" if left >= 1 else "")


def status_line(progress: RunProgress, images_per_item: float, speed: float) -> str:
    """A run's progress in one plain line."""
    total = round(progress.total * images_per_item)
    parts = [
        f"{progress.images:,} of {total:,} images",
        ", ".join(text for text, _ in _counts(progress)),
        _money(progress),
        _pace(progress, total, speed),
    ]
    return "; ".join(part for part in parts if part)


class Progress:
    """Shows a run's progress while it is open.

    Args:
        ledger: To ask.
        console: To print on.
        images_per_item: Images that an item asks for, on average.
        live: A bar that moves; False for plain lines.
    """

    def __init__(self, ledger: Ledger, console: Console, *, images_per_item: float, live: bool) -> None:
        self._ledger = ledger
        self._console = console
        self._images_per_item = images_per_item
        self._phase = ""
        self._since = time.monotonic()
        self._progress: RunProgress | None = None
        self._run_id: str | None = None
        self._speed = Speed()
        self._done = threading.Event()
        self._spinner = Spinner("dots")
        self._bar = ProgressBar(
            total=1, completed=0, style="bright_black", complete_style="green", finished_style="green"
        )
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8) if live else None
        self._thread = threading.Thread(target=self._watch, name="imagen-progress", daemon=True)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()
        if self._live is not None:
            self._live.stop()
        elif self._progress is not None:
            self._say(status_line(self._progress, self._images_per_item, 0))

    def phase(self, text: str) -> None:
        """Say what is going on before the first image."""
        self._phase, self._since = text, time.monotonic()
        if self._live is None:
            self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(f"{datetime.now().astimezone():%H:%M:%S}  {text}", soft_wrap=True)

    def _watch(self) -> None:
        said = time.monotonic()
        pause = _BAR_SECONDS if self._live is not None else _LINE_SECONDS / 4
        while not self._done.wait(pause):
            began = time.monotonic()
            self._look()
            took = time.monotonic() - began
            # A large run is expensive to count; the run itself must not feel it.
            pause = max(_BAR_SECONDS if self._live is not None else _LINE_SECONDS / 4, took * 20)
            if self._live is None and self._progress is not None and began - said >= _LINE_SECONDS:
                said = began
                self._say(status_line(self._progress, self._images_per_item, self._speed.per_second))

    def _look(self) -> None:
        """Ask the ledger. Where it does not answer, the run itself says so."""
        try:
            if self._run_id is None:
                self._run_id = self._ledger.latest_run(of_this_process=True)
            if self._run_id is None:
                return
            progress = self._ledger.progress(self._run_id)
        except ImagenError:
            return
        # What was owned before appears all at once and says nothing of the pace.
        self._speed.add(time.monotonic(), progress.images - round(progress.owned * self._images_per_item))
        self._progress = progress

    def _render(self) -> RenderableType:
        progress = self._progress
        if progress is None or not progress.total:
            self._spinner.update(text=Text(f"{self._phase} ({duration(time.monotonic() - self._since)})"))
            return self._spinner
        total = round(progress.total * self._images_per_item)
        self._bar.update(completed=progress.images, total=total)
        top = Table.grid(padding=(0, 2), expand=True)
        top.add_column(ratio=1)
        top.add_column(justify="right", no_wrap=True)
        top.add_row(self._bar, f"{progress.images:,} of {total:,} images")
        below = Text()
        for text, style in (
            *_counts(progress),
            (_money(progress), "cyan"),
            (_pace(progress, total, self._speed.per_second), ""),
        ):
            if text:
                below.append(f" · {text}" if below else text, style)
        return Group(top, below)
