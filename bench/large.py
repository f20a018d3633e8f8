"""What a large ledger makes slower: the same questions to a large ledger and to one with little in it, in turns.

    python bench/large.py                      # SQLite with 2,000,000 items: 6 GB in a temporary folder
    python bench/large.py --postgres           # PostgreSQL with 10,000,000 items: 20 GB
    python bench/large.py --items 200000       # quickly
    python bench/large.py --folder F           # keep the ledgers in F, and use those that are there

The ledgers are filled in SQL, by the package's own tables: runs that each ask for an edition, some rows again, items in
every state, calls that were tried again, one or two images an item, deliveries, verdicts, checks. Ids are hashes, so
that the rows of a run are scattered over the indexes, as they are in life. The small ledger has the last run alone, row
for row the same, and 100,000 owned prompts are in both: what differs is what a command does not ask for. What is
slower than twice is marked, and its slowest statements are shown as the database planned them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prefect_imagen.cli import main as command_line
from prefect_imagen.core.ledger import (
    Answered,
    CallIntent,
    ImageFilter,
    ImageResult,
    ImageState,
    Item,
    Ledger,
    NewImage,
    Period,
    RunItem,
    RunSpec,
    StoredAt,
    Unknown,
    new_call_id,
    normalise_url,
)
from prefect_imagen.core.ledger.migrations import create_statistics
from prefect_imagen.core.ledger.runs import COUNTED_ITEMS
from prefect_imagen.core.ledger.schema import metadata
from prefect_imagen.core.review.desk import LedgerDesk
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy.engine import Connection, Engine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.postgres import PostgresServer, postgres_programs

SQLITE_ITEMS, POSTGRES_ITEMS = 2_000_000, 10_000_000
OWNED = 100_000
TOO_MUCH = 2.0
_RUN = 10_000
_CHUNK = 500_000
_GROUP = 50
_UNKNOWN = 100
_PATIENCE = 60.0
_LEDGERS = ("small", "owned", "large")
_MODEL = "google/imagen4/preview"
_OWNED_EDITION = "owned"
_DESTINATION = "s3://pictures"

# --- filling ----------------------------------------------------------------------------------------------------------

# Columns of each table in SQL, over `numbers`: n counts the items, id and call_id are hashes, fate is n % 1000 and says
# what became of the item. What is not named here is null.
_FATE = """CASE WHEN fate < 10 THEN 'failed' WHEN fate < 25 THEN 'refused' WHEN fate < 30 THEN 'lost'
    WHEN fate < 33 THEN 'erased' ELSE 'delivered' END"""
_MODELS = f"""CASE fate % 4 WHEN 0 THEN 'openai/gpt-image-1' WHEN 1 THEN 'flux/schnell' ELSE '{_MODEL}' END"""
_PROVIDERS = "CASE fate % 4 WHEN 0 THEN 'openai' WHEN 1 THEN 'fal' ELSE 'aimlapi' END"
_ORIGINS = "CASE fate % 4 WHEN 0 THEN 'https://api.openai.com' ELSE 'https://api.aimlapi.com' END"
_IMAGE = "call_id || '-' || idx"
_KEY = f"{_IMAGE} || '.png'"
_URI = f"'{_DESTINATION}/' || {_KEY}"
_AT = "{moment}"

_CALL = {
    "item_id": "id",
    "run_id": "run_id",
    "holder_id": "holder_id",
    "reserved": "106000",
    "wire_model": _MODELS,
    "contract": "'aimlapi/google'",
    "requested": "CASE WHEN fate % 4 = 0 THEN 2 ELSE 1 END",
    "sent_at": _AT,
    "ended_at": _AT,
    "provider": _PROVIDERS,
    "origin": _ORIGINS,
    "key_fingerprint": "substr(run_id, 1, 1)",
    "expected": "104000",
}
# Table, its columns, and the rows of `numbers` that have one.
_ROWS: tuple[tuple[str, dict[str, str], str], ...] = (
    (
        "imagen_items",
        {
            "id": "id",
            "model": _MODELS,
            "prompt": "'a lighthouse in the snow, watercolour, number ' || n",
            "parameters": """'{{"aspect_ratio": "1:1"}}'""",
            "edition": "edition",
            "repeat": "1",
            "kind": "'image'",
            "state": _FATE,
            "reason": "CASE WHEN fate < 30 THEN 'the provider could not do it' END",
            "created_at": _AT,
            "updated_at": _AT,
        },
        "true",
    ),
    (
        "imagen_run_items",
        {
            "run_id": "run_id",
            "position": "place",
            "item_id": "id",
            "source": "'prompts.csv'",
            "line": "place + 2",
            "row": "'{{}}'",
            "choices": "'[]'",
            "owned": "false",
        },
        "true",
    ),
    (
        # Every twentieth row is asked for once more by the next run, which owns it already.
        "imagen_run_items",
        {
            "run_id": "next_run_id",
            "position": f"{_RUN} + place / 20",
            "item_id": "id",
            "source": "'prompts.csv'",
            "line": "place + 2",
            "row": "'{{}}'",
            "choices": "'[]'",
            "owned": "true",
        },
        "place % 20 = 0 AND next_run_id IS NOT NULL",
    ),
    (
        "imagen_calls",
        {
            **_CALL,
            "id": "call_id",
            "number": "CASE WHEN fate % 10 = 5 THEN 2 ELSE 1 END",
            "outcome": "CASE WHEN fate < 10 THEN 'unbilled' WHEN fate < 25 THEN 'refused' ELSE 'answered' END",
            "billed": "fate >= 25",
            "settled": "CASE WHEN fate >= 25 THEN 104000 ELSE 0 END",
            "cost_source": "'reply'",
            "returned": "CASE WHEN fate < 25 THEN 0 WHEN fate >= 33 AND fate % 4 = 0 THEN 2 ELSE 1 END",
            "seed": "CAST(n AS text)",
            "http_status": "200",
            "inference_id": "substr(id, 1, 16)",
        },
        "true",
    ),
    (
        "imagen_calls",
        {
            **_CALL,
            "id": "'pi-' || {md5:id}",
            "number": "1",
            "outcome": "'unbilled'",
            "billed": "false",
            "settled": "0",
            "http_status": "429",
            "reason": "'too many requests'",
        },
        "fate % 10 = 5",
    ),
    *(
        (
            "imagen_images",
            {
                "call_id": "call_id",
                "idx": str(index),
                "item_id": "id",
                "state": "CASE WHEN fate < 30 THEN 'lost' WHEN fate < 33 THEN 'erased' ELSE 'stored' END",
                "attempts": "1",
                "source_url": "CASE WHEN {recent} THEN 'https://cdn.example/' || substr(id, 1, 16) END",
                "content_type": "'image/png'",
                "width": "1024",
                "height": "1024",
                "bytes": "1500000 + n % 1000",
                "sha256": "CASE WHEN fate >= 33 AND {recent} THEN {sha256:id} END",
                "destination": f"CASE WHEN fate >= 33 THEN '{_DESTINATION}' END",
                "key": f"CASE WHEN fate >= 33 THEN {_KEY.replace('idx', str(index))} END",
                "uri": f"CASE WHEN fate >= 33 AND {{recent}} THEN {_URI.replace('idx', str(index))} END",
                "stored_at": _AT,
                "requested_at": _AT,
            },
            where,
        )
        for index, where in enumerate(("fate >= 25", "fate >= 33 AND fate % 4 = 0"))
    ),
    *(
        (
            "imagen_deliveries",
            {
                "call_id": "call_id",
                "idx": str(index),
                "destination": f"'{_DESTINATION}'",
                "key": _KEY.replace("idx", str(index)),
                "uri": _URI.replace("idx", str(index)),
                "stored_at": _AT,
            },
            where,
        )
        for index, where in enumerate(("fate >= 33 AND {recent}", "fate >= 33 AND fate % 4 = 0 AND {recent}"))
    ),
    (
        "imagen_reviews",
        {
            "call_id": "call_id",
            "idx": "0",
            "verdict": "CASE WHEN fate % 3 = 0 THEN 'rejected' ELSE 'approved' END",
            "verdict_at": _AT,
            "stars": "fate % 6",
            "reviewer": "'ann'",
            "reviewed_at": _AT,
        },
        "fate >= 950",
    ),
    (
        "imagen_verdicts",
        {
            "id": "{md5:call_id}",
            "call_id": "call_id",
            "idx": "0",
            "reviewer": "'ann'",
            "at": _AT,
            "verdict": "CASE WHEN fate % 3 = 0 THEN 'rejected' ELSE 'approved' END",
            "stars": "fate % 6",
            "recorded_at": _AT,
        },
        "fate >= 950",
    ),
    (
        "imagen_checks",
        {
            "call_id": "call_id",
            "idx": "0",
            "flags": "'[]'",
            "flagged": "0",
            "details": "'{{}}'",
            "dhash": "substr(id, 1, 16)",
            "settings": "'bench'",
            "checked_at": _AT,
        },
        "fate >= 950",
    ),
    *(
        (
            "imagen_history",
            {"subject": subject, "before": before, "after": after, "at": _AT},
            "fate >= 33 AND n % 10 = 0 AND {recent}",
        )
        for subject, before, after in (
            ("id", "'planned'", "'claimed'"),
            ("id", "'claimed'", "'sent'"),
            ("call_id", "CAST(NULL AS text)", "'sent'"),
            ("id", "'sent'", "'generated'"),
            ("call_id", "'sent'", "'answered'"),
            ("id", "'generated'", "'delivered'"),
        )
    ),
)


def _run_id(number: int) -> str:
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4))


class _Fill:
    """Fills one ledger: without indexes first, which are made at the end as they were.

    Args:
        recent: The first item with deliveries and history. Older ones do without, and without URIs and hashes of
            images, where disks are small.
    """

    def __init__(self, url: str, *, recent: int) -> None:
        Ledger(url).close()
        self._url, self._recent = normalise_url(url), recent
        self._engine = sa.create_engine(self._url)
        self._postgres = self._engine.dialect.name == "postgresql"
        sa.event.listen(self._engine, "connect", self._configure)

    def _configure(self, raw: Any, _record: Any) -> None:
        if self._postgres:
            with raw.cursor() as cursor:
                for setting in (
                    "maintenance_work_mem = '1GB'",
                    "work_mem = '256MB'",
                    "session_replication_role = replica",
                ):
                    cursor.execute(f"SET {setting}")
            raw.commit()
            return
        raw.isolation_level = None
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000", "temp_store = MEMORY"):
            raw.execute(f"PRAGMA {pragma}")
        raw.create_function("md5", 1, lambda text: hashlib.md5(text.encode()).hexdigest(), deterministic=True)
        raw.create_function("sha", 1, lambda text: hashlib.sha256(text.encode()).hexdigest(), deterministic=True)

    def _sql(self, text: str) -> str:
        sha256 = "encode(sha256(convert_to({}, 'UTF8')), 'hex')" if self._postgres else "sha({})"
        moment = (
            "timestamptz '2024-03-01 00:00+00' + n * interval '5 seconds'"
            if self._postgres
            else "strftime('%Y-%m-%d %H:%M:%f000', 1709251200 + n * 5, 'unixepoch')"
        )
        for name in ("id", "call_id", "'item ' || n"):
            text = text.replace(f"{{md5:{name}}}", f"md5({name})").replace(f"{{sha256:{name}}}", sha256.format(name))
        recent = f"(n >= {self._recent} OR edition = '{_OWNED_EDITION}')"
        return text.format(moment=moment, recent=recent)

    def _run(self, connection: Connection, text: str) -> Any:
        # Without parameters: a percent sign is one.
        return connection.execution_options(no_parameters=True).exec_driver_sql(text)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Connection]:
        """A connection to the ledger without its indexes, which come back at the end, with statistics where they are
        usual."""
        with self._engine.connect() as connection:
            later = self._take_off(connection)
            connection.commit()
            yield connection
            for statement in later:
                self._run(connection, statement)
                connection.commit()
            create_statistics(connection)  # which went with the indexes
            connection.execute(sa.update(metadata.tables["imagen_runs"]).values(items=COUNTED_ITEMS))
            connection.commit()
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # What autovacuum does by itself in life. Nobody tells SQLite to.
            self._run(connection, "VACUUM (ANALYZE)" if self._postgres else "PRAGMA journal_mode = WAL")
        self._engine.dispose()

    def _take_off(self, connection: Connection) -> list[str]:
        if not self._postgres:
            query = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
            found = self._run(connection, query).all()
            for kind, name, _ in found:
                self._run(connection, f"DROP {kind} {name}")
            return [sql for _, _, sql in found]
        constraints = self._run(
            connection,
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype IN ('p', 'u') AND conrelid::regclass::text LIKE 'imagen_%'",
        ).all()
        for table, name, _ in constraints:
            self._run(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        indexes = self._run(
            connection,
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid::regclass::text LIKE 'imagen_%'",
        ).all()
        for name, _ in indexes:
            self._run(connection, f"DROP INDEX {name}")
        added = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {sql}" for table, name, sql in constraints]
        return [*added, *(sql for _, sql in indexes)]

    def numbers(self, connection: Connection, numbers: range, runs: range) -> None:
        """Make `numbers` for items that runs ask for. The last run asks for its own items only."""
        self._make_numbers(connection)
        pairs = [{"number": number, "id": _run_id(number)} for number in runs]
        connection.execute(sa.text("INSERT INTO bench_runs VALUES (:number, :id)"), pairs)
        first, last = numbers.start, numbers.stop - 1
        series = (
            f"WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s"
        )
        if self._postgres:
            series = f"SELECT n FROM generate_series({first}, {last}) n"
        self._run(
            connection,
            self._sql(
                f"""INSERT INTO numbers SELECT n, {{sha256:'item ' || n}}, '', n % 1000, n % {_RUN}, r.id, x.id,
                    'edition-' || (n / {_RUN}), 'holder-' || (n / {_RUN})
                FROM ({series}) s JOIN bench_runs r ON r.number = n / {_RUN}
                LEFT JOIN bench_runs x ON x.number = n / {_RUN} + 1 AND x.number < {runs.stop - 1}"""
            ),
        )
        self._run(connection, "UPDATE numbers SET call_id = 'pi-' || md5('call ' || id)")

    def owned(self, connection: Connection, run_id: str, ids: Sequence[str]) -> None:
        """Make `numbers` for items whose ids are known: all of them delivered."""
        self._make_numbers(connection)
        statement = sa.text(
            "INSERT INTO numbers VALUES (:n, :id, '', 33 + :n % 967, :n, :run, NULL, :edition, 'holder-owned')"
        )
        rows = [{"n": n, "id": one, "run": run_id, "edition": _OWNED_EDITION} for n, one in enumerate(ids)]
        connection.execute(statement, rows)
        self._run(connection, "UPDATE numbers SET call_id = 'pi-' || md5('call ' || id)")

    def _make_numbers(self, connection: Connection) -> None:
        for table in ("numbers", "bench_runs"):
            self._run(connection, f"DROP TABLE IF EXISTS {table}")
        self._run(connection, "CREATE TEMPORARY TABLE bench_runs (number integer PRIMARY KEY, id text)")
        self._run(
            connection,
            "CREATE TEMPORARY TABLE numbers (n integer, id text, call_id text, fate integer, place integer, "
            "run_id text, next_run_id text, edition text, holder_id text)",
        )

    def rows(self, connection: Connection) -> None:
        """Write the rows of every table for `numbers`."""
        for name, columns, where in _ROWS:
            table = metadata.tables[name]
            missing = {c.name for c in table.columns if not c.nullable and c.server_default is None} - {"number"}
            if unknown := (columns.keys() - table.columns.keys()) | (missing - columns.keys()):
                raise SystemExit(f"{name} has other columns now: {', '.join(sorted(unknown))}")
            names, values = ", ".join(f'"{column}"' for column in columns), ", ".join(columns.values())
            self._run(connection, self._sql(f"INSERT INTO {name} ({names}) SELECT {values} FROM numbers WHERE {where}"))
        connection.commit()

    def runs(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Write runs and the processes that they ran in."""
        tables = metadata.tables
        connection.execute(sa.insert(tables["imagen_runs"]), list(rows))
        workers = [
            {"id": row["holder_id"], "host": "bench", "boot": "bench", "pid": 1, "started_at": row["started_at"]}
            | {"heartbeat": 0.0, "ended_at": row["ended_at"]}
            for row in rows
        ]
        connection.execute(sa.insert(tables["imagen_holders"]), workers)
        connection.commit()


