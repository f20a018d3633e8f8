"""The manifest entry of an image on its way: small, picklable, without its bytes."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from pathlib import Path

from ..files import Fetched
from ..images import MOST_PIXELS, inspect
from ..ledger import ImageTask
from ..provenance import examine
from ..providers import pixels_asked_for

ROOM = 4
"""A picture may have so many times the pixels that were asked for: models round, and some enlarge what they draw."""

_LEAST = 4096 * 4096
"""Pixels that are accepted, whatever was asked for."""


class FileState(enum.StrEnum):
    """What a download came to."""

    READY = "ready"
    BAD = "bad"
    GONE = "gone"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image after its download.

    Attributes:
        state: READY (verified, in the spool), BAD (twice no image: quarantined), GONE (its URL is dead),
            LATER (the source does not answer now).
        damage: What is wrong with the picture, or could not be checked; None for a whole one.
        checked: Whether it was drawn, or its pixels counted.
        c2pa: What its C2PA manifest is worth; None where its format is not searched.
        c2pa_issuer: Who signed it.
        digital_source_type: What it says itself of its origin: a term of IPTC's.
        path: In the spool, where READY; an image that goes to the store from memory has no file there.
    """

    task: ImageTask
    state: FileState
    path: Path | None = None
    sha256: str = ""
    bytes: int = 0
    content_type: str = ""
    ext: str = ""
    width: int | None = None
    height: int | None = None
    damage: str | None = None
    checked: bool = True
    reason: str = ""
    c2pa: str | None = None
    c2pa_issuer: str | None = None
    digital_source_type: str | None = None

    @classmethod
    def ready(cls, task: ImageTask, fetched: Fetched) -> ImageFile:
        """The entry of an image that is decoded whole, here and now."""
        facts = inspect(fetched.source, max_pixels=most_pixels(task))
        found = examine(fetched.source)
        return cls(
            task,
            FileState.READY,
            path=fetched.path,
            sha256=fetched.sha256,
            bytes=fetched.size,
            content_type=facts.content_type,
            ext=facts.ext,
            width=facts.width,
            height=facts.height,
            damage=facts.damage,
            checked=facts.checked,
            c2pa=found.c2pa,
            c2pa_issuer=found.manifest.issuer,
            digital_source_type=found.source_type,
        )


def most_pixels(task: ImageTask) -> int:
    """The most pixels that are believed to be what was asked for."""
    asked = pixels_asked_for(task.model, json.loads(task.facts.get("parameters", "{}")))
    return MOST_PIXELS if asked is None else max(_LEAST, ROOM * asked)
