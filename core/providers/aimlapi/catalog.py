"""Fetching the provider's catalog: two keyless requests and a cache on disk.

`GET /v1/models?include=pricing` and `GET /v1/models/deprecations` (AI/ML API docs, 2026-08) are sent before money is
spent. They give up after a couple of seconds; the last answers are kept on disk, with their ETag. Where nothing was
received, the registry's own facts hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from ...files import AtomicFile, make_private_folder
from ...http.exchange import exchange
from ...http.transport import NoAuth, PooledAdapter
from ..addresses import api_origin
from ..catalog import ProviderCatalog

_MODELS = "/v1/models?type=openai%2Fimage-generations&include=pricing"
_DEPRECATIONS = "/v1/models/deprecations"
_MOST_BYTES = 8 * 2**20
_OLDEST = 7 * 86_400.0


def fetch_provider_catalog(
    base_url: str, folder: Path, *, offline: bool = False, fresh: bool = False, seconds: float = 2.0
) -> ProviderCatalog:
    """Ask the catalogue, or remember what it said.

    Args:
        offline: Ask nothing and remember nothing.
        fresh: Ask even if the last answer may still be used; an unchanged one is not sent again (ETag).
        seconds: When to give up, for each of the two requests.

    Returns:
        What was heard; never raises for a service that is away.
    """
    origin = api_origin(base_url)
    if offline:
        return ProviderCatalog(origin, problem="not asked (offline)")
    adapter = PooledAdapter(pool_size=1)
    try:
        models = _ask(adapter, origin, _MODELS, folder, fresh=fresh, seconds=seconds)
        # If the first request failed, only the cache is used for the second.
        away = bool(models.problem)
        gone = _ask(adapter, origin, _DEPRECATIONS, folder, fresh=fresh, seconds=seconds, only_remember=away)
    finally:
        adapter.close()
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
    adapter: PooledAdapter,
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
            return _send(adapter, f"{origin}{path}", kept, file, seconds, now)
        except (requests.RequestException, OSError) as error:
            problem = f"the API's catalogue does not answer ({type(error).__name__})"
        except ValueError as error:
            problem = f"the API's catalogue cannot be read: {error}"
    if kept is None or age is None or not 0 <= age < _OLDEST:
        return _Answer(None, problem=problem)
    when = datetime.fromtimestamp(kept["heard_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _Answer(kept["rows"], kept["heard_at"], f"{problem}; what it said at {when} is used")


def _send(
    adapter: PooledAdapter, url: str, kept: Mapping[str, Any] | None, file: Path, seconds: float, now: float
) -> _Answer:
    headers = {"Accept": "application/json"}
    if kept is not None and kept["etag"]:
        headers["If-None-Match"] = kept["etag"]
    answer = exchange(
        adapter,
        "GET",
        url,
        headers=headers,
        auth=NoAuth(),
        timeout=(seconds, seconds),
        deadline=time.monotonic() + seconds,
        max_bytes=lambda _: _MOST_BYTES,
    )
    if answer.status == 304 and kept is not None:
        rows = kept["rows"]
    elif answer.status == 200:
        if answer.cut is not None:
            raise ValueError(answer.cut)
        rows = _rows(answer.body)
    else:
        raise ValueError(f"it answered {answer.status}")
    match = re.search(r"max-age=(\d{1,6})", answer.headers.get("cache-control", ""))
    heard = {
        "rows": rows,
        "heard_at": now,
        "max_age": int(match[1]) if match else 0,
        "etag": answer.headers.get("etag", ""),
    }
    _remember(file, heard)
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
    """The last answers; None if there are none, or if the file has another form."""
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
        make_private_folder(file.parent)
        with AtomicFile(file) as out:
            out.write(json.dumps(answer).encode())
            out.commit()
