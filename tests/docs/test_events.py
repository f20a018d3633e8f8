"""docs/events.md shows every event and the fields of its payload as they are.

`python tests/docs/test_events.py` writes the page's payloads anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.flows import events

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
PAYLOADS: list[type[events.Payload]] = [
    events.RunCompleted,
    events.RunIncomplete,
    events.BuyingPaused,
    events.BuyingResumed,
    events.BudgetWarning,
    events.UnknownWaiting,
    events.ModelRetiring,
    events.ReviewRequested,
    events.ReviewCompleted,
]
_HEADING = "## Payloads\n"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema["type"] == "object":
        return f"object of {_type(schema['additionalProperties'])}s"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}s"
    return {"string": schema.get("format", "string")}.get(schema["type"], schema["type"])


def render() -> str:
    """The section of payloads."""
    lines = [_HEADING]
    for payload in PAYLOADS:
        assert payload.__doc__
        lines += [f"### `{payload.event}`\n", f"{payload.__doc__.strip()}\n", "| field | type | |", "|---|---|---|"]
        properties = payload.model_json_schema(mode="serialization")["properties"]
        lines += [f"| `{name}` | {_type(field)} | {field['description']} |" for name, field in properties.items()]
        lines.append("")
    return "\n".join(lines)


def test_the_page_shows_the_payloads_as_they_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index(_HEADING) :] == render()


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.event)
def test_the_page_lists_every_event(payload: type[events.Payload]) -> None:
    table = PAGE.read_text(encoding="utf-8").partition(_HEADING)[0]
    assert re.search(rf"^\| `{re.escape(payload.event)}` \|", table, re.MULTILINE)


def test_no_event_is_missing() -> None:
    found = {value for value in vars(events).values() if isinstance(value, type) and "event" in vars(value)}
    assert found - {events.Payload} == set(PAYLOADS)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.partition(_HEADING)[0] + render(), encoding="utf-8")
