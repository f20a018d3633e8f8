"""Everything that a picture says of itself, with the file beside it, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files import SpoolUnavailable
from .errors import UnreadableXmp
from .look import look
from .manifest import C2pa, Manifest, read_manifest, trusted_roots
from .xmp import read, source_type


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a picture says of itself.

    Attributes:
        manifest: Of C2PA.
        said: Properties of the XMP in the file.
        problem: Why that XMP cannot be read; empty if it can.
        iptc: Whether the file has an IPTC-IIM record.
        searched: Whether its format is one that is searched: PNG, JPEG, WebP.
    """

    manifest: Manifest
    said: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    iptc: bool = False
    searched: bool = True

    @property
    def c2pa(self) -> str | None:
        """What its manifest is worth; None where its format is not searched."""
        return self.manifest.state.value if self.searched else None

    @property
    def source_type(self) -> str | None:
        """The digital source type that it says: a manifest that does not hold says nothing."""
        by_c2pa = None if self.manifest.state is C2pa.INVALID else self.manifest.source_type
        return by_c2pa or source_type(self.said)


def examine(source: Path | bytes, trust: str | None = None) -> Provenance:
    """Find out what a picture says of itself, whatever its bytes are.

    Args:
        source: The file, or its bytes.
        trust: PEM text of the roots under which C2PA signatures are trusted; None for those of
            `PREFECT_IMAGEN_C2PA_TRUST`.

    Raises:
        SpoolUnavailable: The file cannot be read.
        BadInput: `PREFECT_IMAGEN_C2PA_TRUST` names no such certificates.
    """
    data = source if isinstance(source, bytes) else _read(source)
    seen = look(data)
    said: Mapping[str, str] = {}
    problem = ""
    if seen.xmp is not None:
        try:
            said = read(seen.xmp)
        except UnreadableXmp as error:
            problem = str(error)
    if seen.c2pa and trust is None:
        trust = trusted_roots()
    return Provenance(read_manifest(data, seen, trust), said, problem, seen.iptc, seen.kind is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpoolUnavailable(f"cannot read {path}: {error.strerror or error}") from error
