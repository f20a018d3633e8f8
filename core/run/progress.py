"""How far a run is, in words: for a terminal, a log line, an artifact."""

from __future__ import annotations

from collections import deque

from ..ledger import ItemState, RunProgress
from ..money import format_usd

_WINDOW_SECONDS = 30.0
_FAILED = (ItemState.REFUSED, ItemState.FAILED, ItemState.LOST)
_OVER = (ItemState.DELIVERED, ItemState.LOST, ItemState.REFUSED, ItemState.UNKNOWN, ItemState.ERASED)


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


def counts(progress: RunProgress) -> list[tuple[str, str]]:
    """Items by what matters to a person, each with its colour; what is zero is left out, but for the delivered."""
    failed = sum(progress.items[state] for state in _FAILED)
    found = [(f"{progress.items[ItemState.DELIVERED]:,} delivered", "green")]
    if progress.written < progress.texts:
        found.append((f"{progress.written:,} of {progress.texts:,} texts written", ""))
    if progress.owned:
        found.append((f"{progress.owned:,} of them owned before", "dim"))
    if progress.items[ItemState.UNKNOWN]:
        found.append((f"{progress.items[ItemState.UNKNOWN]:,} unknown", "yellow"))
    if failed:
        found.append((f"{failed:,} failed", "red"))
    return found


def done_percent(progress: RunProgress) -> float:
    """Items that this run has nothing more to do for, of all; 100 for a run without items."""
    if not progress.total:
        return 100.0
    return 100.0 * sum(progress.items[state] for state in _OVER) / progress.total


def money(progress: RunProgress) -> str:
    """What is billed, and what calls in flight or unknown may add."""
    text = f"{format_usd(progress.spent)} billed"
    if progress.reserved:
        text += f" + {format_usd(progress.reserved)} reserved"
    if progress.budget is not None:
        text += f" of {format_usd(progress.budget)}"
    return text


def pace(progress: RunProgress, total: int, speed: float) -> str:
    """Images a second, and how long the rest takes at that rate."""
    if speed <= 0:
        return ""
    left = (total - progress.images) / speed
    return f"{speed:.1f}/s" + (f", {duration(left)} left" if left >= 1 else "")


def status_line(progress: RunProgress, images_per_item: float, speed: float) -> str:
    """A run's progress in one plain line."""
    total = round(progress.total * images_per_item)
    parts = [
        f"{progress.images:,} of {total:,} images",
        ", ".join(text for text, _ in counts(progress)),
        money(progress),
        pace(progress, total, speed),
    ]
    return "; ".join(part for part in parts if part)
