"""Above `core/providers` nothing knows a provider but as data: names stand in messages and in the blocks of users."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

from prefect_imagen.core.providers import load_registry

ROOT = Path(__file__).parents[1]
PARTS = ("core", "tasks", "flows", "blocks", "cli")
PROVIDERS = sorted({provider.name for provider in load_registry().providers})
NAMES = re.compile("|".join(name if len(name) > 3 else rf"(?<![a-z]){name}(?![a-z])" for name in PROVIDERS), re.I)
PUBLIC = {"AimlApiCredentials"}
"""Blocks that people have saved under these names."""
TEXTS = re.compile(r"\s")
"""A string with a blank in it is a sentence for people."""
BLOCKS = Path("blocks/credentials.py")
"""Says once which protocols its form offers, and how the block of the AI/ML API is called."""


def test_no_code_names_a_provider() -> None:
    found = []
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            place = path.relative_to(ROOT)
            if place.is_relative_to("core/providers") or place == BLOCKS:
                continue
            if not NAMES.search(
                path.read_text(encoding="utf-8")
            ):  # to read it word by word takes a hundred times as long
                continue
            with path.open("rb") as source:
                for token in tokenize.tokenize(source.readline):
                    named = token.type in (tokenize.NAME, tokenize.STRING) and NAMES.search(token.string)
                    if named and token.string.strip("\"'") not in PUBLIC and not TEXTS.search(token.string):
                        found.append(f"{place}:{token.start[0]}: {token.string}")
    assert [one for one in found if not one.startswith(KNOWN)] == []


KNOWN = ("cli/deploy.py", "cli/options.py", "cli/sandbox.py", "core/ledger/migrations.py")
"""Slugs of blocks in a file that is written, names of environment variables in a help, the sandbox's own addresses, and
whom ledgers were bought through before they could have several accounts."""
