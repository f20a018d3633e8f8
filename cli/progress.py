"""How far the run is, on standard error: a live bar on a terminal, else a plain line now and then.

It asks the ledger, from a thread of its own; the run knows nothing of it.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..core.errors import ImagenError
from ..core.ledger import Ledger, RunProgress
from ..core.run.progress import Speed, counts, duration, money, pace, status_line

_BAR_SECONDS = 0.25
_LINE_SECONDS = 10.0


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
                self._run_id = self._ledger.runs.latest(of_this_process=True)
            if self._run_id is None:
                return
            progress = self._ledger.runs.progress(self._run_id)
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
            *counts(progress),
            (money(progress), "cyan"),
            (pace(progress, total, self._speed.per_second), ""),
        ):
            if text:
                below.append(f" · {text}" if below else text, style)
        return Group(top, below)
