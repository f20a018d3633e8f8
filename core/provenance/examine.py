"""Everything that a picture says of itself, with the file beside it, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import UnreadableXmp
from .look import look
from .manifest import C2pa, Manifest, read_manifest
from .xmp import read, source_type


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a picture says of itself.

    Attributes:
        manifest: Of C2PA.
        said: Properties of the XMP in the file.
        problem: Why that XMP cannot be read; empty if it can.
        iptc: Whether the file has an IPTC-IIM record.
    """

    manifest: Manifest
    said: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    iptc: bool = False

    @property
    def source_type(self) -> str | None:
        """The digital source type that it says: a manifest that does not hold says nothing."""
        by_c2pa = None if self.manifest.state is C2pa.INVALID else self.manifest.source_type
        return by_c2pa or source_type(self.said)


def examine(data: bytes, trust: str | None = None) -> Provenance:
    """Find out what a picture says of itself. Never fails, whatever the bytes are.

    Args:
        data: The file.
        trust: PEM text of the roots under which C2PA signatures are trusted.
    """
    seen = look(data)
    said: Mapping[str, str] = {}
    problem = ""
    if seen.xmp is not None:
        try:
            said = read(seen.xmp)
        except UnreadableXmp as error:
            problem = str(error)
    return Provenance(read_manifest(data, seen, trust), said, problem, seen.iptc)
