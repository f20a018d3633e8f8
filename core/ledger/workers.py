"""Who works on what: a row per process, kept alive by one heartbeat in the database's own time.

A claim lasts as long as its holder. A holder is dead when its heartbeat is older than the lease, or at once when its
process is gone from this very machine; what it had claimed is free again, and what it had sent is unknown.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import ImagenError
from .conditions import state_after_release
from .engine import database_now
from .schema import calls, images, items, rewrites, workers
from .states import CallOutcome, ItemState
from .writer import Writer

LEASE_SECONDS = 60.0
"""A holder that has not been heard of for so long is dead."""

HEARTBEAT_SECONDS = 10.0

_STOPPED = "the process stopped while the call was in flight"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def this_host() -> str:
    """This machine as far as process ids reach: containers on one node have pid namespaces of their own."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def _process_start(pid: int) -> str:
    """When a process began, in clock ticks since boot: tells a reused pid from the old one. Empty if unknown."""
    stat = _read(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[19] if stat else ""


def _boot(pid: int) -> str:
    return f"{_read('/proc/sys/kernel/random/boot_id')}/{_process_start(pid)}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed child that its parent has not waited for still has a pid, but does nothing any more.
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] != ["Z"]


@dataclass(frozen=True, slots=True)
class Worker:
    """One process at work.

    Attributes:
        id: Random.
        host: Machine and pid namespace.
        boot: The machine's boot and the process's start.
        pid: Process id.
    """

    id: str
    host: str
    boot: str
    pid: int

    @classmethod
    def of_this_process(cls) -> Worker:
        """A new holder for the calling process."""
        return cls(uuid.uuid4().hex, this_host(), _boot(os.getpid()), os.getpid())

    def register(self, connection: Connection) -> None:
        """Write the holder's row."""
        row = {"id": self.id, "host": self.host, "boot": self.boot, "pid": self.pid, "started_at": datetime.now(UTC)}
        connection.execute(sa.insert(workers), [{**row, "heartbeat": database_now(connection)}])

    def beat(self, connection: Connection) -> None:
        """Renew every claim of this process with one statement."""
        connection.execute(
            sa.update(workers).where(workers.c.id == self.id).values(heartbeat=database_now(connection), ended_at=None)
        )


def dead_workers(connection: Connection, me: Worker | None, among: set[str] | None = None) -> list[str]:
    """Holders that are to be taken for dead; of those named only, if any are."""
    now, here = database_now(connection), this_host()
    # A holder that was declared dead too early and worked on (a machine that slept) is looked at as long as it holds.
    holding = sa.exists().where(items.c.holder_id == workers.c.id)
    looked_at = sa.or_(workers.c.ended_at.is_(None), holding) if among is None else workers.c.id.in_(among)
    rows = connection.execute(sa.select(workers).where(looked_at))
    dead = []
    for row in rows:
        if me is not None and row.id == me.id:
            continue
        gone = row.host == here and (not _is_alive(row.pid) or _boot(row.pid) != row.boot)
        if gone or now - row.heartbeat > LEASE_SECONDS:
            dead.append(row.id)
    return dead


def release_dead_workers(connection: Connection, me: Worker | None = None, *, force: tuple[str, ...] = ()) -> int:
    """Free what dead holders held: claimed items become planned, sent calls and items become unknown.

    Args:
        connection: Within a write transaction.
        me: The caller, who is alive.
        force: Holders that are known to have stopped.

    Returns:
        Calls that are now unknown.
    """
    dead = [*force, *dead_workers(connection, me)]
    if not dead:
        return 0
    now = datetime.now(UTC)
    unknown = connection.execute(
        sa.update(calls)
        .where(calls.c.holder_id.in_(dead), calls.c.outcome == CallOutcome.SENT)
        .values(outcome=CallOutcome.UNKNOWN, reason=_STOPPED, ended_at=now)
    ).rowcount
    held = items.c.holder_id.in_(dead)
    has_images = sa.exists().where(images.c.item_id == items.c.id)
    has_text = sa.exists().where(rewrites.c.item_id == items.c.id)
    connection.execute(
        sa.update(items)
        .where(held, items.c.state == ItemState.SENT)
        .values(
            # A late reply of an earlier call may have brought what was wanted while this call was in flight.
            state=sa.case(
                (has_images, ItemState.GENERATED.value),
                (has_text, ItemState.DELIVERED.value),
                else_=ItemState.UNKNOWN.value,
            ),
            reason=_STOPPED,
            updated_at=now,
        )
    )
    connection.execute(
        sa.update(items)
        .where(held, items.c.state == ItemState.CLAIMED)
        .values(state=state_after_release(), updated_at=now)
    )
    connection.execute(sa.update(items).where(held).values(holder_id=None))
    connection.execute(sa.update(workers).where(workers.c.id.in_(dead)).values(ended_at=now))
    return unknown


class Heartbeat:
    """A thread that keeps a holder alive."""

    def __init__(self, worker: Worker, writer: Writer) -> None:
        self._worker = worker
        self._writer = writer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="imagen-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self, then: Callable[[], None] | None = None) -> None:
        """Stop beating, then run `then`."""
        self._stop.set()
        self._thread.join()
        if then is not None:
            then()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._writer.run(self._worker.beat)
            except ImagenError:
                continue  # the database is away; those who write say so, and the lease decides
