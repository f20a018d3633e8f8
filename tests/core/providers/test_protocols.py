"""Each protocol, from the prompt to the stored picture: what is on the bill is on the ledger."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Ledger, LedgerMismatch
from prefect_imagen.core.ledger.ledger import SANDBOX
from prefect_imagen.core.ledger.schema import calls, quotas
from prefect_imagen.core.limits import Backoff, StopReason
from prefect_imagen.core.limits.circuit import most_calls
from prefect_imagen.core.providers import Endpoint, ImageRequest, UnknownModel, load_registry, open_client
from prefect_imagen.core.providers.errors import CannotRecover
from prefect_imagen.core.providers.openai import OpenAiClient
from prefect_imagen.core.providers.registry import MODELS_VARIABLE
from prefect_imagen.sandbox import SandboxServer

from ...chain import run_chain

FACES = {"aimlapi": "/v1", "openai": "/openai/v1", "gemini": "/gemini/v1beta", "queue": "/queue"}
MODELS = ("google/imagen4/preview", "openai:gpt-image-2", "gemini:gemini-3.1-flash-image", "fal:fal-ai/flux/schnell")
KEYED = {
    "version": 1,
    "providers": [{"name": "openai", "contract": {"recover": "key"}}],
    "models": [
        {"id": "openai.local:sd", "price": {"usd": "0.01", "usd_high": "0.01", "as_of": "2026", "source": "us"}}
    ],
}


@pytest.fixture(scope="module")
def shop() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", idempotency="replay", any_model_usd="0.01") as server:
        yield server


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger], sqlite: str, shop: SandboxServer) -> Ledger:
    shop.clear_faults()
    shop.reset()
    return open_ledger(sqlite)


@pytest.fixture
def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI as a provider that keeps to idempotency keys."""
    path = tmp_path / "models.json"
    path.write_text(json.dumps(KEYED))
    monkeypatch.setenv(MODELS_VARIABLE, str(path))


def face(shop: SandboxServer, model: str) -> str:
    """Where the sandbox sells a model."""
    return shop.origin + FACES[Endpoint.find(model=model).provider.api]


def buy(
    shop: SandboxServer, ledger: Ledger, folder: Path, model: str, count: int = 4, **options: Any
) -> dict[str, int]:
    states: dict[str, int] = buy_and_tell(shop, ledger, folder, model, count, **options)["states"]
    return states


def buy_and_tell(
    shop: SandboxServer, ledger: Ledger, folder: Path, model: str, count: int, **options: Any
) -> dict[str, Any]:
    return run_chain(
        catalog=ledger,
        base_url=options.pop("base_url", None) or face(shop, model),
        store=str(folder / "images"),
        spool=str(folder / "spool"),
        count=count,
        model=model,
        **options,
    )


def closes(shop: SandboxServer, ledger: Ledger) -> None:
    """The sum of the account is the provider's bill."""
    costs, bill = ledger.costs.of(), shop.bill()
    assert costs.billed <= bill["credits"] <= costs.billed_at_most
    if not costs.unknown.calls:
        assert costs.billed == bill["credits"]


@pytest.mark.parametrize("model", MODELS)
def test_bought_and_delivered(shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str) -> None:
    assert buy(shop, ledger, tmp_path, model) == {"delivered": 4}
    assert len(shop.bill()["entries"]) == 4
    closes(shop, ledger)
    assert buy(shop, ledger, tmp_path, model) == {"delivered": 4}, "the same again"
    assert len(shop.bill()["entries"]) == 4, "is not bought again"
    rows = ledger.catalog.rows()
    assert {row["provider"] for row in rows} == {Endpoint.find(model=model).provider.name}
    assert {row["api_origin"] for row in rows} == {SANDBOX}
    assert all(Path(str(row["uri"]).removeprefix("file://")).stat().st_size == row["bytes"] for row in rows)


