"""The marker at a destination: whose ledger keeps the account of the place, and how far that ledger had come.

A ledger that was restored from a backup, or lost its last changes, does not know what was bought since. Its objects are
at the destination, and so is the marker, whose number is then greater than the ledger's own: it must not buy. Written
before the first purchase of a process, then again after some calls or seconds, and when the process is done: a copy of
the ledger is found out unless it lacks only the last few calls of a process that was killed.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass

from ..errors import ImagenError
from ..ledger import Ledger, LedgerBehind, LedgerMismatch
from ..storage import ObjectStore

MARKER_KEY = ".prefect-imagen-ledger.json"

_MOST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a marker says.

    Attributes:
        ledger_id: Whose place it is; None where nothing says so.
        origin: The API of that ledger.
        number: Grows while that ledger buys for the place; 0 where nothing says so.
    """

    ledger_id: str | None = None
    origin: str | None = None
    number: int = 0


class Marker:
    """The marker of a ledger at a destination. Thread-safe.

    Args:
        ledger: Open.
        store: The destination.
        most_calls: How many calls are sent until it is written again.
    """

    def __init__(self, ledger: Ledger, store: ObjectStore, *, most_calls: int = 10) -> None:
        self._ledger = ledger
        self._store = store
        self._most_calls = most_calls
        self._lock = threading.Lock()
        self._calls = 0  # since it was written
        self._written_at: float | None = None

    def read(self) -> Mark | None:
        """What is there; None where there is no marker."""
        text = self._store.read_text(MARKER_KEY)
        if text is None:
            return None
        told: object = None
        with contextlib.suppress(ValueError):
            told = json.loads(text)
        if not isinstance(told, dict):
            return Mark()
        ledger_id, origin, number = told.get("ledger_id"), told.get("api_origin"), told.get("number")
        return Mark(
            ledger_id if isinstance(ledger_id, str) else None,
            origin if isinstance(origin, str) and origin else None,
            number if isinstance(number, int) and number >= 0 else 0,
        )

    def bind(self, *, adopt: bool = False) -> None:
        """Leave the ledger's id at the destination, or find it there.

        A second ledger that fills the same prefix would not know what the first one bought. And a place that has lost
        its mark is another place of the same name, or was emptied: what the ledger calls delivered there is not there.

        Args:
            adopt: Take over a destination that another ledger has marked.

        Raises:
            LedgerMismatch: The destination is another ledger's, or not the one this ledger delivered to.
            LedgerBehind: The ledger is an older copy of the one that filled the destination.
        """
        place = self._store.destination
        mark = self.read()
        if mark is None:
            delivered = self._ledger.images.count_at(place)
            if delivered and not adopt:
                raise LedgerMismatch(
                    f"the catalog has {delivered} images at {place}, but that place does not know this "
                    "catalog: it was emptied, or it is another store of the same name. Use another destination, or "
                    "--adopt-ledger to go on without those images"
                )
            if self._store.create_text(MARKER_KEY, self._text(self._ledger.marks.number(place))):
                return
            mark = self.read() or Mark()
        if mark.ledger_id == self._ledger.id:
            if mark.number > self._ledger.marks.number(place):
                raise self._behind(mark)
        elif adopt:
            self._store.write_text(MARKER_KEY, self._text(self._ledger.marks.number(place)))
        else:
            raise LedgerMismatch(
                f"{place} is the destination of another ledger ({mark.ledger_id}); this one is {self._ledger.id}. "
                "Use that catalog (--catalog), another destination, or --adopt-ledger to take this one over"
            )

    def advance(self) -> None:
        """Make the number greater, in the ledger and then here: from now on an older copy of the ledger is found out.

        Raises:
            LedgerBehind: It is one itself. Nothing was changed.
            LedgerMismatch: Another ledger has taken the place over meanwhile.
            Unavailable: Store or database do not answer.
            BadInput: The store cannot be used.
        """
        with self._lock:
            self._advance()

    def _advance(self) -> None:
        mark = self.read() or Mark()
        if mark.ledger_id not in (None, self._ledger.id):
            raise LedgerMismatch(f"another ledger ({mark.ledger_id}) has taken {self._store.destination} over")
        number = self._ledger.marks.advance(self._store.destination, mark.number)
        if number is None:
            raise self._behind(mark)
        self._store.write_text(MARKER_KEY, self._text(number))
        self._calls, self._written_at = 0, time.monotonic()

    def before_call(self) -> None:
        """Write the marker again if that is due: one thread does, the others go on.

        Raises:
            LedgerMismatch: As `advance`. A store that fails now is tried again at the next call.
        """
        self._calls += 1
        due = self._written_at is None or time.monotonic() - self._written_at >= _MOST_SECONDS
        if not (due or self._calls >= self._most_calls) or not self._lock.acquire(blocking=False):
            return
        try:
            self._advance()
        except LedgerMismatch:
            raise
        except ImagenError:
            self._calls, self._written_at = 0, time.monotonic()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Write the marker once more if there was a call since; without any promise, since it may be the end of all."""
        if self._calls:
            with contextlib.suppress(ImagenError):
                self.advance()

    def catch_up(self) -> None:
        """Take the destination's number over, once the ledger has taken in what is there."""
        mark = self.read()
        if mark is not None and mark.ledger_id == self._ledger.id:
            self._ledger.marks.catch_up(self._store.destination, mark.number)

    @property
    def is_ahead(self) -> bool:
        """Whether the ledger is an older copy of the one that filled the destination."""
        mark = self.read()
        if mark is None or mark.ledger_id != self._ledger.id:
            return False
        return mark.number > self._ledger.marks.number(self._store.destination)

    def _text(self, number: int) -> str:
        origin = self._ledger.origin
        return json.dumps({"ledger_id": self._ledger.id, "api_origin": origin, "number": number})

    def _behind(self, mark: Mark) -> LedgerBehind:
        place, own = self._store.destination, self._ledger.marks.number(self._store.destination)
        return LedgerBehind(
            f"the catalog {self._ledger.description} is behind {place}: it was restored from an older backup, or has "
            f"lost its last changes (it is at mark {own}, the destination at {mark.number}). It does not know what "
            f"was bought since, and would buy it again; nothing was sent. First: "
            f"prefect-imagen reconcile --to {place} --apply"
        )
