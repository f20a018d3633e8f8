"""The columns of the catalog and what kind of value each holds.

SQLite has no types of its own for times and JSON, so the view alone does not tell. A column that is new to the view is
added here (a test compares the two).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


class Kind(enum.StrEnum):
    """What a column holds; any of them may be null."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    TIME = "time"
    JSON = "json"
    BOOLEAN = "boolean"


_NAMES = """
image_id item_id state uri destination object_key model prompt revised_prompt parameters seed edition repeat_number
image_index images_requested images_returned content_type width height bytes sha256 cost_credits cost_usd cost_source
requested_at answered_at stored_at reason source_url client_request_id inference_id provider_request_id call_number
wire_model contract run_id flow_run_id flow_run_name tags source_file source_line source_row api_origin source_prompt
rewritten_by variation flow_run_url damage verdict stars reviewer reviewed_at review_reason review_note reviewed_sha256
flags flag_count flag_details duplicate_group run_duplicate_group checked_at revision parent_item_id parent_image_id
c2pa c2pa_issuer digital_source_type marked inputs provider
"""
_KINDS = {
    Kind.INTEGER: """repeat_number image_index images_requested images_returned width height bytes cost_credits
        call_number source_line variation stars flag_count revision""",
    Kind.REAL: "cost_usd",
    Kind.TIME: "requested_at answered_at stored_at reviewed_at checked_at",
    Kind.JSON: "parameters tags source_row flags flag_details inputs",
}
_SPECIAL = {name: kind for kind, names in _KINDS.items() for name in names.split()}

COLUMNS: Mapping[str, Kind] = {name: _SPECIAL.get(name, Kind.TEXT) for name in _NAMES.split()}
"""Every column of the view, in its order."""


def plain(kind: Kind, value: Any) -> Any:
    """A value as the view gives it, as the same Python value from either database.

    JSON comes back as its text, times as aware UTC, numbers as `int` and `float`.
    """
    if value is None:
        return None
    match kind:
        case Kind.INTEGER:
            return int(value)
        case Kind.REAL:
            return float(value)
        case Kind.BOOLEAN:
            return bool(value)
        case Kind.TIME:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        case Kind.JSON:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        case Kind.TEXT:
            return str(value)
