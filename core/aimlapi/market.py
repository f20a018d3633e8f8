"""What the API's own catalogue says today: which models there are, what they cost, which will go.

Two keyless requests, `GET /v1/models?include=pricing` and `GET /v1/models/deprecations` (AI/ML API docs, 2026-08), are
sent before money is spent. They are a courtesy: they give up after a couple of seconds, and what was heard last is
kept on disk, with its ETag. Where nothing was heard, the registry's own facts hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import requests

from ..files import AtomicFile
from ..http.sessions import SessionPool, read_bounded
from ..http.transport import NoAuth, PooledAdapter
from .client import api_origin
from .spec import ModelSpec, Price, ResolvedModel

_MODELS = "/v1/models?type=openai%2Fimage-generations&include=pricing"
_DEPRECATIONS = "/v1/models/deprecations"
_MOST_BYTES = 8 * 2**20
_OLDEST = 7 * 86_400.0
_MEGAPIXEL = 2**20
_GONE = "withdrawn"


@dataclass(frozen=True, slots=True)
class DeprecationNotice:
    """What is announced of a model.

    Attributes:
        status: `listed`, `deprecated`, `superseded` or `withdrawn`.
        shutdown: Day of the withdrawal, where one is named.
        successor: What to use instead, where it is named.
        reason: In a sentence.
    """

    status: str
    shutdown: date | None = None
    successor: str | None = None
    reason: str = ""

    def withdrawn(self, today: date) -> bool:
        """Whether it cannot be bought any more."""
        announced = self.status in ("deprecated", "superseded") and self.shutdown is not None
        return self.status == _GONE or (announced and self.shutdown is not None and self.shutdown <= today)

    @property
    def retiring(self) -> bool:
        """Whether it will not be there for ever: announced, withdrawn, or shut down by its maker."""
        return self.status != "listed" or self.shutdown is not None


@dataclass(frozen=True, slots=True)
class ProviderCatalog:
    """What the catalogue said. Without anything heard, all answers are the registry's.

    Attributes:
        origin: Of which API.
        heard_at: When; None if nothing was heard.
        problem: Why it is not fresh, or nothing was heard; empty where it was asked just now.
        pricing: Name of a model (aliases included) → its `pricing`.
        notices: Name of a model → its row among the deprecations.
    """

    origin: str
    heard_at: datetime | None = None
    problem: str = ""
    pricing: Mapping[str, Any] = field(default_factory=dict)
    notices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def lists(self, spec: ModelSpec) -> bool | None:
        """Whether the model is in the catalogue; None where it was not heard."""
        return any(name in self.pricing for name in spec.names) if self.pricing else None

    def notice(self, spec: ModelSpec) -> DeprecationNotice:
        """Where a model stands, by the catalogue's word and the registry's: the worse of the two."""
        life = spec.lifecycle
        own = DeprecationNotice(
            life.status,
            _day(life.shutdown_at or life.withdrawn_at or life.upstream_shutdown),
            life.successor,
            life.note or "",
        )
        row = next((self.notices[name] for name in spec.names if name in self.notices), None)
        if row is None:
            return own
        status = str(row.get("status") or "deprecated")
        if own.status == _GONE:
            status = _GONE
        return DeprecationNotice(
            status,
            _day(row.get("shutdown_at")) or own.shutdown,
            _text(row.get("replaced_by")) or own.successor,
            _text(row.get("reason")) or own.reason,
        )

    def price(self, model: ResolvedModel) -> Price | None:
        """What an image costs: the catalogue's word for what is expected, the highest that anybody names for what is
        reserved. None where nobody names a price an image."""
        known = model.spec.price
        quoted = next((self.pricing[name] for name in model.spec.names if name in self.pricing), None)
        found = _quote(quoted, model) if quoted is not None else None
        if found is None:
            return known
        usd, high = found
        if known is not None:
            high = max(high, known.usd_high)
        heard = self.heard_at.date().isoformat() if self.heard_at is not None else ""
        per = known.per if known is not None else "image"
        return Price(usd=usd, usd_high=high, per=per, as_of=heard, source="the API's catalogue")

    def priced(self, model: ResolvedModel) -> ResolvedModel:
        """The model at today's price."""
        price = self.price(model)
        return model if price is None or price == model.spec.price else model.priced(price)


