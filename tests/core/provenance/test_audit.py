"""An audit tells each picture right, and what it cannot read does not keep it from the others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.provenance import C2pa, MarkMode, audit, check, mark
from prefect_imagen.core.provenance.audit import Audit, Checked
from prefect_imagen.core.values import from_spreadsheet
from prefect_imagen.sandbox.signing import make_identity, sign

from .conftest import PICTURES, encoded, facts_of

PROVIDER, STRANGER = make_identity("Provider"), make_identity("Stranger")
ROOTS = PROVIDER.root.decode()
PNG = PICTURES["png"]
SIGNED = sign(PNG, "image/png", "google/imagen4", PROVIDER)
FOREIGN = sign(PNG, "image/png", "other/model", STRANGER)
MARKED = mark(PNG, facts_of(PNG)).data
SYSTEM = "google/imagen4/preview at https://api.example.com"
SIDECAR = mark(SIGNED, facts_of(SIGNED)).sidecar or b""


def tampered(data: bytes) -> bytes:
    half = len(PNG) // 2
    at = data.index(PNG[half : half + 64])
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def saved_anew(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return encoded(image, "PNG")


def test_a_mark_of_ours_is_told_with_its_original() -> None:
    found = check(MARKED)
    assert (found.state, found.marked, found.by) == (
        "marked",
        "xmp",
        "google/imagen4/preview at https://api.example.com",
    )
    assert (found.source_type, found.verdict) == ("trainedAlgorithmicMedia", "rejected")
    assert (found.sha256, found.original_sha256) == (facts_of(MARKED).sha256, facts_of(PNG).sha256)
    assert (found.missing, found.problems) == ((), ())


def test_a_signed_one_is_told_with_its_signer_and_its_sidecar() -> None:
    found = check(SIGNED, sidecar=SIDECAR, trust=ROOTS)
    assert (found.state, found.marked, found.by, found.c2pa) == ("marked", "c2pa+sidecar", "Provider", C2pa.VALID)
    assert found.original_sha256 == facts_of(SIGNED).sha256
    assert found.missing == ()
    alone = check(SIGNED)
    assert (alone.state, alone.marked, alone.c2pa) == ("marked", "c2pa", C2pa.UNTRUSTED)


@pytest.mark.parametrize(
    ("data", "sidecar", "state", "what"),
    [
        (PNG, None, "unmarked", ""),
        (saved_anew(SIGNED), None, "unmarked", ""),
        (tampered(SIGNED), None, "broken", "C2PA does not hold: assertion.dataHash.mismatch"),
        (tampered(MARKED), None, "broken", "changed since it was marked"),
        (saved_anew(SIGNED), SIDECAR, "broken", "belongs to another file"),
        (PNG, b"<x", "broken", "sidecar: the XMP cannot be read"),
        (SIGNED[:-40], SIDECAR, "broken", "C2PA does not hold"),
        (b"", None, "broken", "empty file"),
    ],
)
def test_what_is_unmarked_or_broken(data: bytes, sidecar: bytes | None, state: str, what: str) -> None:
    found = check(data, sidecar=sidecar, trust=ROOTS)
    assert (found.state, found.sound) == (state, False)
    assert what in "; ".join(found.problems)
    assert "digital source type" in found.missing or state == "broken"


@pytest.fixture
def thousand(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A thousand pictures of mixed kinds, and what has to be said of each."""
    kinds: dict[str, tuple[bytes, bytes | None, str]] = {
        "provider": (SIGNED, None, "marked c2pa valid Provider"),
        "delivered": (SIGNED, SIDECAR, "marked c2pa+sidecar valid Provider"),
        "foreign": (FOREIGN, None, "marked c2pa untrusted Stranger"),
        "xmp": (MARKED, None, f"marked xmp none {SYSTEM}"),
        "jpeg": (mark(PICTURES["jpeg"], facts_of(PICTURES["jpeg"])).data, None, f"marked xmp none {SYSTEM}"),
        "unsigned": (PNG, None, "unmarked  none -"),
        "stripped": (saved_anew(SIGNED), None, "unmarked  none -"),
        "tampered": (tampered(SIGNED), None, "broken  invalid -"),
        "altered": (tampered(MARKED), None, f"broken xmp none {SYSTEM}"),
        "swapped": (PNG, SIDECAR, "broken  none -"),
    }
    expected = {}
    for number in range(1000):
        kind = list(kinds)[number % len(kinds)]
        data, sidecar, said = kinds[kind]
        name = f"{kind}-{number:04}.{'jpg' if kind == 'jpeg' else 'png'}"
        (tmp_path / name).write_bytes(data)
        if sidecar is not None:
            (tmp_path / f"{name}.xmp").write_bytes(sidecar)
        expected[name] = said
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path, expected


@pytest.mark.slow
def test_a_thousand_pictures_of_mixed_kinds_are_each_told_right(thousand: tuple[Path, dict[str, str]]) -> None:
    folder, expected = thousand
    done = audit([str(folder)], trust=ROOTS)
    said = {
        picture.uri.rpartition("/")[2]: f"{picture.state} {picture.marked} {picture.c2pa} {picture.by or '-'}"
        for picture in done.pictures
    }
    assert said == expected
    assert done.counts == {"marked": 500, "unmarked": 200, "broken": 300}
    assert done.ways == {"c2pa": 200, "c2pa+sidecar": 100, "xmp": 200}
    assert (done.sound, done.others) == (False, 1)
    assert json.loads(json.dumps(done.as_dict()))["counts"]["broken"] == 300
    rows = list(csv.DictReader(io.StringIO(done.as_csv())))
    assert [row["state"] for row in rows] == [picture.state for picture in done.pictures]


def test_one_that_cannot_be_read_keeps_nobody_else_from_being_checked(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(MARKED)
    (tmp_path / "b.png").symlink_to(tmp_path / "gone")
    (tmp_path / "c.png").write_bytes(MARKED)
    (tmp_path / "c.png.xmp").write_bytes(b"\xff" * 40)
    states = [picture.state for picture in audit([str(tmp_path / name) for name in ("a.png", "c.png")]).pictures]
    assert states == ["marked", "broken"]


def test_no_spreadsheet_runs_what_pictures_and_their_names_say() -> None:
    said = Checked("=1+1/a.png", by="@SUM(A1)", missing=("a mark", "=HYPERLINK(1)"))
    text = Audit((said,)).as_csv()
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["uri"], row["by"], row["missing"]) == ("'=1+1/a.png", "'@SUM(A1)", "a mark; '=HYPERLINK(1)")
    assert from_spreadsheet(row["missing"]) == "a mark; =HYPERLINK(1)"


@pytest.mark.parametrize("where", ["nowhere", "nowhere/cat.png", "s3:/bucket"])
def test_a_place_that_is_not_there_is_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such"):
        audit([str(tmp_path / where)])


def test_a_place_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BadInput, match="no pictures there"):
        audit([str(tmp_path)])


def test_what_other_tools_wrote_is_told(exiftool: Callable[[bytes], object]) -> None:
    photo = mark(PNG, facts_of(PNG, source_type="digitalCapture")).data
    found = check(photo)
    assert (found.state, found.source_type, found.missing) == ("unmarked", "digitalCapture", ("digital source type",))
    assert mark(SIGNED, facts_of(SIGNED)).how is MarkMode.SIDECAR
