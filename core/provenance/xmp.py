"""XMP: the text that says what a picture is, written and read.

Names of properties: IPTC Photo Metadata Standard 2025.1 (IPTC Extension 1.9, November 2025), XMP part 1 and 2.
Values of `DigitalSourceType`: IPTC NewsCodes, https://cv.iptc.org/newscodes/digitalsourcetype/.
"""

from __future__ import annotations

import functools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from xml.sax.saxutils import escape

from .errors import UnreadableXmp
from .look import LARGEST_PACKET

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
AI_MADE = frozenset({GENERATED, COMPOSITE, "compositeSynthetic"})
"""Terms of IPTC's digital source types that say: an AI made this, or a part of it."""

_HASH = "urn:sha256:"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
}
_PREFIXES = {uri: prefix for prefix, uri in _NAMESPACES.items()}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Parameters of models that name a picture which goes in.
_PICTURES_IN = re.compile(r"((input|init|control|reference|source)_)?(image|mask)s?(_urls?)?")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a mark says of a picture.

    Attributes:
        image_id: Unique for the picture: call and place in its reply.
        item_id: Of the purchase: model, prompt and parameters.
        sha256: Of the original as the provider sent it.
        model: The AI system.
        version: The exact name by which its API was asked for it.
        origin: Address of that API, the provider's.
        made_at: When it was asked for.
        source_type: A term of IPTC's digital source types.
        rating: -1 for a rejected picture, 0 to 5; None where nobody has said anything.
        credit: The credit line that is wanted.
        prompt: Where it is to be in the mark.
    """

    image_id: str
    item_id: str
    sha256: str
    model: str
    version: str
    origin: str | None
    made_at: datetime
    source_type: str = GENERATED
    rating: int | None = None
    credit: str | None = None
    prompt: str | None = None


def source_type_of(parameters: Mapping[str, Any]) -> str:
    """The digital source type of what a model made with these parameters: a picture that went in makes a composite.

    Example:
        >>> source_type_of({"aspect_ratio": "1:1"}), source_type_of({"image_urls": ["https://example.com/cat.png"]})
        ('trainedAlgorithmicMedia', 'compositeWithTrainedAlgorithmicMedia')
    """
    return COMPOSITE if any(value and _PICTURES_IN.fullmatch(name) for name, value in parameters.items()) else GENERATED


def facts_of_row(row: Mapping[str, Any], *, credit: str | None = None, prompt: bool = False) -> Facts:
    """What a mark says of an image, by its row in the view `catalog`.

    Args:
        row: With the columns that are used here, as either database has them.
        credit: The credit line that is wanted.
        prompt: Whether the prompt is to be in the mark.
    """
    made_at = row["requested_at"]
    if not isinstance(made_at, datetime):
        made_at = datetime.fromisoformat(made_at)
    parameters = row["parameters"]
    rejected = row.get("verdict") == "rejected"
    return Facts(
        image_id=row["image_id"],
        item_id=row["item_id"],
        sha256=row["sha256"],
        model=row["model"],
        version=row["wire_model"],
        origin=row["api_origin"],
        made_at=made_at if made_at.tzinfo is not None else made_at.replace(tzinfo=UTC),
        source_type=source_type_of(json.loads(parameters) if isinstance(parameters, str) else parameters),
        rating=-1 if rejected else row.get("stars") or None,
        credit=credit,
        prompt=row["prompt"] if prompt else None,
    )


def properties(facts: Facts) -> dict[str, str]:
    """The properties of a mark, by their names with the usual prefixes."""
    found = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + facts.source_type,
        "Iptc4xmpExt:AISystemUsed": f"{facts.model} at {facts.origin}" if facts.origin else facts.model,
        "Iptc4xmpExt:AISystemVersionUsed": facts.version,
        "Iptc4xmpExt:AIPromptInformation": facts.prompt,
        "Iptc4xmpExt:DigImageGUID": facts.image_id,
        "dc:identifier": facts.item_id,
        "photoshop:Credit": facts.credit,
        "xmp:CreateDate": facts.made_at.astimezone(UTC).isoformat(timespec="seconds"),
        "xmp:CreatorTool": _creator_tool(),
        "xmp:Rating": None if facts.rating is None else str(facts.rating),
        "xmpMM:OriginalDocumentID": _HASH + facts.sha256,
    }
    return {name: _NOT_IN_XML.sub("\ufffd", value) for name, value in found.items() if value}


@functools.cache
def _creator_tool() -> str:
    return f"prefect-imagen {version('prefect-imagen')}"


def packet(facts: Facts) -> bytes:
    """The XMP packet of a mark. The same facts give the same bytes."""
    said = properties(facts)
    used = {name.partition(":")[0] for name in said}
    names = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items() if prefix in used)
    lines = "".join(f"\n   <{name}>{escape(value)}</{name}>" for name, value in said.items())
    text = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF}">\n  <rdf:Description rdf:about=""{names}>{lines}\n  </rdf:Description>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="r"?>'
    )
    return text.encode()


class _Builder(ET.TreeBuilder):
    """Refuses a document type: XMP has none, and without one there are no entities to blow up or to fetch."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise UnreadableXmp("the XMP declares a document type")


def read(packet: bytes) -> dict[str, str]:
    """The simple properties of an XMP packet in the namespaces of a mark; of a list, the first value.

    Raises:
        UnreadableXmp: It is no XMP.

    Example:
        >>> read(b'<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')
        {}
    """
    if len(packet) > LARGEST_PACKET:
        raise UnreadableXmp(f"the XMP is longer than {LARGEST_PACKET:,} bytes")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314
    try:
        parser.feed(packet.strip(b"\0 \t\r\n"))
        root = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UnreadableXmp(f"the XMP cannot be read: {error}") from None
    found: dict[str, str] = {}
    within = "" if root.tag == f"{{{_RDF}}}RDF" else f"{{{_RDF}}}RDF/"
    for description in root.iterfind(f"{within}{{{_RDF}}}Description"):
        for name, value in description.attrib.items():
            _note(found, name, value)
        for element in description:
            first = element.find(f"*/{{{_RDF}}}li")
            resource = element.get(f"{{{_RDF}}}resource")
            _note(found, element.tag, resource or (element if first is None else first).text or "")
    return found


def _note(found: dict[str, str], name: str, value: str) -> None:
    uri, _, local = name.removeprefix("{").partition("}")
    if (prefix := _PREFIXES.get(uri)) is not None and value.strip():
        found.setdefault(f"{prefix}:{local}", value.strip())


def source_type(said: Mapping[str, str]) -> str | None:
    """The digital source type in the properties of a picture: IPTC's term, or the address of another's."""
    value = said.get("Iptc4xmpExt:DigitalSourceType", "")
    # Both schemes are in use; IPTC's own is http.
    return value.replace("https:", "http:", 1).removeprefix(SOURCE_TYPES) or None


def original_sha256(said: Mapping[str, str]) -> str | None:
    """The hash of the original, as a mark of this package says it."""
    value = said.get("xmpMM:OriginalDocumentID", "")
    return value.removeprefix(_HASH) if value.startswith(_HASH) else None