def _run_row(run_id: str, edition: str, holder: str, at: float) -> dict[str, Any]:
    moment = datetime.fromtimestamp(1709251200 + at, UTC)
    return {
        "id": run_id,
        "holder_id": holder,
        "model": _MODEL,
        "parameters": {},
        "models": None,
        "destination": _DESTINATION,
        "edition": edition,
        "tags": {"campaign": edition[-1]},
        "reserved": 0,
        "spent": 975 * 104 * _RUN,
        "started_at": moment,
        "ended_at": moment,
        "outcome": "Incomplete",
    }


def _prompts(count: int) -> list[str]:
    return [f"a lighthouse in the snow, watercolour, number {number}, owned" for number in range(count)]


def fill(url: str, runs: range, owned: int, *, recent: int, progress: Progress) -> None:
    """A ledger with items of many runs, and with owned prompts."""
    work = _Fill(url, recent=recent)
    items = range(runs.start * _RUN, runs.stop * _RUN)
    task = progress.add_task(f"filling {len(items) + owned:,}", total=len(items) + owned)
    with work.bare() as connection:
        made = [_run_row(_run_id(n), f"edition-{n}", f"holder-{n}", n * _RUN * 5) for n in runs]
        work.runs(connection, made + ([_run_row(_run_id(-1), _OWNED_EDITION, "holder-owned", 0)] if owned else []))
        for start in range(items.start, items.stop, _CHUNK):
            chunk = range(start, min(start + _CHUNK, items.stop))
            work.numbers(connection, chunk, runs)
            work.rows(connection)
            progress.advance(task, len(chunk))
        if owned:
            ids = [Item(_MODEL, prompt, {}, _OWNED_EDITION).id for prompt in _prompts(owned)]
            work.owned(connection, _run_id(-1), ids)
            work.rows(connection)
        progress.update(task, description=f"indexes of {len(items) + owned:,}", advance=owned)
    progress.update(task, description=f"filled {len(items) + owned:,}")


