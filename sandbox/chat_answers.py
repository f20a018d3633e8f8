"""The answers of the sandbox's language model: valid, and the same for the same question.

It rewrites a prompt by adding up to four details, and repeats any other question. Faults make answers invalid.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

REASONING = (
    "The user wants an answer. I should keep to what is asked for, take the subject as it is, think of place, light "
    "and mood, and answer in the form that was named, without anything around it. One paragraph will do; shorter is "
    "better than longer, and nothing that the user named may be lost on the way."
)

_DETAILS = (
    "seen from a low angle",
    "in soft morning light",
    "against a plain pale background",
    "with long shadows",
    "in muted earth colours",
    "under a clear evening sky",
    "with fine grain and shallow depth of field",
    "framed by dark foliage",
    "after the rain, with wet reflections",
    "lit from one side by a window",
    "with a lot of empty space around it",
    "in the style of a mid-century travel poster",
    "with mist in the distance",
    "as a close-up with visible texture",
    "with one small accent of red",
    "at the blue hour",
    "seen through a half-open door",
    "with a calm, attentive mood",
    "in the warm light of a lamp",
    "with crisp detail in the foreground",
)
_QUOTED = 200
_USUAL = 300
_LIMIT = re.compile(r"at most (\d{1,5}) characters")
_LEAST = 20


def write(texts: Sequence[str], response_format: Mapping[str, Any] | None) -> str:
    """The answer to a conversation.

    Args:
        texts: Its messages; the last one is the question.
        response_format: That of the request, already checked.
    """
    kind = (response_format or {}).get("type", "text")
    question = texts[-1]
    if kind == "json_schema" and response_format is not None:
        schema = response_format["json_schema"].get("schema", {})
        return json.dumps(_instance(schema, rewritten(texts)), ensure_ascii=False)
    wants_json = any("JSON object" in text for text in texts)
    if kind == "json_object":
        return json.dumps({"prompt" if wants_json else "answer": rewritten(texts)}, ensure_ascii=False)
    if wants_json:
        answer = json.dumps({"prompt": rewritten(texts)}, ensure_ascii=False, indent=2)
        return f"Here you are:\n\n```json\n{answer}\n```"
    return f"Answer of the sandbox to: {question[:_QUOTED]}"


def rewritten(texts: Sequence[str]) -> str:
    """A richer prompt than the one in the question, within the number of characters that the conversation names."""
    limit = max((int(found) for text in texts for found in _LIMIT.findall(text)[-1:]), default=_USUAL)
    source = _source(texts[-1])
    words = random.Random(texts[-1])  # noqa: S311 - not a secret
    text = fitting(source, max(_LEAST, min(limit, _USUAL) // 2))
    for detail in words.sample(_DETAILS, 4):
        if len(f"{text}, {detail}".encode("utf-16-le")) // 2 <= min(limit, _USUAL):
            text = f"{text}, {detail}"
    return text


def fitting(text: str, characters: int) -> str:
    """A text cut to a length, between words if possible."""
    flat = " ".join(text.split())
    if len(flat) <= characters:
        return flat
    cut = flat[:characters]
    return cut.rpartition(" ")[0] or cut


def _source(question: str) -> str:
    """The prompt in a question that is or ends in a JSON object, else the question."""
    try:
        asked = json.loads(question[question.index("{") :])
    except ValueError:
        return question
    prompt = asked.get("prompt") if isinstance(asked, dict) else None
    return prompt if isinstance(prompt, str) else question


def _instance(schema: Any, text: str) -> Any:
    """The smallest value that fits a plain schema."""
    if not isinstance(schema, dict):
        return text
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: _instance(inner, text) for name, inner in properties.items()}
        case "array":
            return [_instance(schema.get("items"), text)] * max(1, int(schema.get("minItems", 1)))
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
    return fitting(text, int(schema.get("maxLength", _USUAL)))
