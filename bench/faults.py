"""What does each fault of the API cost: `imagen_pipeline` beside a plain loop with retries?

    python bench/faults.py --items 400 --share 0.05 --seed 1 --out bench-faults
    python bench/faults.py --table protocols --only mix    # one table, or one fault

Each fault alone on a share of the calls, and the mix of 5 % connections cut after billing, 3 % billed 502s, 5 % 429s,
against the sandbox. The faults are drawn from the seed and the prompt, so that all contestants meet the same ones:

* `plain loop`: requests with urllib3's `Retry` on lost connections, 429 and 5xx, as such loops are written, a full
  decode, and a file an image;
* `hold`: `imagen_pipeline` as it is, once;
* `retry`: after that `unknown="retry"` until nothing is open, as somebody does who would rather pay twice than wait.

Counted on the sandbox's own bill, prompt by prompt:

* delivered: prompts with a whole image in the store;
* billed: calls on the bill;
* unknown: prompts that are listed as perhaps billed, for a person to decide on;
* lost: prompts that were billed, have no image, and that nobody was told of;
* bought twice: billed calls beyond the first of a prompt.

A second table has `imagen_pipeline` as it is (`hold`) through each protocol, by what the contract promises for an
answer that is lost: nothing, the id of a job, or an idempotency key.

Writes `faults.md`, `protocols.md`, `faults.json` and `faults.png` into the folder of `--out`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
from PIL import Image, ImageDraw, ImageFont
from prefect_imagen.cli.prefect_server import LocalPrefect
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.call_log import Protocol
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_KEY = "bench"
_MODEL = "google/imagen4/preview"
_CONTESTANTS = ("plain loop", "hold", "retry")
MIX = (
    {"fault": "cut_after_billing", "rate": 0.05},
    {"fault": "bad_gateway_billed", "rate": 0.03},
    {"fault": "rate_limited", "rate": 0.05},
)
_LOST = "connection cut|billed 502|reply cut|HTML page with status 200|unbilled 500|429|the mix"
"""Scenarios that are about answers, not about pictures: what a protocol makes a difference to."""

_ALONE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("connection cut after billing", {"fault": "cut_after_billing"}),
    ("connection cut before billing", {"fault": "cut_before_billing"}),
    ("billed 502", {"fault": "bad_gateway_billed"}),
    ("reply cut in the middle, billed", {"fault": "truncated_reply_billed"}),
    ("HTML page with status 200, billed", {"fault": "html_200"}),
    ("unbilled 500", {"fault": "server_error"}),
    ("429", {"fault": "rate_limited"}),
    ("safety filter, billed", {"fault": "safety_block", "billed": True}),
    ("download cut in the middle", {"fault": "truncated_download"}),
    ("download answers 500", {"fault": "download_500"}),
    ("download is a damaged image", {"fault": "corrupt_image"}),
    ("download is an HTML page", {"fault": "html_download"}),
)


@dataclass(frozen=True)
class Lane:
    """A provider as it is asked, and what its contract promises for an answer that is lost."""

    api: Protocol
    model: str
    recover: str

    @property
    def name(self) -> str:
        return f"{self.api}, {self.recover}"


_AIMLAPI = Lane("aimlapi", _MODEL, "none")
_LANES = (
    _AIMLAPI,
    Lane("openai", "openai:gpt-image-2", "none"),
    Lane("openai", "openai:gpt-image-2", "key"),
    Lane("gemini", "gemini:gemini-3.1-flash-image", "none"),
    Lane("queue", "fal:fal-ai/flux/schnell", "job"),
)


@dataclass(frozen=True)
class Row:
    """One contestant under one fault."""

    fault: str
    contestant: str
    delivered: int
    billed: int
    unknown: int
    lost: int
    bought_twice: int
    seconds: float


def scenarios(share: float) -> list[tuple[str, list[dict[str, Any]]]]:
    """Name and rules of each scenario; the mix comes last."""
    alone = [(name, [{**rule, "rate": share}]) for name, rule in _ALONE]
    return [("no fault", []), *alone, ("the mix", [dict(rule) for rule in MIX])]


def plain_loop(base_url: str, prompts: list[str], folder: Path, threads: int) -> set[str]:
    """The loop one would write, with the retries one would give it. Returns the prompts that have an image."""
    local = threading.local()
    retry = Retry(
        total=5,
        backoff_factor=0.2,
        allowed_methods=None,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )

    def one(prompt: str) -> str | None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.mount("http://", HTTPAdapter(max_retries=retry))
        for _ in range(3):
            try:
                answer = local.session.post(
                    f"{base_url}/images/generations",
                    json={"model": _MODEL, "prompt": prompt},
                    headers={"Authorization": f"Bearer {_KEY}"},
                    timeout=60,
                )
                answer.raise_for_status()
                data = local.session.get(answer.json()["data"][0]["url"], timeout=60).content
                Image.open(io.BytesIO(data)).load()
            except Exception:  # noqa: BLE001 - it is the loop that catches everything and tries again
                continue
            (folder / f"{prompt}.png").write_bytes(data)
            return prompt
        return None

    with ThreadPoolExecutor(threads) as pool:
        return {prompt for prompt in pool.map(one, prompts) if prompt is not None}


def pipeline(
    lane: Lane, base_url: str, prompts: list[str], folder: Path, threads: int, unknown: str
) -> tuple[set[str], set[str]]:
    """`imagen_pipeline`. Returns the prompts that have an image, and those that are listed as unknown."""
    from prefect_imagen.blocks import ImageApiCredentials, ImageCatalog, LocalImageStore
    from prefect_imagen.core.request import Policy, PromptOptions, UnknownPolicy
    from prefect_imagen.flows import imagen_pipeline
    from pydantic import SecretStr

    catalog = ImageCatalog(url=SecretStr(str(folder / "ledger.db")))
    imagen_pipeline(
        prompts,
        LocalImageStore(folder=str(folder / "images")),
        ImageApiCredentials(api=lane.api, api_key=SecretStr(_KEY), base_url=base_url),
        catalog,
        model=lane.model,
        concurrency=threads,
        select=PromptOptions(variants=False),
        policy=Policy(unknown=UnknownPolicy(unknown)),
        return_state=True,
    )
    ledger = catalog.get_ledger()
    delivered = {row["prompt"] for row in ledger.catalog.rows() if row["state"] == "stored" and _is_whole(row["uri"])}
    with ledger.read() as connection:
        rows = connection.exec_driver_sql("SELECT prompt FROM imagen_items WHERE state = 'unknown'")
        return delivered, {row[0] for row in rows}


def _is_whole(uri: str) -> bool:
    with Image.open(Path(uri.removeprefix("file://"))) as image:
        image.load()
    return True


def _count(
    sandbox: SandboxServer, fault: str, contestant: str, delivered: set[str], unknown: set[str], seconds: float
) -> Row:
    sandbox.wait_idle()
    billed = Counter(entry["prompt"] for entry in sandbox.bill()["entries"])
    return Row(
        fault,
        contestant,
        delivered=len(delivered),
        billed=billed.total(),
        unknown=len(unknown),
        # What the filter took is told and has no image; it is nobody's loss, and the same for all.
        lost=0 if "safety" in fault else len(set(billed) - delivered - unknown),
        bought_twice=sum(count - 1 for count in billed.values()),
        seconds=round(seconds, 1),
    )


def measure(
    sandbox: SandboxServer, fault: str, rules: list[dict[str, Any]], *, items: int, seed: int, threads: int
) -> list[Row]:
    """All contestants under one fault."""
    prompts = [f"prompt {number}" for number in range(items)]
    rows = []

    def timed(function: Callable[[], Any]) -> tuple[Any, float]:
        started = time.monotonic()
        return function(), time.monotonic() - started

    from prefect_imagen.core.ledger import close_ledgers

    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as name:
        folder = Path(name)
        sandbox.reset()
        sandbox.set_faults(rules, seed)
        delivered, seconds = timed(lambda: plain_loop(sandbox.base_url, prompts, folder, threads))
        rows.append(_count(sandbox, fault, "plain loop", delivered, set(), seconds))

        sandbox.reset()
        sandbox.set_faults(rules, seed)
        (delivered, unknown), seconds = timed(
            lambda: pipeline(_AIMLAPI, sandbox.base_url, prompts, folder, threads, "hold")
        )
        rows.append(_count(sandbox, fault, "hold", delivered, unknown, seconds))
        more = 0.0
        for _ in range(8):
            if not unknown:
                break
            (delivered, unknown), again = timed(
                lambda: pipeline(_AIMLAPI, sandbox.base_url, prompts, folder, threads, "retry")
            )
            more += again
        rows.append(_count(sandbox, fault, "retry", delivered, unknown, seconds + more))
        close_ledgers()
    return rows


def measure_lanes(
    sandbox: SandboxServer, fault: str, rules: list[dict[str, Any]], *, items: int, seed: int, threads: int
) -> list[Row]:
    """The pipeline through each protocol under one fault."""
    from prefect_imagen.core.ledger import close_ledgers
    from prefect_imagen.core.providers.registry import MODELS_VARIABLE

    prompts = [f"prompt {number}" for number in range(items)]
    rows = []
    for lane in _LANES:
        with tempfile.TemporaryDirectory(prefix="imagen-bench-") as name:
            folder = Path(name)
            contract = {"name": lane.model.partition(":")[0], "contract": {"recover": lane.recover}}
            providers = [] if lane is _AIMLAPI else [contract]
            (folder / "models.json").write_text(json.dumps({"version": 1, "providers": providers, "models": []}))
            os.environ[MODELS_VARIABLE] = str(folder / "models.json")
            sandbox.reset()
            sandbox.set_faults(rules, seed)
            started = time.monotonic()
            url = sandbox.url(lane.api)
            delivered, unknown = pipeline(lane, url, prompts, folder, threads, "hold")
            rows.append(_count(sandbox, fault, lane.name, delivered, unknown, time.monotonic() - started))
            close_ledgers()
            del os.environ[MODELS_VARIABLE]
    return rows


def as_columns(rows: list[Row]) -> str:
    """The table of the docs with a column for each protocol: delivered, unknown, bought twice."""
    names = list(dict.fromkeys(row.contestant for row in rows))
    lines = [f"| fault | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for fault in dict.fromkeys(row.fault for row in rows):
        cells = [f"{row.delivered} · {row.unknown} · {row.bought_twice}" for row in rows if row.fault == fault]
        lines.append(f"| {fault} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_markdown(rows: list[Row]) -> str:
    """The table of the docs."""
    lines = [
        "| fault | who | delivered | billed | unknown | lost | bought twice |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        name = row.fault if row.contestant == _CONTESTANTS[0] else ""
        counts = (row.delivered, row.billed, row.unknown, row.lost, row.bought_twice)
        lines.append(f"| {name} | {row.contestant} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines) + "\n"


_COLOURS = {"bought_twice": "#c0392b", "lost": "#7d3c98", "unknown": "#e6a23c"}
_TITLES = {"bought_twice": "bought twice", "lost": "paid and lost", "unknown": "listed as unknown"}


def draw(rows: list[Row], path: Path) -> None:
    """A bar a contestant and fault: what was bought twice, lost, or is listed for a person to decide on."""
    big, small = ImageFont.load_default(22), ImageFont.load_default(16)
    left, bar, gap, top, width = 380, 20, 16, 96, 1200
    faults = list(dict.fromkeys(row.fault for row in rows))
    height = top + len(faults) * (len(_CONTESTANTS) * bar + gap) + 24
    most = max([row.bought_twice + row.lost + row.unknown for row in rows] + [1])
    scale = (width - left - 230) / most
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    items = max(row.delivered for row in rows)
    pen.text((24, 18), f"{items} images: what each fault costs", fill="#222", font=big)
    x = 24
    for name, colour in _COLOURS.items():
        pen.rectangle((x, 58, x + 16, 74), fill=colour)
        pen.text((x + 24, 57), _TITLES[name], fill="#222", font=small)
        x += 190
    y = top
    for fault in faults:
        pen.text((24, y + bar), fault, fill="#222", font=small)
        for row in (row for row in rows if row.fault == fault):
            pen.text((left - 10, y + 1), row.contestant, fill="#555", font=small, anchor="ra")
            x = left
            for name, colour in _COLOURS.items():
                length = getattr(row, name) * scale
                if length:
                    pen.rectangle((x, y + 3, x + length, y + bar - 3), fill=colour)
                x += length
            shown = ", ".join(f"{getattr(row, name)} {_TITLES[name]}" for name in _COLOURS if getattr(row, name))
            pen.text((x + 8, y + 1), shown or "0", fill="#222" if shown else "#2e8b57", font=small)
            y += bar
        y += gap
    image.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.05, help="of the calls that a fault alone strikes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--only", help="scenarios whose name contains this")
    parser.add_argument("--table", choices=["contestants", "protocols"], help="one of the two tables alone")
    parser.add_argument("--out", type=Path, default=Path("bench-faults"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    columns: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="imagen-bench-home-") as home:
        os.environ |= {"PREFECT_HOME": f"{home}/prefect", "PREFECT_IMAGEN_HOME": f"{home}/imagen"}
        os.environ |= {"PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        prefect = LocalPrefect(Path(home) / "prefect.log").start()
        with SandboxServer(pictures="fast", balance_usd=100_000, idempotency="replay") as sandbox:
            try:
                prefect.wait()
                for name, rules in scenarios(options.share):
                    if options.only and options.only not in name:
                        continue
                    settings = {"items": options.items, "seed": options.seed, "threads": options.threads}
                    if options.table != "protocols":
                        rows += _shown(measure(sandbox, name, rules, **settings))
                    if options.table != "contestants" and re.match(_LOST, name):
                        columns += _shown(measure_lanes(sandbox, name, rules, **settings))
            finally:
                prefect.stop()
    about = {"items": options.items, "share": options.share, "seed": options.seed, "threads": options.threads}
    figures = {**about, "rows": [asdict(row) for row in rows], "protocols": [asdict(row) for row in columns]}
    (options.out / "faults.json").write_text(json.dumps(figures, indent=1))
    if rows:
        (options.out / "faults.md").write_text(as_markdown(rows))
        draw(rows, options.out / "faults.png")
        print(as_markdown(rows))
    if columns:
        (options.out / "protocols.md").write_text(as_columns(columns))
        print(as_columns(columns))


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        print(row, file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
