"""Every model, all the way: asked in its own schema, its reply normalised, its image delivered. The table in
docs/models.md is what came of it; `UPDATE_DOCS=1 pytest` of this file writes it anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
from prefect_imagen.core.delivery import Downloader, FileState, Spool, Uploader, record
from prefect_imagen.core.images import Fetcher
from prefect_imagen.core.ledger import Item, ItemState, Ledger, RunItem, RunSpec
from prefect_imagen.core.limits import Backoff, CallLimiter, HealthGate, StopSignal
from prefect_imagen.core.money import format_usd
from prefect_imagen.core.providers import (
    ImageRequest,
    ModelSpec,
    ResolvedModel,
    load_registry,
    open_client,
)
from prefect_imagen.core.providers.spec import Price
from prefect_imagen.core.purchase import Purchaser
from prefect_imagen.core.storage import KeyTemplate, LocalStore
from prefect_imagen.sandbox import SandboxServer

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN, END = "<!-- every model: written by a test -->\n", "<!-- end -->\n"
MODELS = [spec for spec in load_registry().sold_by("aimlapi") if spec.lifecycle.status != "withdrawn"]
ASKED = [
    (spec, contract)
    for spec in MODELS
    for contract in spec.contracts
    if (spec.id, contract) != ("google/imagen4/preview", "2025-05")  # the sandbox serves one contract under one id
]
NO_PRICE = Price(usd="0.05", usd_high="0.06", as_of="now", source="the sandbox's catalogue")
DONE: dict[str, tuple[str, ...]] = {}


class Counter:
    """Buys and delivers one item of any model."""

    def __init__(self, sandbox: SandboxServer, ledger: Ledger, folder: Path) -> None:
        self.sandbox, self.ledger = sandbox, ledger
        self.client = open_client("key", base_url=sandbox.base_url)
        self.halt, self.spool, self.store = (
            StopSignal(),
            Spool(folder / "spool", ledger.id),
            LocalStore(folder / "images"),
        )
        self.store.preflight()
        self.fetcher = Fetcher((sandbox.origin,), user_agent="prefect-imagen/test")

    def close(self) -> None:
        self.client.close()
        self.fetcher.close()

    def buy(self, model: ResolvedModel, parameters: dict[str, Any]) -> str:
        request = ImageRequest.build(model, "a red fox in the snow", parameters)
        item = Item(model.spec.id, request.prompt, request.identity(), edition=model.contract_name)
        run = f"run-{item.id}"
        self.ledger.runs.start(RunSpec(run, model.name, parameters, destination=self.store.destination))
        self.ledger.runs.add_items(run, [RunItem(0, item, "x", 1)])
        purchaser = Purchaser(
            client=self.client,
            ledger=self.ledger,
            replies=self.spool.replies,
            limiter=CallLimiter(1, None, self.halt),
            halt=self.halt,
            run_id=run,
            model=model,
            parameters=parameters,
            backoff=Backoff(first=0.01, maximum=0.02),
        )
        (claimed,) = self.ledger.items.claim([item.id])
        purchaser.buy(claimed)
        self.ledger.items.release([item.id], keep_paid=True)
        return item.id

    def deliver(self, item_id: str) -> list[Any]:
        downloader = Downloader(
            fetcher=self.fetcher, spool=self.spool, open_copy=lambda _: pytest.fail("a copy"), halt=self.halt
        )
        uploader = Uploader(
            store=self.store,
            keys=KeyTemplate("{model}/{item_id}/{call}-{index}.{ext}"),
            ledger_id=self.ledger.id,
            spool=self.spool,
            gate=HealthGate(self.store.check, patience=5),
            halt=self.halt,
            patience=5,
        )
        tasks = self.ledger.images.to_deliver([item_id], destination=self.store.destination)
        files = [downloader.download(task) for task in tasks]
        record(self.ledger, self.spool, [uploader.upload(file) for file in files])
        self.ledger.items.release([item_id])
        return files


@pytest.fixture(scope="module")
def counter(sandbox_process: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    folder = tmp_path_factory.mktemp("families")
    ledger = Ledger(str(folder / "ledger.db"))
    made = Counter(sandbox_process, ledger, folder)
    yield made
    made.close()
    ledger.close()


def priced(model: ResolvedModel) -> ResolvedModel:
    return model if model.spec.price is not None else model.priced(NO_PRICE)


def needed(model: ResolvedModel) -> dict[str, Any]:
    address = "https://example.org/a.png"
    values = {"list": [address], "url": address}
    return {
        name: values.get(rule.kind) or rule.choices[0] for name, rule in model.contract.fields.items() if rule.required
    }


def schemas(origin: str, model: ResolvedModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a request and of a reply, from the model's own document, as JSON Schema."""
    document = requests.get(f"{origin}/docs-json", {"model": model.wire_model}, timeout=10).json()
    operation = document["paths"]["/v1/images/generations"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    return body, _without_nullable(operation["responses"]["200"]["content"]["application/json"]["schema"])


def _without_nullable(schema: Any) -> Any:
    """OpenAPI 3.0 writes `nullable` where JSON Schema has a list of types."""
    if isinstance(schema, list):
        return [_without_nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _without_nullable(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable"):
        made["type"] = [schema["type"], "null"]
    return made


@pytest.mark.parametrize(("spec", "contract"), ASKED, ids=lambda value: getattr(value, "id", value))
def test_asked_replied_delivered(spec: ModelSpec, contract: str, counter: Counter) -> None:
    model = priced(ResolvedModel(spec, contract))
    counter.sandbox.reset()
    parameters = needed(model)
    item_id = counter.buy(model, parameters)
    assert counter.ledger.items.states([item_id]) == {item_id: ItemState.GENERATED}, counter.sandbox.calls()
    files = counter.deliver(item_id)
    assert [file.state for file in files] == [FileState.READY]
    assert counter.ledger.items.states([item_id]) == {item_id: ItemState.DELIVERED}
    (row,) = [row for row in counter.ledger.catalog.rows() if row["item_id"] == item_id]
    bill = counter.sandbox.bill()
    assert [entry["client_request_id"] for entry in bill["entries"]] == [row["client_request_id"]]
    assert row["wire_model"] == model.wire_model
    # What was billed, not what was expected; where the reply names no cost, the price list.
    assert row["cost_credits"] == bill["credits"]
    assert spec.price is None or row["cost_credits"] <= spec.price.credits_high
    body, reply = schemas(counter.sandbox.origin, model)
    request = ImageRequest.build(model, "a red fox in the snow", parameters)
    jsonschema.validate(request.body(seed=request.seed(item_id)), body)
    raw = counter.client.ask(request, "again", seed=request.seed(item_id))
    jsonschema.validate(raw_body := requests.models.complexjson.loads(raw.body), reply)
    assert set(raw_body) == set(reply["properties"]), "the reply has other keys than its schema"
    DONE[f"{spec.id}@{contract}"] = _line(model, files[0])


def _line(model: ResolvedModel, file: Any) -> tuple[str, ...]:
    spec, contract = model.spec, model.contract
    size = "aspect_ratio" if "aspect_ratio" in contract.fields else contract.sizing or "–"
    count = contract.field_for("num_images")
    most = contract.fields[count].maximum if count else 1
    price = load_registry().resolve(spec.id).spec.price
    field = contract.field_for("images")
    taken = contract.fields[field] if field else None
    pictures = "–" if taken is None else f"{taken.maximum or 1}"
    return (
        f"`{model.wire_model}`",
        size,
        f"{most}" if count in (None, "num_images") else f"{most} (`{count}`)",
        f"{pictures}, needed" if taken is not None and taken.required else pictures,
        "yes" if "seed" in contract.fields else "–",
        "yes" if "negative_prompt" in contract.fields else "–",
        f"{contract.prompt_limit:,}" if contract.prompt_limit else "any",
        f"{format_usd(price.credits)}" if price else "ask",
        contract.reply,
        f"{file.width}×{file.height} {file.ext}",
    )


def test_the_table_in_the_docs_is_what_came_of_it() -> None:
    if len(DONE) < len(ASKED):
        pytest.skip("some models were not asked in this run")
    head = (
        "model",
        "sized by",
        "images",
        "pictures in",
        "seed",
        "negative",
        "prompt",
        "an image",
        "reply",
        "delivered",
    )
    rows = [head, tuple("---" for _ in head), *(DONE[f"{spec.id}@{contract}"] for spec, contract in ASKED)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    written, _, after = rest.partition(END)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")
        return
    assert written == table, "docs/models.md is behind: UPDATE_DOCS=1 pytest tests/core/providers/test_families.py"


@pytest.mark.parametrize("data_uri", [False, True])
@pytest.mark.parametrize("form", sorted({spec.contracts[contract].reply for spec, contract in ASKED}))
def test_base64_in_every_form(form: str, data_uri: bool, counter: Counter) -> None:
    """Models answer with base64 for reasons of their own; with a data-URI prefix, or without."""
    spec, contract = next(pair for pair in ASKED if pair[0].contracts[pair[1]].reply == form)
    model = priced(ResolvedModel(spec, contract))
    counter.sandbox.set_faults([{"fault": "base64_reply", "data_uri": data_uri}])
    try:
        item_id = counter.buy(model, {**needed(model), **_another(model, data_uri)})
        gets = counter.sandbox.stats()["cdn_gets"]
        assert [file.state for file in counter.deliver(item_id)] == [FileState.READY]
        assert counter.sandbox.stats()["cdn_gets"] == gets
        assert counter.ledger.items.states([item_id]) == {item_id: ItemState.DELIVERED}
    finally:
        counter.sandbox.clear_faults()


def _another(model: ResolvedModel, data_uri: bool) -> dict[str, Any]:
    """A parameter that makes another item than those bought before."""
    ratios = ("3:4", "9:16") if "3:4" in str(model.contract.aspect_ratios or model.contract.fields) else ("2:3", "3:2")
    return {"aspect_ratio": ratios[data_uri]}


def test_the_first_contract_of_imagen4(tmp_path: Path, open_ledger: Callable[..., Ledger]) -> None:
    with SandboxServer(pictures="fast", imagen4_contract="2025-05", cost_headers=False) as sandbox:
        made = Counter(sandbox, open_ledger(str(tmp_path / "ledger.db")), tmp_path)
        item_id = made.buy(load_registry().resolve("google/imagen4/preview@2025-05"), {"negative_prompt": "dogs"})
        assert [file.state for file in made.deliver(item_id)] == [FileState.READY]
        (row,) = made.ledger.catalog.rows()
        assert (row["cost_source"], row["cost_credits"]) == ("price list", sandbox.bill()["credits"])
        made.close()