def _day(text: Any) -> date | None:
    with contextlib.suppress(ValueError, TypeError):
        return date.fromisoformat(str(text)[:10])
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _amount(row: Mapping[str, Any]) -> Decimal | None:
    """`price` divided by `per`, in USD."""
    with contextlib.suppress(InvalidOperation, ArithmeticError, TypeError, ValueError):
        amount = Decimal(str(row["price"])) / Decimal(str(row.get("per", 1)))
        return amount if amount.is_finite() and 0 <= amount < 1000 else None
    return None


def _quote(pricing: Any, model: ResolvedModel) -> tuple[Decimal, Decimal] | None:
    """Expected and highest price of an image by a `pricing` block; None where it names no price an image.

    `fixed` has `units`, `variants` one price for each combination of `dimensions`, `variable` cannot be quoted; prices
    by the token say nothing of an image.
    """
    if not isinstance(pricing, Mapping) or pricing.get("currency", "USD") != "USD":
        return None
    rows = pricing.get("units") if pricing.get("kind") == "fixed" else pricing.get("variants")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return None
    found: list[tuple[bool, Decimal, Decimal]] = []
    for row in rows:
        amount = _amount(row)
        unit = row.get("name") or row.get("unit")
        if amount is None or unit not in ("image", "megapixel"):
            return None
        most = amount * _megapixels(model) if unit == "megapixel" else amount
        found.append((_is_default(row.get("when"), model), amount, max(amount, most)))
    if not found or max(high for *_, high in found) <= 0:
        return None
    ordinary = [usd for default, usd, _ in found if default]
    return max(ordinary or [usd for _, usd, _ in found]), max(high for *_, high in found)


def _megapixels(model: ResolvedModel) -> Decimal:
    """Most megapixels that an image of the model can have."""
    sizing = model.contract.sizing
    most = model.contract.fields[sizing].maximum if sizing else None
    return Decimal(str(most or 1024)) ** 2 / _MEGAPIXEL


def _is_default(when: Any, model: ResolvedModel) -> bool:
    """Whether a variant is what one gets without asking for anything else."""
    if not isinstance(when, Mapping):
        return True
    defaults = {name: spec.default for name, spec in model.contract.fields.items()}
    return all(str(defaults.get(name)).lower() == str(value).lower() for name, value in when.items())


def fetch_provider_catalog(
    base_url: str, folder: Path, *, offline: bool = False, fresh: bool = False, seconds: float = 2.0
) -> ProviderCatalog:
    """Ask the catalogue, or remember what it said.

    Args:
        base_url: Of the API.
        folder: Where answers are kept.
        offline: Ask nothing and remember nothing.
        fresh: Ask even if the last answer may still be used; an unchanged one is not sent again (ETag).
        seconds: When to give up, for each of the two requests.

    Returns:
        What was heard; never raises for a service that is away.
    """
    origin = api_origin(base_url)
    if offline:
        return ProviderCatalog(origin, problem="not asked (offline)")
    pool = SessionPool(PooledAdapter(pool_size=1))
    try:
        models = _ask(pool, origin, _MODELS, folder, fresh=fresh, seconds=seconds)
        # Whoever did not answer once is not waited for twice.
        away = bool(models.problem)
        gone = _ask(pool, origin, _DEPRECATIONS, folder, fresh=fresh, seconds=seconds, only_remember=away)
    finally:
        pool.close()
    heard = [answer.heard_at for answer in (models, gone) if answer.rows is not None]
    return ProviderCatalog(
        origin,
        datetime.fromtimestamp(min(heard), UTC) if heard else None,
        models.problem or gone.problem,
        {name: row.get("pricing") for row in models.rows or () for name in _names(row)},
        {name: row for row in gone.rows or () for name in _names(row)},
    )


