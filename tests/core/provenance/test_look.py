"""What files carry is found where the formats put it, in any state of damage, and within bounds."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.provenance import UnreadableXmp, look
from prefect_imagen.core.provenance.look import LARGEST_PACKET, PNG_XMP
from prefect_imagen.core.provenance.splice import splice, unsplice
from prefect_imagen.core.provenance.xmp import read, source_type

from .conftest import PICTURES

PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
STORE = struct.pack(">I4sI", 200, b"jumb", 25) + b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71" + bytes(40)


def chunked(name: bytes, content: bytes, *, at: int = 33) -> bytes:
    png = PICTURES["png"]
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return png[:at] + chunk + png[at:]


def segmented(*segments: tuple[int, bytes]) -> bytes:
    jpeg = PICTURES["jpeg"]
    return jpeg[:2] + b"".join(struct.pack(">BBH", 0xFF, m, len(c) + 2) + c for m, c in segments) + jpeg[2:]


def app11(content: bytes, number: int = 1) -> tuple[int, bytes]:
    return 0xEB, b"JP\0\1" + struct.pack(">I", number) + content


def riffed(name: bytes, content: bytes) -> bytes:
    webp = PICTURES["webp"]
    body = webp[8:] + name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_nothing_is_found_where_nothing_is(picture: bytes) -> None:
    seen = look(picture)
    assert seen.kind in ("png", "jpeg", "webp")
    assert (seen.c2pa, seen.xmp, seen.iptc) == (False, None, False)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (chunked(b"caBX", STORE), len(STORE)),
        (chunked(b"caBX", STORE, at=len(PICTURES["png"]) - 12), len(STORE)),
        (riffed(b"C2PA", STORE), len(STORE)),
        (segmented(app11(STORE)), len(STORE)),
        (segmented(app11(STORE), app11(STORE[:8] + bytes(50), 2)), len(STORE) + 50),
    ],
    ids=["png", "png-end", "webp", "jpeg", "jpeg-two"],
)
def test_a_manifest_store_is_found(data: bytes, size: int) -> None:
    assert look(data).c2pa
    assert look(data).c2pa_bytes == size


@pytest.mark.parametrize(
    "segment",
    [
        app11(STORE.replace(b"jumdc2pa", b"jumdjson")),  # JUMBF of another kind
        app11(bytes(50), 2),
        (0xEB, b"HDR_RI ver=11"),
        (0xE2, STORE),
    ],
)
def test_other_segments_are_no_manifest(segment: tuple[int, bytes]) -> None:
    assert not look(segmented(segment)).c2pa


@pytest.mark.parametrize(
    "data",
    [
        splice(PICTURES["png"], PACKET),
        chunked(b"iTXt", PNG_XMP + b"\1\0\0\0" + zlib.compress(PACKET)),
        chunked(b"iTXt", PNG_XMP + b"\0\0en\0XMP\0" + PACKET, at=len(PICTURES["png"]) - 12),
        splice(PICTURES["jpeg"], PACKET),
        splice(PICTURES["webp"], PACKET),
        riffed(b"XMP ", PACKET),
    ],
)
def test_xmp_is_found(data: bytes) -> None:
    assert look(data).xmp == PACKET


def test_iptc_iim_is_found() -> None:
    assert look(segmented((0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x04\x1c\x02\x00\x00"))).iptc
    assert not look(segmented((0xED, b"Photoshop 3.0\x008BIM\x04\x25\0\0\0\0\0\0"))).iptc
    assert look(chunked(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"iptc"))).iptc


def test_a_bomb_of_text_is_not_blown_up() -> None:
    bomb = chunked(b"iTXt", PNG_XMP + b"\1\0\0\0" + zlib.compress(b" " * (LARGEST_PACKET * 200), 9))
    assert look(bomb).xmp is None
    assert look(chunked(b"iTXt", PNG_XMP + b"\0\0\0\0" + b" " * LARGEST_PACKET)).xmp is None


def test_a_walk_over_empty_chunks_ends() -> None:
    assert look(PICTURES["png"][:33] + (b"\0\0\0\0aaAa\0\0\0\0" * 500_000) + STORE) == look(PICTURES["png"][:33])


@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_damage_is_no_exception(name: str, draw: st.DataObject) -> None:
    data = bytearray(splice(PICTURES[name], PACKET))
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[at] = draw.draw(st.integers(0, 255))
    cut = bytes(data[: draw.draw(st.integers(0, len(data)))])
    look(cut)
    unsplice(cut)


ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b"", "cannot be read"),
        (b"<x>", "cannot be read"),
        (b"\x00\xff\xfe", "cannot be read"),
        (b'<?xml version="1.0" encoding="nonsense"?><x/>', "cannot be read"),
        (ENTITIES, "document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document type"),
        (b"<x>" * (LARGEST_PACKET // 2), "longer than"),
    ],
)
def test_what_is_no_xmp_is_refused(packet: bytes, message: str) -> None:
    with pytest.raises(UnreadableXmp, match=message):
        read(packet)


def test_deep_nesting_is_read_without_a_crash() -> None:
    assert read(b"<x>" * 100_000 + b"</x>" * 100_000) == {}


RDF = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<r:Description xmlns:q="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" %s>%s</r:Description></r:RDF></x:xmpmeta>'
)
TERM = b"https://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"


@pytest.mark.parametrize(
    ("attributes", "elements"),
    [
        (b'q:DigitalSourceType="' + TERM + b'"', b""),
        (b"", b"<q:DigitalSourceType> " + TERM + b"</q:DigitalSourceType>"),
        (b"", b'<q:DigitalSourceType r:resource="' + TERM + b'"/>'),
        (b"", b"<q:DigitalSourceType><r:Bag><r:li>" + TERM + b"</r:li></r:Bag></q:DigitalSourceType>"),
    ],
)
def test_each_form_of_a_property_is_read(attributes: bytes, elements: bytes) -> None:
    assert source_type(read(RDF % (attributes, elements))) == "compositeSynthetic"
