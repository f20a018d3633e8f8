"""What of a language model's answer is of use: read leniently, judged strictly.

Whether a model keeps to a JSON schema is not documented for any; so the JSON is looked for in a code fence, behind the
model's thoughts, in prose, and as text within JSON. But only JSON is taken: an answer in plain words may as well be an
excuse, and would be drawn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..providers.chat_reply import ChatReply
from ..providers.fields import prompt_length

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_NO_CHARACTER = re.compile("[\0-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_NAMES = ("prompt", "rewritten_prompt", "rewritten", "text")
_MOST_STARTS = 50
_SHOWN = 60


@dataclass(eq=False, repr=False)
class UnusableAnswer(Exception):
    """An answer that no prompt can be made of.

    Attributes:
        problem: Why, so that it fits into a sentence.
        final: Whether asking again is of no use: the model does not want to.
        cut: Whether the answer ended for want of tokens.
    """

    problem: str
    final: bool = False
    cut: bool = False

    def __str__(self) -> str:
        return self.problem


def read_answer(reply: ChatReply, limit: int) -> str:
    """Find the prompt in an answer, and hold it to the limit.

    Args:
        limit: Longest text of use, in UTF-16 code units.

    Raises:
        UnusableAnswer: There is none, or it is too long.

    Example:
        >>> read_answer(ChatReply('Sure! {"prompt": "a fox"}', None, "stop", False, 9, 9, 60, None, None), 400)
        'a fox'
    """
    if reply.refusal is not None:
        raise UnusableAnswer(f"the model refused: {_shown(reply.refusal)}", final=True)
    if reply.finish_reason == "content_filter":
        raise UnusableAnswer("the provider's filter held the answer back", final=True)
    cut = reply.finish_reason == "length"
    content = _THOUGHTS.sub("", reply.content).strip()
    if not content:
        what = "the answer is empty" + (", there is only reasoning" if reply.reasoned else "")
        raise UnusableAnswer(f"{what}{' (it ran out of tokens)' if cut else ''}", cut=cut or reply.reasoned)
    found = next(_prompts(content), None)
    if found is None:
        what = (
            "the answer ran out of tokens within the JSON" if cut else "the answer is not the JSON that was asked for"
        )
        raise UnusableAnswer(f"{what}: {_shown(content)}", cut=cut)
    text = " ".join(_NO_CHARACTER.sub(" ", found).split())
    if not text:
        raise UnusableAnswer("the prompt in the answer is empty")
    length = prompt_length(text)
    if length > limit:
        raise UnusableAnswer(f"the prompt in the answer has {length} characters, {limit} are allowed")
    return text


def _prompts(content: str) -> Iterator[str]:
    """Every prompt in the JSON values that a text holds, from its beginning."""
    decoder = json.JSONDecoder(strict=False)
    position = starts = 0
    while starts < _MOST_STARTS:
        match = re.compile(r'[{["]').search(content, position)
        if match is None:
            return
        position = match.start()
        # A quotation mark begins a JSON text only at the very beginning; elsewhere it is prose.
        if content[position] == '"' and position > 0:
            position += 1
            continue
        starts += 1
        try:
            value, end = decoder.raw_decode(content, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        found = _prompt(value)
        if found is not None:
            yield found
        position = end


def _prompt(value: Any, depth: int = 0) -> str | None:
    """The prompt in a JSON value: an object with it, a list of one such object, or a text that is JSON again."""
    if depth > 3:
        return None
    if isinstance(value, dict):
        named = {str(key).strip().lower(): inner for key, inner in value.items()}
        for name in _NAMES:
            if isinstance(named.get(name), str):
                return str(named[name])
        # {"prompts": [...]}, or the object that was asked for within another one
        return _prompt(next(iter(named.values())), depth + 1) if len(named) == 1 else None
    if isinstance(value, list) and len(value) == 1:
        only = value[0]
        return only if isinstance(only, str) and depth else _prompt(only, depth + 1)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return _prompt(json.loads(value, strict=False), depth + 1)
        except (ValueError, RecursionError):
            return None
    return None


def _shown(text: str) -> str:
    flat = " ".join(_NO_CHARACTER.sub(" ", text).split())
    return repr(flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…")