def test_a_server_of_ones_own_needs_a_price_and_no_list(shop: SandboxServer, ledger: Ledger, tmp_path: Path) -> None:
    model, url = "openai.local:sd", shop.origin + FACES["openai"]
    with pytest.raises(BadInput, match="price"):
        buy(shop, ledger, tmp_path, model, base_url=url)
    assert shop.bill()["entries"] == []
    assert buy(shop, ledger, tmp_path, model, base_url=url, price=0.01) == {"delivered": 4}
    closes(shop, ledger)


@pytest.mark.parametrize("model", MODELS[1:])
def test_a_filter_that_says_no_refuses_the_item(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str
) -> None:
    shop.set_faults([{"fault": "safety_block", "form": "http_400", "times": 1}])
    assert buy(shop, ledger, tmp_path, model, concurrency=1) == {"delivered": 3, "refused": 1}
    closes(shop, ledger)


@pytest.mark.parametrize("model", MODELS)
def test_a_key_that_is_refused_stops_before_anything_is_sent(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str
) -> None:
    with SandboxServer(pictures="fast", keys=["right"]) as strict, pytest.raises(BadInput, match="refuses the key"):
        buy(strict, ledger, tmp_path, model, base_url=face(strict, model), key="wrong")


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("model", ["openai:gpt-image-2", "fal:fal-ai/flux/schnell"])
@pytest.mark.parametrize("fault", ["cut_after_billing", "server_error"])
def test_a_lost_answer_is_asked_for_again(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str, fault: str
) -> None:
    more = {"billed": True} if fault == "server_error" else {}
    shop.set_faults([{"fault": fault, "times": 3, **more}])
    assert buy(shop, ledger, tmp_path, model, 6) == {"delivered": 6}
    assert len(shop.bill()["entries"]) == 6, "and nothing is bought twice"
    closes(shop, ledger)


@pytest.mark.usefixtures("keyed")
def test_a_lost_answer_about_pictures_is_asked_for_by_the_next_run(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (32, 32), "teal").save(tmp_path / "a.png")
    (tmp_path / "prompts.csv").write_text("prompt,picture\none,a.png\n")
    how: dict[str, Any] = {"prompts": str(tmp_path / "prompts.csv"), "options": {"image_column": ["picture"]}}

    def killed(*_: Any, **__: Any) -> None:
        raise CannotRecover("the process is gone")

    shop.set_faults([{"fault": "cut_after_billing", "times": 1}])
    with monkeypatch.context() as once:
        once.setattr(OpenAiClient, "recover", killed)
        once.setattr(Backoff, "delay", lambda *_: 0.0)
        assert buy(shop, ledger, tmp_path, "openai:gpt-image-2", 0, **how) == {"unknown": 1}
    assert buy(shop, ledger, tmp_path, "openai:gpt-image-2", 0, **how) == {"delivered": 1}
    assert len(shop.bill()["entries"]) == 1
    closes(shop, ledger)


def test_what_is_erased_is_not_asked_for_again(shop: SandboxServer, ledger: Ledger, tmp_path: Path) -> None:
    assert buy(shop, ledger, tmp_path, MODELS[3], 1) == {"delivered": 1}
    (row,) = ledger.catalog.rows()
    ledger.calls.remember(
        row["client_request_id"], {"job": "1", "status_url": "http://x/1", "response_url": "http://x"}
    )
    with ledger.read() as connection:
        query = sa.select(calls.c.recovery)
        assert connection.scalar(query)["job"] == "1"
    ledger.erasure.redact(ledger.erasure.lock([row["item_id"]]))
    with ledger.read() as connection:
        assert connection.scalar(query) is None


def test_without_a_promise_it_stays_unknown(shop: SandboxServer, ledger: Ledger, tmp_path: Path) -> None:
    shop.set_faults([{"fault": "cut_after_billing", "times": 2}])
    assert buy(shop, ledger, tmp_path, "openai:gpt-image-2") == {"delivered": 2, "unknown": 2}
    assert len(shop.bill()["entries"]) == 4
    closes(shop, ledger)


