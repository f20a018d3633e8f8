"""A mark is read by tools that are not ours, and taken out again it leaves the original."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageSequence
from prefect_imagen.core.images import inspect
from prefect_imagen.core.provenance import MarkMode, MarkRefused, look, mark, packet, source_type_of, unsplice
from prefect_imagen.core.provenance.splice import splice
from prefect_imagen.core.provenance.xmp import read

from .conftest import PICTURES, encoded, facts_of

Exiftool = Callable[[bytes], dict[str, Any]]
FOREIGN_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def pixels(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return [frame.convert("RGBA").tobytes() for frame in ImageSequence.Iterator(image)]


def test_only_the_mark_is_added(picture: bytes) -> None:
    marked = mark(picture, facts_of(picture))
    assert (marked.how, marked.sidecar) == (MarkMode.XMP, None)
    assert unsplice(marked.data) == picture
    assert pixels(marked.data) == pixels(picture)
    assert inspect(marked.data) == inspect(picture)
    assert look(marked.data).xmp == packet(facts_of(picture))


def test_exiftool_reads_each_mark(picture: bytes, exiftool: Exiftool) -> None:
    said = exiftool(mark(picture, facts_of(picture)).data)
    assert said["XMP-iptcExt:DigitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")
    assert said["XMP-iptcExt:AISystemUsed"] == "google/imagen4/preview at https://api.example.com"
    assert said["XMP-iptcExt:AISystemVersionUsed"] == "imagen-4.0-generate"
    assert said["XMP-iptcExt:AIPromptInformation"] == "a fox & a <hare>\ufffd, 狐"
    assert said["XMP-iptcExt:DigitalImageGUID"] == "pi-00-0"
    assert said["XMP-dc:Identifier"] == "ab" * 32
    assert said["XMP-photoshop:Credit"] == "Studio Nord"
    assert said["XMP-xmp:CreateDate"] == "2026:11:26 02:30:00+00:00"
    assert said["XMP-xmp:CreatorTool"].startswith("prefect-imagen ")
    assert said["XMP-xmp:Rating"] == -1
    assert said["XMP-xmpMM:OriginalDocumentID"] == f"urn:sha256:{facts_of(picture).sha256}"


@pytest.mark.parametrize("name", ["png", "jpeg-exif", "webp-exif"])
def test_exiftool_finds_no_more_to_complain_of_than_in_the_original(name: str, exiftool: Exiftool) -> None:
    before, after = exiftool(PICTURES[name]), exiftool(mark(PICTURES[name], facts_of(PICTURES[name])).data)
    assert after["ExifTool:Validate"] == before["ExifTool:Validate"]


def test_a_sidecar_says_the_same_and_leaves_the_picture(picture: bytes, exiftool: Exiftool) -> None:
    marked = mark(picture, facts_of(picture), MarkMode.SIDECAR)
    assert marked.data is picture
    assert marked.sidecar == packet(facts_of(picture))
    said = exiftool(marked.sidecar)
    assert said["XMP-iptcExt:AISystemVersionUsed"] == "imagen-4.0-generate"
    assert said["XMP-xmp:Rating"] == -1


def test_the_prompt_and_what_is_unknown_are_left_out() -> None:
    said = read(packet(facts_of(b"", prompt=None, rating=None, credit=None, origin=None)))
    assert {"Iptc4xmpExt:AIPromptInformation", "xmp:Rating", "photoshop:Credit"}.isdisjoint(said)
    assert said["Iptc4xmpExt:AISystemUsed"] == "google/imagen4/preview"


def test_the_same_facts_give_the_same_bytes(picture: bytes) -> None:
    assert mark(picture, facts_of(picture)) == mark(picture, facts_of(picture))


@pytest.mark.parametrize(
    ("parameters", "term"),
    [
        ({"image_size": "1024x1024", "seed": 4, "num_images": 2}, "trainedAlgorithmicMedia"),
        ({"image_url": "https://example.com/cat.png"}, "compositeWithTrainedAlgorithmicMedia"),
        ({"image_urls": ["https://example.com/cat.png"]}, "compositeWithTrainedAlgorithmicMedia"),
        ({"image": "data:image/png;base64,AAAA", "mask": "…"}, "compositeWithTrainedAlgorithmicMedia"),
        ({"image_urls": []}, "trainedAlgorithmicMedia"),
    ],
)
def test_a_picture_that_went_in_makes_a_composite(parameters: dict[str, Any], term: str) -> None:
    assert source_type_of(parameters) == term


def _with_chunk(name: bytes, content: bytes) -> bytes:
    png = PICTURES["png"]
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return png[:33] + chunk + png[33:]


SIGNED = _with_chunk(b"caBX", b"somebody's manifest")


def test_a_signed_picture_is_not_touched() -> None:
    marked = mark(SIGNED, facts_of(SIGNED))
    assert (marked.how, marked.data) == (MarkMode.SIDECAR, SIGNED)
    with pytest.raises(MarkRefused, match=r"signed \(C2PA\).*use a sidecar"):
        mark(SIGNED, facts_of(SIGNED), MarkMode.XMP)


@pytest.mark.parametrize(
    "data",
    [
        splice(PICTURES["png"], FOREIGN_XMP),
        splice(PICTURES["jpeg"], FOREIGN_XMP),
        encoded(Image.new("RGB", (9, 9)), "WEBP", xmp=FOREIGN_XMP),
    ],
    ids=["png", "jpeg", "webp"],
)
def test_xmp_of_somebody_else_is_not_touched(data: bytes) -> None:
    assert look(data).xmp == FOREIGN_XMP
    assert unsplice(data) is None
    marked = mark(data, facts_of(data))
    assert (marked.how, marked.data) == (MarkMode.SIDECAR, data)
    with pytest.raises(MarkRefused, match="XMP of its own"):
        mark(data, facts_of(data), MarkMode.XMP)


def test_what_does_not_fit_into_a_jpeg_goes_beside_it() -> None:
    data = PICTURES["jpeg"]
    long = facts_of(data, prompt="fox " * 20_000)
    marked = mark(data, long)
    assert (marked.how, marked.data) == (MarkMode.SIDECAR, data)
    with pytest.raises(MarkRefused, match="do not fit into a JPEG"):
        mark(data, long, MarkMode.XMP)
    for name in ("png", "webp"):
        assert mark(PICTURES[name], facts_of(PICTURES[name], prompt="fox " * 20_000)).how is MarkMode.XMP


def test_another_format_is_marked_beside_it() -> None:
    gif = encoded(Image.new("P", (9, 9)), "GIF")
    marked = mark(gif, facts_of(gif))
    assert (marked.how, marked.data, marked.sidecar) == (MarkMode.SIDECAR, gif, packet(facts_of(gif)))
    with pytest.raises(MarkRefused, match="no PNG, JPEG or WebP"):
        mark(gif, facts_of(gif), MarkMode.XMP)


def test_a_changed_copy_has_no_original(picture: bytes) -> None:
    half = len(picture) // 2
    marked = bytearray(mark(picture, facts_of(picture)).data)
    marked[marked.index(picture[half : half + 64]) + 40] ^= 1
    assert unsplice(bytes(marked)) is None
