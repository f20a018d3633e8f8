"""Tables and the `catalog` view, as they are now; `core.ledger.migrations` brings older databases here.

Every table is prefixed `imagen_`, so that a ledger can share a database with other things. Amounts are integer
credits (2,000,000 to the US dollar). Times are UTC.
"""

from __future__ import annotations

import enum
import json
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator

from .identity import ItemKind
from .states import ArchiveState, CallOutcome, ImageState, ItemState, RegenerationKind, RunOutcome, VerdictValue


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes: `timestamptz` on PostgreSQL, ISO text on SQLite (which has no time zones)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        aware = value.astimezone(UTC)
        return aware if dialect.name == "postgresql" else aware.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class JsonText(TypeDecorator[Any]):
    """JSON kept as text on both databases, so that the view reads the same everywhere."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
        # Half a surrogate pair has no UTF-8; written with a backslash it is JSON's own escape of it.
        return text.encode("utf-8", "backslashreplace").decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class FreeText(TypeDecorator[str]):
    """Text from outside (replies, error messages, file names) without characters that a database cannot hold.

    PostgreSQL has no NUL, and UTF-8 no half of a surrogate pair. Neither may keep a paid reply out of the ledger.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\x00" not in value):
            return value
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _one_of(table: str, column: str, values: type[enum.StrEnum]) -> sa.CheckConstraint:
    """The rule that a column has one of an enum's values. An enum that grows needs a migration that makes it anew."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=f"{table}_{column}_is_known", info={"column": column})


metadata = sa.MetaData()

meta = sa.Table(
    "imagen_meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# The APIs that were bought from: a provider is one of them for good.
accounts = sa.Table(
    "imagen_accounts",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False, comment="scheme, host and port, or sandbox"),
    sa.Column("address", sa.Text, comment="where it answered the last time"),
)

# A process that works on items. Heartbeats are in seconds of the database's clock, the only one that all workers share.
workers = sa.Table(
    "imagen_holders",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("heartbeat", sa.Double, nullable=False),
    sa.Column("ended_at", UtcDateTime),
)

runs = sa.Table(
    "imagen_runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("holder_id", sa.Text, nullable=False, index=True),
    sa.Column("flow_run_id", sa.Text),
    sa.Column("flow_run_name", FreeText),
    sa.Column("flow_run_url", FreeText, comment="its page in Prefect's UI, where the address is known"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("parameters", JsonText, nullable=False),
    sa.Column("models", JsonText, comment="what may be bought, in order, at what prices, and what is left out"),
    sa.Column("destination", sa.Text),
    sa.Column("edition", sa.Text, nullable=False),
    sa.Column("tags", JsonText, nullable=False),
    sa.Column("budget", sa.BigInteger),
    sa.Column("reserved", sa.BigInteger, nullable=False, default=0),
    sa.Column("spent", sa.BigInteger, nullable=False, default=0),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("outcome", sa.Text),
    sa.Column("warned", sa.Boolean, comment="whether it was said that the budget is nearly used"),
    sa.Column("mark", JsonText, comment="how its images are marked; null: not at all"),
    sa.Column("items", sa.BigInteger, comment="that it asks for, counted when it ended; null: count them"),
    _one_of("imagen_runs", "outcome", RunOutcome),
)

items = sa.Table(
    "imagen_items",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("parameters", JsonText, nullable=False),
    sa.Column("inputs", JsonText, comment="pictures that go in: by the parameter that names each, its hash"),
    sa.Column("edition", sa.Text, nullable=False, index=True),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, server_default="image", comment="image, or rewrite: a text"),
    sa.Column("rewrite_id", sa.Text, comment="of an image: the rewrite whose text is to be sent"),
    sa.Column("variation", sa.Integer, comment="which of several rewrites of a prompt"),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("reason", FreeText),
    sa.Column("holder_id", sa.Text, index=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column(
        "archive_part", sa.BigInteger, comment="of one whose rows were moved out: which archive, and how it stood"
    ),
    _one_of("imagen_items", "kind", ItemKind),
    _one_of("imagen_items", "state", ItemState),
)

# The rows of a run's source and the item that each asks for; duplicates and owned items have rows, too.
run_items = sa.Table(
    "imagen_run_items",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("source", FreeText, nullable=False),
    sa.Column("line", sa.Integer, nullable=False),
    sa.Column("row", JsonText, nullable=False),
    sa.Column("choices", JsonText, nullable=False),
    sa.Column("owned", sa.Boolean, nullable=False, default=False),
    sa.Index("imagen_run_items_by_item", "run_id", "item_id"),
)

calls = sa.Table(
    "imagen_calls",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="also the X-Client-Request-Id"),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("holder_id", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("billed", sa.Boolean, comment="null: not known"),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.BigInteger),
    sa.Column("cost_source", sa.Text, comment="reply, or price list where the reply names no cost"),
    sa.Column("wire_model", sa.Text, nullable=False),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("prompt", FreeText, comment="as sent, where it is not the item's own"),
    sa.Column("requested", sa.Integer, nullable=False, comment="images asked for"),
    sa.Column("returned", sa.Integer),
    sa.Column("seed", sa.Text, comment="sent; else as the reply names it; may exceed 64 bits"),
    sa.Column("http_status", sa.Integer),
    sa.Column("reason", FreeText),
    sa.Column("inference_id", FreeText),
    sa.Column("request_id", FreeText),
    sa.Column("sent_at", UtcDateTime, nullable=False, index=True),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("provider", sa.Text, comment="whose account it is on"),
    sa.Column("origin", sa.Text, comment="the API: scheme, host and port, or sandbox"),
    sa.Column("key_fingerprint", sa.Text, comment="salted; which key of the account; null: not known"),
    sa.Column("expected", sa.BigInteger, comment="price by the price list; null: not known"),
    sa.Column("recovery", JsonText, comment="how its answer can be asked for once more; null: it cannot"),
    sa.UniqueConstraint("item_id", "number"),
    _one_of("imagen_calls", "outcome", CallOutcome),
)

# What all calls add up to is read from here alone: the rows are ten times as long. The values repeat, and PostgreSQL
# keeps equal ones once.
CALLS_BY_OUTCOME = sa.Index(
    "imagen_calls_by_outcome",
    *(calls.c[name] for name in ("outcome", "billed", "provider", "origin", "key_fingerprint", "settled", "reserved")),
)

# At most one call of an item is in flight.
_IN_FLIGHT = calls.c.outcome == sa.literal_column(f"'{CallOutcome.SENT}'")
ONE_IN_FLIGHT = sa.Index("imagen_calls_one_in_flight", calls.c.item_id, unique=True, sqlite_where=_IN_FLIGHT)


@sa.event.listens_for(ONE_IN_FLIGHT, "before_create")
def _narrow(index: sa.Index, connection: Connection, **_: object) -> None:
    """Say the same to PostgreSQL: here, since to name its option above would load its dialect for every ledger."""
    index.dialect_options[connection.dialect.name]["where"] = _IN_FLIGHT


images = sa.Table(
    "imagen_images",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", FreeText),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("source_url", FreeText),
    sa.Column("revised_prompt", FreeText),
    sa.Column("content_type", FreeText),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("sha256", sa.Text),
    sa.Column("destination", sa.Text),
    sa.Column("key", sa.Text),
    sa.Column("uri", sa.Text),
    sa.Column("stored_at", UtcDateTime),
    sa.Column("damage", FreeText, comment="what is wrong with a stored picture, or could not be checked"),
    sa.Column("requested_at", UtcDateTime, comment="when the call was sent: the order in which images are shown"),
    sa.Column("c2pa", sa.Text, comment="what its C2PA manifest is worth; null: its format was not searched"),
    sa.Column("c2pa_issuer", FreeText, comment="who signed it"),
    sa.Column("digital_source_type", FreeText, comment="what it says itself: a term of IPTC's"),
    sa.Column("marked", sa.Text, comment="how it was marked where it is stored: sidecar"),
    _one_of("imagen_images", "state", ImageState),
)

IMAGES_BY_TIME = sa.Index("imagen_images_by_time", images.c.requested_at, images.c.call_id, images.c.idx)
IMAGES_BY_STATE = sa.Index("imagen_images_by_state", images.c.state)

# The text that a language model wrote: of a delivered item of the kind `rewrite`.
rewrites = sa.Table(
    "imagen_rewrites",
    metadata,
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("text", FreeText, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

# Where each stored image is. An item that is wanted at a second destination is copied, not bought again.
deliveries = sa.Table(
    "imagen_deliveries",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True),
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("etag", sa.Text),
    sa.Column("stored_at", UtcDateTime, nullable=False),
)

# How often the marker at a destination was advanced. The marker has the number, too: if it has a greater one than its
# ledger, then the ledger is an older copy of itself.
marks = sa.Table(
    "imagen_marks",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

# Budgets of the day and the month, and a counter for each window in which calls were made under one.
budgets = sa.Table(
    "imagen_budgets",
    metadata,
    sa.Column("period", sa.Text, primary_key=True, comment="day or month"),
    sa.Column("provider", sa.Text, primary_key=True, comment="whose calls count; empty: all calls"),
    sa.Column("credits", sa.BigInteger, nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.Column("set_at", UtcDateTime, nullable=False),
)

budget_windows = sa.Table(
    "imagen_budget_windows",
    metadata,
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("window", sa.Text, primary_key=True, comment="2026-03-01, or 2026-03"),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("warned", sa.Boolean, nullable=False),
)


# The rate limit that was observed for a key (its fingerprint) and a model. Times are seconds of the database's clock.
quotas = sa.Table(
    "imagen_quotas",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("ceiling", sa.Double, comment="calls a minute at which the last 429 came"),
    sa.Column("proved", sa.Integer, nullable=False, default=0),
    sa.Column("busy", sa.Double, nullable=False, default=0.0),
    sa.Column("next_at", sa.Double, nullable=False, default=0.0),
    sa.Column("leased_at", sa.Double, nullable=False, default=0.0),
    sa.Column("cut_at", sa.Double, nullable=False, default=0.0),
    sa.Column("cool_until", sa.Double, nullable=False, default=0.0),
)

# The limits that each active run was given, and the slots that it has.
quota_shares = sa.Table(
    "imagen_quota_shares",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("holder_id", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("per_minute", sa.Double),
    sa.Column("in_flight", sa.Integer),
    sa.Column("wanted", sa.Integer, nullable=False),
    sa.Column("granted", sa.Integer, nullable=False),
)


def _number() -> sa.Column[int]:
    """The order in which rows were added."""
    return sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True)


# What people said about images. Rows are only added. A null verdict or null stars leave what was said before.
verdicts = sa.Table(
    "imagen_verdicts",
    metadata,
    _number(),
    sa.Column("id", sa.Text, nullable=False, unique=True, comment="made by the client, so that a repeat is known"),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("idx", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, comment="of the image that was looked at"),
    sa.Column("reviewer", FreeText, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("verdict", sa.Text),
    sa.Column("stars", sa.Integer),
    sa.Column("reason", FreeText),
    sa.Column("note", FreeText),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Index("imagen_verdicts_by_image", "call_id", "idx"),
    _one_of("imagen_verdicts", "verdict", VerdictValue),
)

# What the verdicts of an image amount to: the last of each kind.
reviews = sa.Table(
    "imagen_reviews",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True),
    sa.Column("verdict", sa.Text, nullable=False, index=True),
    sa.Column("verdict_at", UtcDateTime),
    sa.Column("stars", sa.Integer, nullable=False),
    sa.Column("stars_at", UtcDateTime),
    sa.Column("reviewer", FreeText, nullable=False, comment="who spoke last"),
    sa.Column("reviewed_at", UtcDateTime, nullable=False),
    sa.Column("reason", FreeText, comment="of the verdict"),
    sa.Column("note", FreeText),
    sa.Column("note_at", UtcDateTime),
    sa.Column("sha256", sa.Text, comment="of the image that was looked at last"),
    _one_of("imagen_reviews", "verdict", VerdictValue),
)

# What the free checks found in an image.
checks = sa.Table(
    "imagen_checks",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.Text, comment="of the image that was checked"),
    sa.Column("flags", JsonText, nullable=False, comment="names"),
    sa.Column("flagged", sa.Integer, nullable=False, comment="number of flags"),
    sa.Column("details", JsonText, nullable=False, comment="what was found, by flag"),
    sa.Column("dhash", sa.Text, comment="64 bits, hexadecimal"),
    sa.Column("duplicate_group", sa.Text, comment="the oldest image of those that look alike in the whole catalog"),
    sa.Column("run_duplicate_group", sa.Text, comment="the same among the images that one run bought"),
    sa.Column("settings", sa.Text, nullable=False, comment="fingerprint of the checks and their settings"),
    sa.Column("checked_at", UtcDateTime, nullable=False),
    sa.Index("imagen_checks_by_flags", "flagged"),
    sa.Index("imagen_checks_by_group", "duplicate_group"),
)

# Items that are to replace an image: each is bought once, whoever asks for it.
revisions = sa.Table(
    "imagen_revisions",
    metadata,
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("root_id", sa.Text, nullable=False, index=True, comment="the item that all of them descend from"),
    sa.Column("revision", sa.Integer, nullable=False, comment="from 2: one more than that of the parent"),
    sa.Column("parent_id", sa.Text, nullable=False, comment="the item of the image that is replaced"),
    sa.Column("call_id", sa.Text, nullable=False, comment="of the image that is replaced"),
    sa.Column("idx", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False, comment="with its contract"),
    sa.Column("prompt", FreeText, nullable=False),
    sa.Column("parameters", JsonText, nullable=False),
    sa.Column("edition", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("imagen_revisions_by_parent", "call_id", "idx"),
    _one_of("imagen_revisions", "kind", RegenerationKind),
)

# Who asked for revisions. Rows are only added; the last one of a reviewer counts.
revision_requests = sa.Table(
    "imagen_revision_requests",
    metadata,
    _number(),
    sa.Column("id", sa.Text, nullable=False, unique=True, comment="made by the client, so that a repeat is known"),
    sa.Column("item_id", sa.Text, nullable=False, index=True),
    sa.Column("reviewer", FreeText, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("withdrawn", sa.Boolean, nullable=False),
)

# Copies that were handed over: which image is where, by the place they were delivered to.
handovers = sa.Table(
    "imagen_handovers",
    metadata,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("imagen_handovers_by_key", "target", "key", unique=True),
)


# Every change of an item's state and of a call's outcome, written by triggers: a subject is an item's or a call's id.
history = sa.Table(
    "imagen_history",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", sa.Text, comment="null for a call that was just sent"),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# Files that rows of finished items were moved to. The items themselves keep their ids and states, without their texts.
archives = sa.Table(
    "imagen_archives",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("holder_id", sa.Text, nullable=False, comment="the process that worked on it last"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("selection", JsonText, nullable=False, comment="which items were meant"),
    sa.Column("files", JsonText, comment="rows, bytes and hash of each, once all are stored"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    _one_of("imagen_archives", "state", ArchiveState),
)

# Items of an archive that stood alike: where all their stored images are, and how many an item has.
archive_parts = sa.Table(
    "imagen_archive_parts",
    metadata,
    _number(),
    sa.Column("archive_id", sa.Text, nullable=False),
    sa.Column("destinations", JsonText, nullable=False),
    sa.Column("stored", sa.Integer, nullable=False, comment="images of an item"),
    sa.Column("quarantined", sa.Integer, nullable=False, comment="images of an item"),
    sa.Column("damaged", sa.Integer, nullable=False, comment="stored images of an item"),
    sa.Column("items", sa.BigInteger, nullable=False, comment="how many there are"),
    sa.UniqueConstraint("archive_id", "destinations", "stored", "quarantined", "damaged"),
)

# Items whose rows are in files and not deleted yet, with a hash of these rows.
archive_work = sa.Table(
    "imagen_archive_work",
    metadata,
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("archive_id", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Index("imagen_archive_work_by_archive", "archive_id", "item_id"),
)

# What the calls that were moved out amount to. What is not known of a call is an empty text here: it is a key.
archived_calls = sa.Table(
    "imagen_archived_calls",
    metadata,
    sa.Column("archive_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("key_fingerprint", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("billed", sa.Boolean, primary_key=True),
    sa.Column("item_state", sa.Text, primary_key=True),
    sa.Column("sent_from", UtcDateTime, primary_key=True, comment="beginning of the quarter of an hour"),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.BigInteger, nullable=False),
    sa.Column("images", sa.BigInteger, nullable=False, comment="stored"),
)

# What the rows of runs that were moved out amount to.
archived_rows = sa.Table(
    "imagen_archived_rows",
    metadata,
    sa.Column("archive_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("item_state", sa.Text, primary_key=True),
    *(
        sa.Column(name, sa.BigInteger, nullable=False)
        for name in ("rows", "items", "owned", "images", "quarantined", "damaged")
    ),
)


# What SQLite is to expect of indexes: rows of the table, and rows for one value. It has no statistics of its own, and
# would take an outcome that most calls have for as rare as the calls of one item.
EXPECTED_ROWS = {
    "ix_imagen_items_state": "1000000 10000",
    "ix_imagen_items_holder_id": "1000000 100000",
    "imagen_calls_by_outcome": "1000000 10000 10000 10000 10000 10000 10000 10000",
    "ix_imagen_reviews_verdict": "1000000 10000",
    "imagen_images_by_state": "1000000 900000",
}


def fields(record: object, *names: str) -> dict[str, Any]:
    """Some fields of a record, by name: values for columns of the same names."""
    return {name: getattr(record, name) for name in names}


def insert_new(connection: Connection, table: sa.TableClause) -> Any:
    """An insert that skips rows whose key exists."""
    # That of PostgreSQL takes time to load, and most ledgers are in SQLite.
    dialect: Any = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    return dialect.insert(table).on_conflict_do_nothing()


def insert_or_add(connection: Connection, table: sa.Table) -> Any:
    """An insert that adds to the numbers of a row whose key exists."""
    dialect: Any = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    insert = dialect.insert(table)
    numbers = [column.name for column in table.c if not column.primary_key]
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: table.c[name] + insert.excluded[name] for name in numbers},
    )


# A call's cost over its images: the remainder goes to the first ones, so that the rows add up to the call exactly.
# First by rank, not by index: an entry of the reply without an image leaves a gap.
_RANK = "(SELECT COUNT(*) FROM imagen_images e WHERE e.call_id = im.call_id AND e.idx < im.idx)"
_IMAGE_CREDITS = f"(c.settled / c.returned + CASE WHEN {_RANK} < c.settled % c.returned THEN 1 ELSE 0 END)"

# What stands behind a question mark may be a signature, which is as good as a key: it is kept for downloads alone. Both
# databases know `ltrim`: what it takes off here is all that stands before the first question mark.
_BEHIND_PATH = "ltrim(im.source_url, replace(im.source_url, '?', ''))"
_SOURCE_URL = f"substr(im.source_url, 1, length(im.source_url) - length({_BEHIND_PATH}))"

# New columns go to the end: PostgreSQL then replaces the view in place, and what others granted on it stays.
# Every image has a call and an item; the outer joins let SQLite begin with the images, which are sorted by an index.
# "+ 0" keeps it from looking through all rows of the run, instead of through those of the item.
CATALOG_VIEW = f"""
SELECT
    im.call_id || '-' || im.idx        AS image_id,
    im.item_id                         AS item_id,
    im.state                           AS state,
    im.uri                             AS uri,
    im.destination                     AS destination,
    im.key                             AS object_key,
    i.model                            AS model,
    COALESCE(c.prompt, i.prompt)       AS prompt,
    im.revised_prompt                  AS revised_prompt,
    i.parameters                       AS parameters,
    c.seed                             AS seed,
    i.edition                          AS edition,
    i.repeat                           AS repeat_number,
    im.idx                             AS image_index,
    c.requested                        AS images_requested,
    c.returned                         AS images_returned,
    im.content_type                    AS content_type,
    im.width                           AS width,
    im.height                          AS height,
    im.bytes                           AS bytes,
    im.sha256                          AS sha256,
    {_IMAGE_CREDITS}                   AS cost_credits,
    {_IMAGE_CREDITS} / 2000000.0       AS cost_usd,
    c.cost_source                      AS cost_source,
    im.requested_at                    AS requested_at,
    c.ended_at                         AS answered_at,
    im.stored_at                       AS stored_at,
    im.reason                          AS reason,
    {_SOURCE_URL}                      AS source_url,
    im.call_id                         AS client_request_id,
    c.inference_id                     AS inference_id,
    c.request_id                       AS provider_request_id,
    c.number                           AS call_number,
    c.wire_model                       AS wire_model,
    c.contract                         AS contract,
    c.run_id                           AS run_id,
    r.flow_run_id                      AS flow_run_id,
    r.flow_run_name                    AS flow_run_name,
    r.tags                             AS tags,
    (SELECT ri.source FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position + 0 LIMIT 1)    AS source_file,
    (SELECT ri.line FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position + 0 LIMIT 1)    AS source_line,
    (SELECT ri.row FROM imagen_run_items ri WHERE ri.run_id = c.run_id AND ri.item_id = im.item_id
      ORDER BY ri.position + 0 LIMIT 1)    AS source_row,
    COALESCE(c.origin, (SELECT m.value FROM imagen_meta m WHERE m.key = 'api_origin')) AS api_origin,
    i.prompt                           AS source_prompt,
    CASE WHEN c.prompt IS NOT NULL THEN rw.model END AS rewritten_by,
    i.variation                        AS variation,
    r.flow_run_url                     AS flow_run_url,
    im.damage                          AS damage,
    COALESCE(rv.verdict, 'none')       AS verdict,
    COALESCE(rv.stars, 0)              AS stars,
    rv.reviewer                        AS reviewer,
    rv.reviewed_at                     AS reviewed_at,
    rv.reason                          AS review_reason,
    rv.note                            AS review_note,
    rv.sha256                          AS reviewed_sha256,
    ch.flags                           AS flags,
    COALESCE(ch.flagged, 0)            AS flag_count,
    ch.details                         AS flag_details,
    ch.duplicate_group                 AS duplicate_group,
    ch.run_duplicate_group             AS run_duplicate_group,
    ch.checked_at                      AS checked_at,
    COALESCE(rn.revision, 1)           AS revision,
    rn.parent_id                       AS parent_item_id,
    rn.call_id || '-' || rn.idx        AS parent_image_id,
    im.c2pa                            AS c2pa,
    im.c2pa_issuer                     AS c2pa_issuer,
    im.digital_source_type             AS digital_source_type,
    im.marked                          AS marked,
    i.inputs                           AS inputs,
    c.provider                         AS provider
FROM imagen_images im
LEFT JOIN imagen_calls c ON c.id = im.call_id
LEFT JOIN imagen_items i ON i.id = im.item_id
LEFT JOIN imagen_runs r ON r.id = c.run_id
LEFT JOIN imagen_items rw ON rw.id = i.rewrite_id
LEFT JOIN imagen_reviews rv ON rv.call_id = im.call_id AND rv.idx = im.idx
LEFT JOIN imagen_checks ch ON ch.call_id = im.call_id AND ch.idx = im.idx
LEFT JOIN imagen_revisions rn ON rn.item_id = im.item_id
"""