def test_providers_share_a_ledger_and_their_sums_are_told_apart(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path
) -> None:
    for model in MODELS:
        assert buy(shop, ledger, tmp_path, model, 2) == {"delivered": 2}
    closes(shop, ledger)
    assert len({row["item_id"] for row in ledger.catalog.rows()}) == 8, "the same picture from four shops"
    by_provider = {line.provider: line for line in ledger.costs.by_account()}
    assert set(by_provider) == {"aimlapi", "openai", "gemini", "fal"}
    assert sum(line.billed for line in by_provider.values()) == shop.bill()["credits"]
    assert all(line.calls == 2 and line.origin == SANDBOX for line in by_provider.values())


def test_a_sandbox_never_looks_like_the_real_thing(open_ledger: Callable[..., Ledger], sqlite: str) -> None:
    ledger = open_ledger(sqlite)
    ledger.bind("https://api.openai.com", None, "openai")
    ledger.bind("https://queue.fal.run", None, "fal")
    with pytest.raises(LedgerMismatch, match="another catalog"):
        ledger.bind(SANDBOX, None, "gemini")
    with pytest.raises(LedgerMismatch, match="another catalog"):
        ledger.bind("https://elsewhere.example", None, "openai")
    assert [account.provider for account in ledger.accounts] == ["fal", "openai"]


def test_who_is_meant_by_what_is_said() -> None:
    own = {"api": "openai", "base_url": "http://127.0.0.1:8080/v1"}
    assert Endpoint.find(**own, model="sd").model("sd") == "openai.local:sd"
    assert Endpoint.find(**own, model="gpt-image-2").model("gpt-image-2") == "openai:gpt-image-2"
    elsewhere = Endpoint.find(api="openai", base_url="http://gpu-box.lan:8000", model="sd")
    assert (elsewhere.model("sd"), elsewhere.base_url) == ("openai.gpu-box.lan:sd", "http://gpu-box.lan:8000/v1")
    assert Endpoint.find(model="fal:fal-ai/flux/dev").base_url == "https://queue.fal.run"
    assert Endpoint.find().provider.name == "aimlapi"
    assert Endpoint.find(base_url="http://127.0.0.1:8080").provider.name == "aimlapi"
    with pytest.raises(BadInput, match="protocol queue, not openai"):
        Endpoint.find(api="openai", model="fal:fal-ai/flux/dev")
    with pytest.raises(BadInput, match="one of aimlapi, openai"):
        Endpoint.find(api="telepathy")
    with pytest.raises(BadInput, match="no provider 'nobody'"):
        Endpoint.find(model="nobody:sd")
    with pytest.raises(UnknownModel):
        load_registry().resolve("nobody:sd")


def test_a_provider_of_ones_own_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[3] / "docs" / "providers.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "models.yaml"
    path.write_text(text)
    monkeypatch.setenv(MODELS_VARIABLE, str(path))
    endpoint = Endpoint.find(model="lab:sdxl")
    assert endpoint.base_url == "http://gateway.lan:4000/v1"
    assert endpoint.provider.contract.recover == "key"
    model = load_registry().resolve("lab:sdxl")
    assert (model.wire_model, model.spec.price and model.spec.price.credits) == ("sdxl", 4_000)
    path.write_text(text.replace("recover: key", "recover: magic"))
    monkeypatch.setenv(MODELS_VARIABLE, str(path.rename(tmp_path / "other.yaml")))
    with pytest.raises(BadInput, match=r"providers\[1\]: contract.recover"):
        load_registry()


