"""After `erase`, Prefect's database has no prompt and no picture of the run, in whatever table."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from prefect_imagen.core.erase import erase
from prefect_imagen.core.ledger import Selection
from prefect_imagen.core.markdown import cell
from prefect_imagen.flows.erasure import delete_traces

from ..asking import ask
from ..waiting import until_steady
from .conftest import FlowHarness

CANARY = "moby-canary"


def prefects_rows() -> Iterator[tuple[str, str]]:
    """Every value of Prefect's database that shows a prompt or a picture, with where it is."""
    path = Path(os.environ["PREFECT_HOME"]).parent / "server" / "prefect.db"
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    if CANARY in text or ";base64," in text:
                        yield table, text


def events(api: str) -> int:
    return int(ask(f"{api}/events/filter", {"limit": 1})["total"])


def test_no_prompt_and_no_picture_is_left(harness: FlowHarness, prefect_api: str) -> None:
    harness.sandbox.set_faults([{"fault": "safety_block", "every": 3}])
    before = set(prefects_rows())
    state = harness.state(
        [f"{CANARY} swims", f"{CANARY} dives", f"{CANARY} sleeps"],
        template=f"{CANARY} by the sea: {{{{ prompt }}}}",
        tag={"client": "acme"},
    )
    assert harness.report(state).states["refused"] == 1
    harness.run([f"{CANARY} alone"], tag={"client": "acme"})
    shown = {table for table, _ in set(prefects_rows()) - before}
    assert {"artifact", "flow_run"} <= shown
    access = {
        "endpoint_url": harness.s3.endpoint_url,
        "addressing_style": "path",
        "access_key_id": harness.s3.access_key,
        "secret_access_key": harness.s3.secret_key,
    }
    done = erase(harness.ledger, Selection(tags={"client": "acme"}), store_options=access)
    assert done.items == 4
    assert delete_traces(done.flow_runs) >= 5
    until_steady(lambda: events(prefect_api), "all events have arrived")
    assert set(prefects_rows()) - before == set()


def test_cells_are_text() -> None:
    assert cell("![x](http://evil)") == r"\!\[x\](http\://evil)"
    assert cell("# big") == r"\# big"
    assert cell("1. one") == r"1\. one"
    assert cell("- one") == r"\- one"
    assert cell("www.evil.example a@b.example &lt; ~~x~~") == r"www\.evil.example a\@b.example \&lt; \~\~x\~\~"
    assert cell("an ordinary prompt, 50mm: warm") == "an ordinary prompt, 50mm: warm"
