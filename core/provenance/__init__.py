"""What a picture says of its origin: found, written, checked."""

from ..request import MarkMode
from .audit import Audit, Checked, UnsoundAudit, audit, check
from .errors import MarkRefused, SigningNotPossible, UnreadableXmp
from .examine import Provenance, examine
from .look import Look, look
from .manifest import C2pa, Manifest, load_trust, trusted_roots
from .mark import SIDECAR, SIDECAR_TYPE, Marked, Marking, mark
from .sign import PictureSigner
from .splice import splice, unsplice
from .xmp import Facts, facts_of_row, packet, source_type_of

__all__ = [
    "SIDECAR",
    "SIDECAR_TYPE",
    "Audit",
    "C2pa",
    "Checked",
    "Facts",
    "Look",
    "Manifest",
    "MarkMode",
    "MarkRefused",
    "Marked",
    "Marking",
    "PictureSigner",
    "Provenance",
    "SigningNotPossible",
    "UnreadableXmp",
    "UnsoundAudit",
    "audit",
    "check",
    "examine",
    "facts_of_row",
    "load_trust",
    "look",
    "mark",
    "packet",
    "source_type_of",
    "splice",
    "trusted_roots",
    "unsplice",
]
