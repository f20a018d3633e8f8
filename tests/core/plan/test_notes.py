"""What a plan says of prompts that look like a mistake: all of them are bought."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect_imagen.core.plan import BatchSpec, make_plan
from prefect_imagen.core.prompts import PromptSpec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("#REF!", "missing"),
        ("NaN", "missing"),
        ("[object Object]", "missing"),
        ("un thÃ© glacÃ©", "wrong encoding"),
        ("a â€œquietâ€\x9d street", "wrong encoding"),
        ("un caf\ufffd", "wrong encoding"),
        ("a tin lamp --ar 16:9 --v 6", "flags"),
        ("/imagine prompt: a tin lamp", "flags"),
        ("## lamps", "Markdown"),
        ("2. a tin lamp", "Markdown"),
        ("a tin lamp # not yet", "remark"),
        ("Negative prompt: blur", "another program's record"),
    ],
)
def test_a_note(text: str, says: str) -> None:
    plan = make_plan(BatchSpec(PromptSpec(["a felt hat", text, "a tin lamp"], variants=False)))
    (note,) = plan.notes
    assert says in note
    assert "<list>, line 2" in note
    assert plan.to_buy == 3 - plan.duplicates


@pytest.mark.parametrize(
    "text",
    [
        "C# and F#, 50% off", "#sale", "a well-known café — déjà vu", "Ñandú, Ünal, 東京, 🦊", "https://example.org/",
        "a -- b", "3 cats", "a sign: no entry", "steps: many", "none of them",
    ],
)  # fmt: skip
def test_no_note(text: str) -> None:
    notes = make_plan(BatchSpec(PromptSpec([text], variants=False))).notes
    assert not notes


def test_the_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,Caption\n1,a tin lamp\n")
    assert make_plan(BatchSpec(PromptSpec(path))).column == "Caption"
    assert make_plan(BatchSpec(PromptSpec(path, template="{{ id }} of {{ Caption }}"))).column == "Caption"