# --- asking -----------------------------------------------------------------------------------------------------------


@dataclass
class _Place:
    """A ledger that is asked."""

    url: str
    folder: Path
    last: int  # number of the last run, which both have
    ledger: Ledger = field(init=False)
    desk: LedgerDesk = field(init=False)
    run_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.url)
        self.desk = LedgerDesk(self.ledger, "ann")
        self.run_id = _run_id(self.last)

    def fit(self, text: str) -> str:
        """A word of a question, for this ledger."""
        return text.format(folder=self.folder, run=self.run_id, edition=f"edition-{self.last}")

    def new_items(self, count: int) -> tuple[str, list[str]]:
        """A run of its own, and items that it asks for and nobody has bought."""
        run_id = str(uuid.uuid4())
        self.ledger.runs.start(RunSpec(run_id, _MODEL, destination=_DESTINATION, budget=10**12))
        items = [Item(_MODEL, f"new {uuid.uuid4()}", {}) for _ in range(count)]
        self.ledger.runs.add_items(run_id, [RunItem(n, item, "new.csv", n + 2) for n, item in enumerate(items)])
        return run_id, [item.id for item in items]

    def intent(self, run_id: str, item_id: str) -> CallIntent:
        call = new_call_id()
        worker = self.ledger.worker.id
        about = {
            "provider": "aimlapi",
            "origin": "https://api.aimlapi.com",
            "key_fingerprint": "a",
            "expected": 104_000,
        }
        return CallIntent(call, item_id, run_id, worker, 106_000, 1, None, _MODEL, "aimlapi/google", **about)

    def command(self, *words: str) -> None:
        """Run the command line, and say what it says if it fails."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command_line([*words, "--catalog", self.url])
        if code not in (0, 1):
            raise SystemExit(f"prefect-imagen {' '.join(words)} ended with {code}:\n{out.getvalue()}{err.getvalue()}")


@contextlib.contextmanager
def _timed(into: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)


def _claim(place: _Place, told: list[float]) -> None:
    _, ids = place.new_items(_GROUP)
    with _timed(told):
        claimed = place.ledger.items.claim(ids)
    assert len(claimed) == _GROUP
    place.ledger.items.release(ids)


def _bought(place: _Place) -> Iterator[tuple[str, Callable[[], object]]]:
    """The steps of one purchase, by name."""
    run_id, [item_id] = place.new_items(1)
    place.ledger.items.claim([item_id])
    intent = place.intent(run_id, item_id)
    yield "begin", lambda: place.ledger.calls.begin(intent)
    answer = Answered([NewImage(0, "https://cdn.example/new", "image/png", None)], 104_000, "reply")
    yield "settle", lambda: place.ledger.calls.settle(intent.id, answer)
    key = f"{intent.id}-0.png"
    at = StoredAt(_DESTINATION, key, f"{_DESTINATION}/{key}", None, "image/png", 1024, 1024, 1_500_000, "0" * 64)
    done = [ImageResult(intent.id, 0, item_id, ImageState.STORED, at)]
    yield "finish", lambda: place.ledger.images.finish(done)
    place.ledger.items.release([item_id])


def _step(name: str) -> Callable[[_Place, list[float]], None]:
    def ask(place: _Place, told: list[float]) -> None:
        for step, do in _bought(place):
            if step == name:
                with _timed(told):
                    do()
            else:
                do()

    return ask


def _first_of_the_day(place: _Place, told: list[float]) -> None:
    place.ledger.budgets.set(Period.DAY, 10**15)
    try:
        _step("begin")(place, told)
    finally:
        place.ledger.budgets.clear(Period.DAY)


def _command(*words: str) -> Callable[[_Place, list[float]], None]:
    def ask(place: _Place, told: list[float]) -> None:
        with _timed(told):
            place.command(*map(place.fit, words))

    return ask


def _repair(place: _Place, told: list[float]) -> None:
    run_id, ids = place.new_items(_UNKNOWN)
    place.ledger.items.claim(ids)
    for item_id in ids:
        intent = place.intent(run_id, item_id)
        place.ledger.calls.begin(intent)
        place.ledger.calls.settle(intent.id, Unknown("no answer came"))
    place.ledger.items.release(ids)
    with _timed(told):
        place.command("repair", "--no-log", "--unknown", "fail")


def _page(**filters: str) -> Callable[[_Place, list[float]], None]:
    def ask(place: _Place, told: list[float]) -> None:
        with _timed(told):
            found = place.desk.start({name: place.fit(text) for name, text in filters.items()})
        assert found["rows"]

    return ask


def _choices(place: _Place, told: list[float]) -> None:
    with _timed(told):
        place.desk.choices()


def _view(place: _Place, told: list[float]) -> None:
    query = sa.text("SELECT * FROM catalog ORDER BY requested_at LIMIT 100")
    with _timed(told), place.ledger.read() as connection:
        connection.execute(query).all()


def _images_page(place: _Place, told: list[float]) -> None:
    with _timed(told):
        place.ledger.review.page(ImageFilter(run_id=place.run_id), columns=("uri",), limit=100)


_QUESTIONS: dict[str, Callable[[_Place, list[float]], None]] = {
    f"claim of {_GROUP}": _claim,
    "begin": _step("begin"),
    "begin, first of a day with a budget": _first_of_the_day,
    "settle": _step("settle"),
    "image finished": _step("finish"),
    "status": _command("status", "{run}"),
    "status --all": _command("status", "--all"),
    f"plan of {OWNED:,} owned": _command(
        "plan",
        "{folder}/prompts.txt",
        "--model",
        _MODEL,
        "--edition",
        _OWNED_EDITION,
        "--offline",
        "--to",
        _DESTINATION,
    ),
    "export of an edition": _command("export", "{folder}/out.csv", "--overwrite", "--edition", "{edition}"),
    "export of a run": _command("export", "{folder}/out.csv", "--overwrite", "--run", "{run}"),
    "review page of an edition": _page(edition="{edition}"),
    "review page of a run": _page(run="{run}"),
    "review page of everything": _page(),
    "review page, what to filter by": _choices,
    "a page of a run's images": _images_page,
    "first 100 of the view": _view,
    f"repair, {_UNKNOWN} unknown": _repair,
}


# --- showing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _statements(found: list[tuple[float, str, Any]]) -> Iterator[None]:
    """Note each statement with its time and parameters."""

    def before(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        context.began = time.perf_counter()

    def after(_connection: Any, _cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        if not many:
            found.append((time.perf_counter() - context.began, statement, values))

    sa.event.listen(Engine, "before_cursor_execute", before)
    sa.event.listen(Engine, "after_cursor_execute", after)
    try:
        yield
    finally:
        sa.event.remove(Engine, "before_cursor_execute", before)
        sa.event.remove(Engine, "after_cursor_execute", after)


def _explain(console: Console, place: _Place, name: str) -> None:
    """Show the slowest statements of a question, and how the database planned them."""
    found: list[tuple[float, str, Any]] = []
    with _statements(found):
        _QUESTIONS[name](place, [])
    console.rule(f"{name}: {len(found)} statements")
    postgres = place.ledger.engine.dialect.name == "postgresql"
    for seconds, statement, values in sorted(found, key=lambda one: -one[0])[:2]:
        console.print(f"{seconds:.3f} s  {' '.join(statement.split())[:1500]}", soft_wrap=True, markup=False)
        if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
            continue
        with place.ledger.read() as connection:
            how = "EXPLAIN (ANALYZE, BUFFERS)" if postgres else "EXPLAIN QUERY PLAN"
            rows = connection.exec_driver_sql(f"{how} {statement}", values).all()
        for row in rows[:60]:
            console.print(f"    {row[-1]}", soft_wrap=True, markup=False, style="dim")


def _measure(console: Console, last_run: _Place, owned: _Place, large: _Place, repeats: int, only: str | None) -> None:
    rows = Table("median, ms", "little in it", "large", "ratio", "", title=large.ledger.description)
    slow = []
    for name, ask in _QUESTIONS.items():
        if only is not None and only not in name:
            continue
        small = owned if "owned" in name else last_run
        told: dict[str, list[float]] = {"small": [], "large": []}
        for turn in range(repeats + 1):
            for which, place in (("small", small), ("large", large)):
                ask(place, told[which] if turn else [])  # the first turn loads modules and fills caches
            if sum(told["large"]) > _PATIENCE:
                break
        little, much = (statistics.median(told[which]) * 1000 for which in ("small", "large"))
        ratio = much / little
        slow += [name] if ratio > TOO_MUCH else []
        rows.add_row(name, f"{little:,.1f}", f"{much:,.1f}", f"{ratio:.2f}", "slower" if ratio > TOO_MUCH else "")
        console.print(f"{name}: {little:,.1f} ms, {much:,.1f} ms, {ratio:.2f}", style="dim")
    console.print(rows)
    for name in slow:
        _explain(console, large, name)


def _count(console: Console, place: _Place, size: int) -> None:
    with place.ledger.read() as connection:
        counts = {
            name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for name, table in metadata.tables.items()
        }
    text = ", ".join(f"{count:,} {name.removeprefix('imagen_')}" for name, count in counts.items() if count)
    console.print(f"{text}; {size / 1e9:.2f} GB", soft_wrap=True)


def _size(ledger: Ledger) -> int:
    if ledger.engine.dialect.name == "sqlite":
        return Path(str(ledger.url.database)).stat().st_size
    with ledger.read() as connection:
        return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)


@contextlib.contextmanager
def _urls(folder: Path, url: str | None, *, postgres: bool) -> Iterator[tuple[str, ...]]:
    """Where the ledgers are."""
    if not postgres:
        yield tuple(str(folder / f"{name}.db") for name in _LEDGERS)
        return
    server = None
    if url is None:
        programs = postgres_programs()
        if programs is None:
            raise SystemExit("there is no PostgreSQL on this machine: give the address of one with --url")
        server = PostgresServer(programs)
        url = server.url()
    try:
        base = sa.make_url(url)
        with sa.create_engine(normalise_url(url), isolation_level="AUTOCOMMIT").connect() as connection:
            there = set(connection.scalars(sa.text("SELECT datname FROM pg_database")))
            for name in _LEDGERS:
                if f"imagen_{name}" not in there:
                    connection.execute(sa.text(f"CREATE DATABASE imagen_{name}"))
        yield tuple(base.set(database=f"imagen_{name}").render_as_string(False) for name in _LEDGERS)
    finally:
        if server is not None:
            server.remove()


def _is_filled(url: str) -> bool:
    ledger = Ledger(url)
    try:
        return bool(ledger.runs.latest())
    finally:
        ledger.close()


def main() -> int:
    """Fill what is not there, ask, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    parser.add_argument("--url", help="of a PostgreSQL in which databases may be made; else one is started")
    parser.add_argument("--items", type=int, help="of the large ledger")
    parser.add_argument("--thin", type=float, default=0.0, help="part of the items, the oldest, with short rows")
    parser.add_argument("--folder", type=Path, help="keep the ledgers here")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", help="questions with this in their names")
    parser.add_argument("--fill-only", action="store_true")
    given = parser.parse_args()
    postgres = given.postgres or given.url is not None
    count = given.items or (POSTGRES_ITEMS if postgres else SQLITE_ITEMS)
    console = Console(width=110)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagen-large-")))
        folder.mkdir(parents=True, exist_ok=True)
        urls = stack.enter_context(_urls(folder, given.url, postgres=postgres))
        progress = stack.enter_context(Progress(console=console))
        runs = max(2, count // _RUN)
        recent = int(given.thin * runs) * _RUN
        contents = ((range(runs - 1, runs), 0), (range(0), OWNED), (range(runs), OWNED))
        for url, (asked, owned) in zip(urls, contents, strict=True):
            if not _is_filled(url):
                fill(url, asked, owned, recent=recent, progress=progress)
        progress.stop()
        (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in _prompts(OWNED)))
        places = [_Place(url, folder, runs - 1) for url in urls]
        for place in places:
            stack.callback(place.ledger.close)
            if given.only is None:
                _count(console, place, _size(place.ledger))
        if not given.fill_only:
            _measure(console, *places, given.repeats, given.only)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