@pytest.fixture
def two_keys(shop: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a run that may go on at another provider, with a key of its own."""
    monkeypatch.setenv("FAL_QUEUE_URL", shop.origin + FACES["queue"])
    monkeypatch.setenv("FAL_KEY", "another-key")
    return {"options": {"fallback": [MODELS[3]], "aspect_ratio": "1:1"}}


def test_another_provider_stands_in(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, two_keys: dict[str, Any]
) -> None:
    shop.set_faults([{"fault": "withdrawn_model", "match": {"model": "gpt-image-2"}}])
    assert buy(shop, ledger, tmp_path, MODELS[1], 3, **two_keys) == {"delivered": 3}
    assert {row["model"] for row in ledger.catalog.rows()} == {MODELS[3]}
    closes(shop, ledger)
    assert [line.provider for line in ledger.costs.by_account() if line.billed] == ["fal"]


@pytest.mark.parametrize(
    "fault",
    [{"fault": "server_error", "billed": True}, {"fault": "out_of_credit"}, {"fault": "unauthorized"}],
    ids=lambda fault: str(fault["fault"]),
)
def test_a_provider_that_fails_does_not_stop_the_purchase_at_another(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, two_keys: dict[str, Any], fault: dict[str, Any]
) -> None:
    shop.set_faults([{**fault, "match": {"model": "gpt-image-2"}}])
    limits = {"concurrency": 2, "patience": 0.5, **two_keys}
    states = buy(shop, ledger, tmp_path, MODELS[1], 30, **limits)
    asked = [call for call in shop.calls() if call["model"] == "gpt-image-2"]
    assert 0 < len(asked) <= most_calls(2)
    # What may have been billed there is not bought again here.
    lost = len(asked) if fault.get("billed") else 0
    assert states == {"delivered": 30 - lost} | ({"unknown": lost} if lost else {})
    closes(shop, ledger)
    assert {line.provider for line in ledger.costs.by_account() if line.billed} == {"fal"}
    with ledger.read() as connection:
        kept = connection.execute(sa.select(quotas.c.key, quotas.c.model)).all()
    assert len({row.key for row in kept}) == len(kept), "what is learnt of a provider is kept under its own key"


def test_a_run_is_blocked_once_every_provider_is(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, two_keys: dict[str, Any]
) -> None:
    shop.set_faults([{"fault": "out_of_credit"}])
    ended = buy_and_tell(shop, ledger, tmp_path, MODELS[1], 8, **two_keys)
    assert (ended["outcome"], ended["reason"], ended["states"]) == ("Blocked", StopReason.KEY, {"planned": 8})
    assert {call["model"] for call in shop.calls()} == {"gpt-image-2", "fal-ai/flux/schnell"}
    assert shop.bill()["credits"] == 0


def test_a_stand_in_without_a_key_is_refused_before_anything_is_sent(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAL_KEY", "FAL_QUEUE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match=r"fallback .*FAL_KEY"):
        buy(shop, ledger, tmp_path, MODELS[1], options={"fallback": [MODELS[3]]})
    assert shop.bill()["entries"] == []


def test_keys_are_wanted_at_a_providers_own_address_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match="OPENAI_API_KEY"):
        open_client(None, api="openai")
    open_client(None, api="openai", base_url="http://127.0.0.1:8080/v1").close()
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-openai")
    client = open_client(None, api="openai")
    assert "a-key-of-openai" not in repr(client)
    client.close()


def test_requests_in_the_words_of_each_protocol() -> None:
    asked = {"aspect_ratio": "16:9", "seed": 7}
    gemini = open_client("key", api="gemini")
    wire = gemini.wire(ImageRequest.build(MODELS[2], "a fox", {**asked, "resolution": "2K"}), seed=7)
    assert wire.path == "/models/gemini-3.1-flash-image:generateContent"
    assert wire.body["contents"] == [{"role": "user", "parts": [{"text": "a fox"}]}]
    assert wire.body["generationConfig"] == {
        "responseModalities": ["IMAGE"],
        "seed": 7,
        "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
    }
    picture = "data:image/png;base64,aGVyZQ=="
    wire = gemini.wire(ImageRequest.build(MODELS[2], "a fox", {"images": [picture, "https://cdn.example/a.png"]}))
    assert wire.body["contents"][0]["parts"] == [
        {"text": "a fox"},
        {"inlineData": {"mimeType": "image/png", "data": "aGVyZQ=="}},
        {"fileData": {"fileUri": "https://cdn.example/a.png"}},
    ]
    queue = open_client("key", api="queue")
    wire = queue.wire(ImageRequest.build(MODELS[3], "a fox", asked), seed=7)
    assert wire.path == "/fal-ai/flux/schnell"
    assert wire.body == {"prompt": "a fox", "image_size": "landscape_16_9", "seed": 7}
    assert wire.encoded() == queue.wire(ImageRequest.build(MODELS[3], "a fox", asked), seed=7).encoded()
    for client in (gemini, queue):
        client.close()


def test_a_mask_without_transparency_is_refused_where_transparency_marks(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path
) -> None:
    Image.new("RGB", (32, 32), "teal").save(tmp_path / "a.png")
    (tmp_path / "prompts.csv").write_text("prompt,picture,mask\none,a.png,a.png\n")
    how = {"image_column": ["picture"], "mask_column": "mask"}
    with pytest.raises(BadInput, match="the mask has no transparency"):
        buy(shop, ledger, tmp_path, "openai:gpt-image-1", 0, prompts=str(tmp_path / "prompts.csv"), options=how)
    assert shop.calls() == []


@pytest.mark.parametrize("model", ["openai:gpt-image-1", "openai/gpt-image-1"])
def test_pictures_go_in_as_a_form_with_their_mask(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str
) -> None:
    hashes = {}
    for name, colour in (("a", "teal"), ("b", "olive"), ("mask", "white")):
        Image.new("RGBA", (32, 32), colour).save(tmp_path / f"{name}.png")
        hashes[name] = hashlib.sha256((tmp_path / f"{name}.png").read_bytes()).hexdigest()
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt,picture,mask\none,a.png,mask.png\ntwo,a.png|b.png,\n")
    how = {"image_column": ["picture"], "mask_column": "mask"}
    for _ in range(2):
        states = buy(shop, ledger, tmp_path, model, 0, prompts=str(prompts), options=how)
        assert states == {"delivered": 2}
    assert len(shop.bill()["entries"]) == 2
    closes(shop, ledger)
    received = {frozenset(call["inputs"]) for call in shop.calls()}
    assert received == {frozenset({hashes["a"], hashes["mask"]}), frozenset({hashes["a"], hashes["b"]})}
    found = {row["prompt"]: [one["field"] for one in json.loads(row["inputs"])] for row in ledger.catalog.rows()}
    assert found == {"one": ["images", "mask"], "two": ["images", "images"]}


@pytest.mark.parametrize(
    ("model", "most", "field"),
    [
        ("gemini:gemini-3.1-flash-image", 2, "inlineData"),
        ("fal:fal-ai/flux-pro/kontext", 1, "image_url"),
        ("fal:fal-ai/nano-banana-2/edit", 2, "image_urls"),
    ],
)
def test_pictures_go_in_as_each_protocol_takes_them(
    shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str, most: int, field: str
) -> None:
    hashes = []
    for name in ("a.png", "b.jpg")[:most]:
        Image.new("RGB", (32, 32), "olive").save(tmp_path / name)
        hashes.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    prompts = tmp_path / "prompts.csv"
    prompts.write_text(f"prompt,picture\none,{'a.png|b.jpg' if most == 2 else 'a.png'}\n")
    for _ in range(2):
        states = buy(shop, ledger, tmp_path, model, 0, prompts=str(prompts), options={"image_column": ["picture"]})
        assert states == {"delivered": 1}
    assert len(shop.bill()["entries"]) == 1
    closes(shop, ledger)
    (call,), (row,) = [call for call in shop.calls() if call["billed"]], ledger.catalog.rows()
    assert call["inputs"] == hashes
    with Image.open(str(row["uri"]).removeprefix("file://")) as image:
        assert image.info["Inputs"] == " ".join(f"{field}={sha256}" for sha256 in hashes)
