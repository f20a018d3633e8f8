"""Files of verdicts: written, taken in once, and refused where they are about something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Verdict
from prefect_imagen.core.review.verdict_files import apply_verdicts, as_line, verdict_lines

from .test_verdicts import NO, YES, bought, row


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def test_a_file_is_what_was_said_and_is_taken_in_once(harness: Any, tmp_path: Path) -> None:
    one, other = bought(harness, 2)
    harness.ledger.verdicts.record([Verdict(one, "ann", YES, note="Größe, 大きさ"), Verdict(other, "ben", NO, stars=2)])
    said = list(verdict_lines(harness.ledger, harness.ledger.verdicts.all()))
    assert [json.loads(line)["reviewer"] for line in said] == ["ann", "ben"]
    again = apply_verdicts(harness.ledger, write(tmp_path / "same.jsonl", *said))
    assert (again.lines, again.added, again.known, again.complete) == (2, 0, 2, True)
    later = {
        **json.loads(said[0]),
        "id": "another",
        "verdict": "rejected",
        "reason": "late",
        "at": "2999-01-01T00:00:00Z",
    }
    earlier = {**json.loads(said[0]), "id": "earlier", "verdict": "rejected", "at": "2001-01-01T00:00:00+02:00"}
    done = apply_verdicts(harness.ledger, write(tmp_path / "new.jsonl", "", earlier, later))
    assert (done.lines, done.added) == (2, 2)
    assert (row(harness, one)["verdict"], row(harness, one)["review_reason"]) == ("rejected", "late")
    assert len(list(harness.ledger.verdicts.all())) == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ledger": "another"}, r"verdicts.jsonl:2: .*images of another ledger \(another\)"),
        ({"verdict": "maybe"}, "verdicts.jsonl:2: not a verdict: verdict"),
        ({"stars": 9}, "verdicts.jsonl:2: stars of .*9 is not allowed"),
        ({"reviewer": ""}, "verdicts.jsonl:2: .*name of its reviewer"),
        ({"sha256": None}, "verdicts.jsonl:2: not a verdict: sha256"),
        ({"at": "2026-01-01T00:00:00"}, "verdicts.jsonl:2: not a verdict: at"),
        ({"image_id": "fox"}, "verdicts.jsonl:2: 'fox' is no id of an image"),
        ({"verdict": None}, "verdicts.jsonl:2: nothing is said"),
        ("{", "verdicts.jsonl:2: not a verdict"),
        ("[]", "verdicts.jsonl:2: not a verdict"),
    ],
)
def test_a_file_that_is_wrong_is_refused_whole(harness: Any, tmp_path: Path, changes: Any, named: str) -> None:
    (image,) = bought(harness, 1)
    sha256 = harness.image(image.rpartition("-")[0]).sha256
    right = as_line(Verdict(image, "ann", YES, sha256=sha256), harness.ledger.id)
    wrong = changes if isinstance(changes, str) else {**right, "id": "b", **changes}
    path = write(tmp_path / "verdicts.jsonl", right, wrong)
    with pytest.raises(BadInput, match=named):
        apply_verdicts(harness.ledger, path)
    assert row(harness, image)["verdict"] == "none"


def test_changed_and_unknown_images_are_named(harness: Any, tmp_path: Path) -> None:
    one, other = bought(harness, 2)
    sha256 = harness.image(one.rpartition("-")[0]).sha256
    lines = [
        as_line(Verdict(image, "ann", YES, sha256=digest), harness.ledger.id)
        for image, digest in ((one, sha256), (other, "0" * 64), ("pi-gone-0", sha256))
    ]
    done = apply_verdicts(harness.ledger, write(tmp_path / "verdicts.jsonl", *lines))
    assert (done.added, done.unknown, done.changed, done.complete) == (1, ("pi-gone-0",), (other,), False)
    assert (row(harness, one)["verdict"], row(harness, other)["verdict"]) == ("approved", "none")


def test_a_file_that_is_not_there(harness: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        apply_verdicts(harness.ledger, tmp_path / "gone.jsonl")
    (tmp_path / "picture.jsonl").write_bytes(b"\x89PNG\xff")
    with pytest.raises(BadInput, match="not UTF-8"):
        apply_verdicts(harness.ledger, tmp_path / "picture.jsonl")
