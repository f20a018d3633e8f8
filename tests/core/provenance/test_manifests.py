"""Manifests are read as c2pa-python reads them; whatever stands in one is no crash."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.provenance import C2pa, examine, load_trust
from prefect_imagen.core.provenance import manifest as manifests
from prefect_imagen.core.provenance.manifest import MIME
from prefect_imagen.sandbox.signing import Identity, make_identity, sign

from .conftest import PICTURES, encoded

PROVIDER = make_identity("Provider")
MIME_OF = {name: MIME[kind] for name in PICTURES for kind in MIME if name.startswith(kind)}
ONE_OF_EACH = ("png", "jpeg-exif", "webp", "webp-exif")


def signed(name: str, by: Identity = PROVIDER) -> bytes:
    return sign(PICTURES[name], MIME_OF[name], "google/imagen4", by)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_manifest_is_read(name: str) -> None:
    data = signed(name)
    found = examine(data, PROVIDER.root.decode())
    assert found.manifest.state is C2pa.VALID
    assert found.manifest.issuer == "Provider"
    assert (found.manifest.generator or "").startswith("prefect-imagen sandbox")
    assert found.manifest.actions == ("c2pa.created",)
    assert found.source_type == "trainedAlgorithmicMedia"
    assert found.manifest.problems == ()


@pytest.mark.parametrize("trust", [None, make_identity("Somebody").root.decode()])
def test_a_signer_that_is_not_trusted_is_named(trust: str | None) -> None:
    found = examine(signed("png"), trust).manifest
    assert (found.state, found.issuer, found.problems) == (C2pa.UNTRUSTED, "Provider", ("signingCredential.untrusted",))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_changed_picture_is_invalid(name: str) -> None:
    data = bytearray(signed(name))
    data[data.index(PICTURES[name][-120:-60])] ^= 1
    found = examine(bytes(data), PROVIDER.root.decode())
    assert (found.manifest.state, found.manifest.problems) == (C2pa.INVALID, ("assertion.dataHash.mismatch",))
    assert found.source_type is None


def test_saving_it_anew_removes_it() -> None:
    with Image.open(io.BytesIO(signed("png"))) as image:
        assert examine(encoded(image, "PNG")).manifest.state is C2pa.NONE


def test_without_the_library_a_manifest_is_present(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(manifests, "library", lambda: None)
    assert examine(signed("jpeg")).manifest.state is C2pa.PRESENT
    assert examine(PICTURES["jpeg"]).manifest.state is C2pa.NONE
    (tmp_path / "roots.pem").write_bytes(PROVIDER.root)
    with pytest.raises(BadInput, match=r"prefect-imagen\[c2pa\]"):
        load_trust(str(tmp_path / "roots.pem"))


def test_roots_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "roots.pem"
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load_trust(str(path))
    for content in (b"", b"\xff\xfe", PROVIDER.key, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="no PEM file of certificates"):
            load_trust(str(path))
    path.write_bytes(PROVIDER.root)
    assert load_trust(str(path)) == PROVIDER.root.decode()
    assert load_trust(None) is None


def with_store(store: bytes) -> bytes:
    png = PICTURES["png"]
    crc = struct.pack(">I", zlib.crc32(b"caBX" + store))
    return png[:33] + struct.pack(">I", len(store)) + b"caBX" + store + crc + png[33:]


def boxed(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def with_cbor(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A store whose boxes of CBOR are changed; the lengths of all boxes fit."""
    out, at = b"", 0
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        inner = content[at + 8 : at + length]
        inner = with_cbor(inner, change) if name == b"jumb" else change(inner) if name == b"cbor" else inner
        out, at = out + boxed(name, inner), at + length
    return out


DESCRIPTION = boxed(b"jumd", b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\0")


def nested(depth: int) -> bytes:
    size = 8 + len(DESCRIPTION)
    return b"".join(struct.pack(">I4s", size * n, b"jumb") + DESCRIPTION for n in range(depth, 0, -1))


@pytest.mark.parametrize(
    "store",
    [
        b"",
        b"x",
        bytes(1000),
        boxed(b"jumb", DESCRIPTION),
        struct.pack(">I4s", 2**32 - 1, b"jumb") + DESCRIPTION,
        nested(20_000),
        boxed(b"jumb", DESCRIPTION + bytes(20_000_000)),
    ],
    ids=["empty", "letter", "zeros", "no-manifest", "endless", "nested", "huge"],
)
def test_a_store_that_is_none_is_invalid(store: bytes) -> None:
    found = examine(with_store(store)).manifest
    assert found.state is (C2pa.INVALID if store else C2pa.NONE)
    assert bool(found.problems) is bool(store)


@pytest.mark.parametrize(
    "bomb",
    [b"\x81" * 1_000_000, b"\xa1" * 1_000_000, b"\x9f" * 1_000_000, b"\x9b\x7f" + b"\xff" * 7, b"\x5a\x7f\xff\xff\xff"],
    ids=["arrays", "maps", "endless-arrays", "long-array", "long-bytes"],
)
@pytest.mark.parametrize("place", range(4), ids=["actions", "hash", "claim", "signature"])
def test_a_bomb_of_cbor_is_invalid(bomb: bytes, place: int) -> None:
    data = signed("png")
    at = data.index(b"caBX")
    (length,) = struct.unpack_from(">I", data, at - 4)
    boxes = iter(range(100))
    store = with_cbor(data[at + 4 : at + 4 + length], lambda cbor: bomb if next(boxes) == place else cbor)
    assert examine(with_store(store)).manifest.state is C2pa.INVALID