def _names(row: Mapping[str, Any]) -> Iterator[str]:
    for name in (row.get("id"), *(row.get("aliases") or ())):
        if isinstance(name, str):
            yield name


@dataclass(frozen=True, slots=True)
class _Answer:
    """Rows of one request, since when they are known, and why they are not of now."""

    rows: list[Mapping[str, Any]] | None
    heard_at: float = 0.0
    problem: str = ""


def _ask(
    pool: SessionPool,
    origin: str,
    path: str,
    folder: Path,
    *,
    fresh: bool,
    seconds: float,
    only_remember: bool = False,
) -> _Answer:
    key = hashlib.sha256(f"{origin}{path}".encode()).hexdigest()[:24]
    file = folder / f"catalogue-{key}.json"
    kept = _remembered(file)
    now = time.time()
    age = now - kept["heard_at"] if kept is not None else None
    if kept is not None and age is not None and not fresh and 0 <= age < kept["max_age"]:
        return _Answer(kept["rows"], kept["heard_at"])
    problem = "the API's catalogue does not answer"
    if not only_remember:
        try:
            return _send(pool, f"{origin}{path}", kept, file, seconds, now)
        except (requests.RequestException, OSError) as error:
            problem = f"the API's catalogue does not answer ({type(error).__name__})"
        except ValueError as error:
            problem = f"the API's catalogue cannot be read: {error}"
    if kept is None or age is None or not 0 <= age < _OLDEST:
        return _Answer(None, problem=problem)
    when = datetime.fromtimestamp(kept["heard_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _Answer(kept["rows"], kept["heard_at"], f"{problem}; what it said at {when} is used")


def _send(
    pool: SessionPool, url: str, kept: Mapping[str, Any] | None, file: Path, seconds: float, now: float
) -> _Answer:
    headers = {"Accept": "application/json"}
    if kept is not None and kept["etag"]:
        headers["If-None-Match"] = kept["etag"]
    deadline = time.monotonic() + seconds
    with pool.session().get(
        url, auth=NoAuth(), headers=headers, timeout=(seconds, seconds), allow_redirects=False, stream=True
    ) as response:
        if response.status_code == 304 and kept is not None:
            rows = kept["rows"]
        elif response.status_code == 200:
            body, cut = read_bounded(response, max_bytes=_MOST_BYTES, deadline=deadline)
            if cut is not None:
                raise ValueError(cut)
            rows = _rows(body)
        else:
            raise ValueError(f"it answered {response.status_code}")
        match = re.search(r"max-age=(\d{1,6})", response.headers.get("cache-control", ""))
        answer = {
            "rows": rows,
            "heard_at": now,
            "max_age": int(match[1]) if match else 0,
            "etag": response.headers.get("etag", ""),
        }
    _remember(file, answer)
    return _Answer(rows, now)


def _rows(body: bytes) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    rows = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(rows, list):
        raise ValueError("it has no list of models")  # noqa: TRY004 - one kind of trouble for all that cannot be read
    wanted = ("id", "aliases", "pricing", "status", "shutdown_at", "replaced_by", "reason")
    return [{name: row[name] for name in wanted if name in row} for row in rows if isinstance(row, Mapping)]


def _remembered(file: Path) -> dict[str, Any] | None:
    """What was heard last; None for nothing, or for a file that somebody else wrote."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {
            "rows": [row for row in kept["rows"] if isinstance(row, dict)],
            "heard_at": float(kept["heard_at"]),
            "max_age": float(kept["max_age"]),
            "etag": str(kept["etag"]),
        }
    return None


def _remember(file: Path, answer: Mapping[str, Any]) -> None:
    """Keep an answer; a disk that is full or read-only only means that it is asked again."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(file) as out:
            out.write(json.dumps(answer).encode())
            out.commit()
