"""Marking a copy of a picture. The original, which the store holds as the provider sent it, is never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..request import MarkMode
from .errors import MarkRefused
from .look import look
from .sign import PictureSigner
from .splice import splice, unsplice
from .xmp import Facts, facts_of_row, packet

SIDECAR_TYPE = "application/rdf+xml"
SIDECAR = ".xmp"
"""Ends the name of a sidecar, behind the picture's own: `cat.png.xmp`."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A picture with its mark.

    Attributes:
        data: The file to deliver.
        sidecar: What belongs into a file beside it, named as the picture and `.xmp`; None for no such file.
        how: The mark that it has now.
    """

    data: bytes
    sidecar: bytes | None
    how: MarkMode


@dataclass(frozen=True, slots=True)
class Marking:
    """How the pictures of a delivery are marked.

    Attributes:
        mode: Where the mark goes.
        prompt: Whether it has the prompt.
        credit: The credit line that is wanted.
        signer: Signs, where the mode is C2PA.
    """

    mode: MarkMode = MarkMode.NONE
    prompt: bool = False
    credit: str | None = None
    signer: PictureSigner | None = None

    def of(self, data: bytes, row: Mapping[str, Any]) -> Marked:
        """Mark a copy of an image by its row in the view `catalog`.

        Raises:
            MarkRefused: It cannot be marked so.
        """
        return mark(data, facts_of_row(row, credit=self.credit, prompt=self.prompt), self.mode, self.signer)


def mark(data: bytes, facts: Facts, mode: MarkMode = MarkMode.AUTO, signer: PictureSigner | None = None) -> Marked:
    """Mark a copy of a picture.

    Args:
        data: The original's bytes.
        facts: What the mark says.
        mode: How.
        signer: Signs, where the mode is C2PA.

    Raises:
        MarkRefused: It cannot be marked so; nothing unmarked is returned in its place.

    Example:
        >>> import hashlib, io
        >>> from datetime import UTC, datetime
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (8, 8)).save(file, "PNG")
        >>> original = file.getvalue()
        >>> sha256 = hashlib.sha256(original).hexdigest()
        >>> facts = Facts("pi-1-0", "a1", sha256, "google/imagen4", "google/imagen4", None, datetime.now(UTC))
        >>> marked = mark(original, facts)
        >>> marked.how, marked.sidecar, unsplice(marked.data) == original
        (<MarkMode.XMP: 'xmp'>, None, True)
    """
    if mode is MarkMode.NONE:
        return Marked(data, None, mode)
    said = packet(facts)
    if mode is MarkMode.C2PA:
        if signer is None:
            raise MarkRefused("signing needs a certificate and its key")
        seen = look(data)
        prepared = data if seen.c2pa or seen.xmp is not None or seen.kind is None else splice(data, said)
        return Marked(signer.sign(data, prepared, facts), None, mode)
    if mode is MarkMode.SIDECAR:
        return Marked(data, said, mode)
    try:
        marked = splice(data, said)
    except MarkRefused:
        if mode is MarkMode.AUTO:
            return Marked(data, said, MarkMode.SIDECAR)
        raise
    if unsplice(marked) != data:
        raise MarkRefused("the mark could not be taken out again without a trace, so it was not put in: use a sidecar")
    return Marked(marked, None, MarkMode.XMP)
