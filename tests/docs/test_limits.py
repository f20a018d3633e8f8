"""The limits in docs/security.md are those of the code; `UPDATE_DOCS=1 pytest` of this file rewrites them."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
HEAD = "| what | at most | if it is more |\n|---|---|---|\n"
CORE = "prefect_imagen.core"
REFUSED, RUN_REFUSED = "refused, with the place", "the run is refused"

LIMITS = (
    ("characters of a prompt, a cell or a line of a file", "prompts.sources:MAX_LINE", REFUSED),
    ("characters that a template makes of a row", "prompts.jinja_env:MAX_LENGTH", REFUSED),
    ("steps of a template, for one row", "prompts.jinja_env:MAX_STEPS", REFUSED),
    ("values of `range` in a template", "prompts.jinja_env:MAX_RANGE", REFUSED),
    ("depth of choices within choices", "prompts.grammar:MAX_DEPTH", REFUSED),
    ("values of a pick, such as `{5$$…}`", "prompts.resolve:MAX_PICK", REFUSED),
    ("steps of the expansion of a prompt", "prompts.resolve:MAX_STEPS", REFUSED),
    ("bytes of a wildcard file", "prompts.wildcards:MAX_FILE_BYTES", REFUSED),
    ("values of all wildcards", "prompts.wildcards:MAX_VALUES", REFUSED),
    ("rows of a run", "plan.spec:MOST_ROWS", RUN_REFUSED),
    ("bytes of a reply to a paid call", "providers.client:ImageClient.max_reply_bytes", "cut; the call is unknown"),
    (
        "bytes of all answers of APIs to a process, until they are dealt with (`PREFECT_IMAGEN_REPLY_BYTES`)",
        "http.memory:DEFAULT_ANSWERS",
        "they wait; one that waits past its time is cut",
    ),
    ("values of a reply", "providers.reply:MOST_VALUES", "the call is unknown"),
    ("percent signs of a reply", "providers.reply:MOST_ESCAPES", "the call is unknown"),
    ("lines of a reply that is a stream of events", "providers.reply:MOST_EVENTS", "the call is unknown"),
    ("seconds of a paid call", "providers.client:ImageClient.read_timeout", "the call is unknown"),
    ("bytes of a free answer of the API", "providers.client:MAX_FREE_BYTES", "not used: the API counts as away"),
    ("calls beyond the concurrency while nothing succeeds", "limits.circuit:BEYOND_CONCURRENCY", "buying pauses"),
    ("probes in such a pause", "limits.circuit:PROBES", "the run ends as Blocked"),
    ("bytes of a download", "images:Fetcher.max_bytes", "not fetched; the image is quarantined"),
    ("seconds of a download, with its redirects", "images:Fetcher.deadline", "tried again, then left for later"),
    ("redirects of a download", "images.fetch:MAX_REDIRECTS", "not fetched; the image is quarantined"),
    ("pixels of an image, in times of those that were asked for", "delivery.files:ROOM", "quarantined"),
    ("pixels of an image where nothing says what was asked for", "images:MOST_PIXELS", "quarantined"),
    ("pixels of a plain PNG, whatever was asked for", "images:MOST_COUNTED", "quarantined"),
    ("scans of a JPEG", "images.inspect:MOST_SCANS", "quarantined"),
    ("segments of a JPEG", "images.jpeg:MOST_SEGMENTS", "quarantined"),
    ("chunks of a PNG", "images.png:MOST_CHUNKS", "quarantined"),
    (
        "bytes that all pictures of a process take while they are drawn",
        "images.drawing:DEFAULT_BUDGET",
        "they wait; one that takes more by itself is stored unchecked",
    ),
    ("seconds of the processor for a picture", "images.drawing:CPU_SECONDS", "quarantined"),
    (
        "seconds without a heartbeat until a process on another machine is dead",
        "ledger:LEASE_SECONDS",
        "its items go on",
    ),
    ("bytes of the spool", "request:Delivery.spool_max_bytes", "nothing is bought until more is stored"),
    ("seconds that a run waits for a service that is away", "request:Delivery.patience", "the run ends as Blocked"),
)


def value(place: str) -> float:
    """A constant, the default of a parameter, or of an option."""
    module, _, name = place.partition(":")
    owner, _, parameter = name.partition(".")
    found = pkgutil.resolve_name(f"{CORE}.{module}:{owner}")
    if not parameter:
        return float(found)
    fields = getattr(found, "model_fields", None)
    return float(fields[parameter].default if fields else inspect.signature(found).parameters[parameter].default)


def shown(number: float, what: str) -> str:
    if what.startswith("bytes") and number % 2**20 == 0:
        return f"{number / 2**20:,.0f} MiB"
    return f"{number:,.0f}"


def table() -> str:
    return "".join(f"| {what} | {shown(value(place), what)} | {then} |\n" for what, place, then in LIMITS)


def test_the_page_has_the_limits_of_the_code() -> None:
    text, _, written = PAGE.read_text(encoding="utf-8").partition(HEAD)
    wanted = table()
    if written != wanted and os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(f"{text}{HEAD}{wanted}", encoding="utf-8")
        pytest.skip("rewritten")
    assert written == wanted, "docs/security.md is behind: UPDATE_DOCS=1 pytest tests/docs/test_limits.py"


def test_no_link_of_the_pages_on_security_is_dead() -> None:
    for page in (PAGE, PAGE.parents[1] / "SECURITY.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target
