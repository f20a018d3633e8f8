"""Workers: the processes that work on items, each with a row that one heartbeat renews in the database's time.

A claim lasts as long as its worker. A worker is dead when its heartbeat is older than the lease, or at once when its
process is gone from this machine. Items that it had claimed are free again; calls that it had sent become unknown.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import ImagenError
from .conditions import HAS_IMAGES, HAS_TEXT, state_after_release
from .engine import database_now
from .schema import calls, items, workers
from .states import CallOutcome, ItemState
from .writer import Writer

LEASE_SECONDS = 60.0
"""A worker without a heartbeat for this long is dead."""

HEARTBEAT_SECONDS = 10.0

_STOPPED = "the process stopped while the call was in flight"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def this_host() -> str:
    """Name of the host and of the pid namespace: process ids of other containers on the host mean nothing here."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def _process_start(pid: int) -> str:
    """When a process began, in clock ticks since boot, so that a reused pid is noticed. Empty if unknown."""
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
    """One process at work."""

    id: str
    host: str  # machine and pid namespace
    boot: str  # the machine's boot and the process's start
    pid: int

    @classmethod
    def of_this_process(cls) -> Worker:
        """Create a worker for the calling process."""
        return cls(uuid.uuid4().hex, this_host(), _boot(os.getpid()), os.getpid())

    def register(self, connection: Connection) -> None:
        """Insert the worker's row."""
        row = {"id": self.id, "host": self.host, "boot": self.boot, "pid": self.pid, "started_at": datetime.now(UTC)}
        connection.execute(sa.insert(workers), [{**row, "heartbeat": database_now(connection)}])

    def beat(self, connection: Connection) -> None:
        """Renew the lease of every claim of this process, with one statement."""
        connection.execute(
            sa.update(workers).where(workers.c.id == self.id).values(heartbeat=database_now(connection), ended_at=None)
        )


def dead_workers(connection: Connection, me: Worker | None, among: set[str] | None = None) -> list[str]:
    """Ids of the workers that are dead, among some or all. The caller itself (`me`) is alive."""
    now, here = database_now(connection), this_host()
    # A worker that was declared dead too early (its machine slept) is looked at as long as it holds items.
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
    """Release what dead workers held: claimed items become planned, sent calls and their items become unknown.

    `force` names workers that are known to have stopped. Returns the number of calls that became unknown.
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
    connection.execute(
        sa.update(items)
        .where(held, items.c.state == ItemState.SENT)
        .values(
            # A late reply of an earlier call may have brought the images or the text meanwhile.
            state=sa.case(
                (HAS_IMAGES, ItemState.GENERATED.value),
                (HAS_TEXT, ItemState.DELIVERED.value),
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
    """A thread that renews a worker's lease."""

    def __init__(self, worker: Worker, writer: Writer) -> None:
        self._worker = worker
        self._writer = writer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="imagen-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._writer.run(self._worker.beat)
            except ImagenError:
                continue  # the database is away: writers report it, and the lease decides
