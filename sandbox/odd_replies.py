"""Replies in forms that the API's documents do not have, as other image APIs and gateways write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .faults import OddForm


def odd_reply(form: OddForm, usual: Mapping[str, Any]) -> Any:
    """The usual reply of a model in a form that its format does not have.

    Args:
        usual: With one image and its URL.
    """
    found = usual.get("data") or usual.get("images") or [{}]
    url = found[0].get("url") or ""
    path = "/" + url.partition("://")[2].partition("/")[2]
    failed = {"error": {"message": "upstream timeout", "type": "server_error", "code": "upstream_error"}}
    places: dict[str, Any] = {
        "accepted": {"id": "task-17", "status": "queued"},
        "task": {"id": "gen-4711", "status": "processing", "created": 1},
        "error": failed,
        "billed_error": failed,
        "events": {"type": "image_generation.completed", "url": url},
        "object": {"data": {"url": url}},
        "image": {"image": {"url": url}},
        "output": {"output": url},
        "image_url": {"images": [{"image_url": url}]},
        "nested": {"data": {"images": [{"url": url}]}},
        "list": [{"url": url}],
        "strings": {"data": [url]},
        "top_url": {"url": url},
        "relative": {"data": [{"url": path}]},
        "without_scheme": {"data": [{"url": url.partition(":")[2]}]},
        "blanks": {"data": [{"url": f" \ufeff{url}\n"}]},
        "chat": {"choices": [{"message": {"content": None, "images": [{"image_url": {"url": url}}]}}]},
    }
    reply = places[form]
    costs = isinstance(reply, dict) and form not in ("accepted", "task", "error")
    return {**reply, "meta": usual.get("meta")} if costs else reply
