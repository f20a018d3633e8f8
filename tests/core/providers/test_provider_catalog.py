"""The API's catalogue: what it says of prices and of models that go, what is kept of it, and when it is given up."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.plan import BatchSpec, ModelAvailability, make_terms, open_batch
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.providers import Endpoint, ImageRequest, UnknownModel, WithdrawnModel, load_registry
from prefect_imagen.core.providers.aimlapi.catalog import fetch_provider_catalog
from prefect_imagen.core.providers.catalog import DeprecationNotice, ProviderCatalog
from prefect_imagen.core.providers.request import UnknownPrice
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.run.checks import with_terms
from prefect_imagen.sandbox import SandboxServer

from ...waiting import until

IMAGEN, NANO = "google/imagen4/preview", "google/nano-banana-2"
REGISTRY = load_registry()


@dataclass
class Api:
    """A catalogue that answers as it is told, and counts."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    base_url: str = ""


@pytest.fixture
def api() -> Iterator[Api]:
    state = Api({"object": "list", "data": []})
    wake = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("If-None-Match")))
            assert "Authorization" not in self.headers
            wake.wait(state.delay)
            self.send_response(state.status)
            body = state.body if isinstance(state.body, bytes) else json.dumps(state.body).encode()
            if state.status == 304:
                body = b""
            for name, value in {**state.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    wake.set()
    server.shutdown()
    thread.join()
    server.server_close()


def quoted(pricing: Any, model: str = IMAGEN) -> Any:
    provider = ProviderCatalog("x", pricing={model: pricing})
    return provider.price(REGISTRY.resolve(model))


def test_a_price_is_divided_and_the_dearer_one_is_reserved() -> None:
    fixed = {"kind": "fixed", "currency": "USD", "units": [{"name": "image", "price": 60, "per": 1000}]}
    price = quoted(fixed)
    assert (price.usd, price.usd_high, price.source) == (Decimal("0.06"), Decimal("0.06"), "the API's catalogue")
    fixed["units"] = [{"name": "image", "price": 0.04, "per": 1}]
    assert (quoted(fixed).usd, quoted(fixed).usd_high) == (Decimal("0.04"), Decimal("0.053"))


def test_variants_are_reserved_at_the_dearest() -> None:
    variants = [
        {"when": {"resolution": name}, "price": price, "unit": "image", "per": 1}
        for name, price in (("1K", 0.1), ("2K", 0.15), ("4K", 0.3))
    ]
    price = quoted({"kind": "variants", "currency": "USD", "dimensions": ["resolution"], "variants": variants}, NANO)
    assert (price.usd, price.usd_high) == (Decimal("0.1"), Decimal("0.3"))


def test_megapixels_are_reserved_for_the_largest_image() -> None:
    units = [{"name": "megapixel", "price": 0.01, "per": 1}]
    price = quoted({"kind": "fixed", "currency": "USD", "units": units}, "blackforestlabs/flux-2-max")
    assert (price.usd, price.usd_high) == (Decimal("0.01"), Decimal("0.04"))


@pytest.mark.parametrize(
    "pricing",
    [
        None,
        {"kind": "variable"},
        {"kind": "fixed", "currency": "EUR", "units": [{"name": "image", "price": 1, "per": 1}]},
        {"kind": "fixed", "units": [{"name": "token", "price": 1, "per": 1_000_000}]},
        {"kind": "fixed", "units": [{"name": "image", "price": "x", "per": 1}]},
        {"kind": "fixed", "units": [{"name": "image", "price": 1, "per": 0}]},
        {"kind": "fixed", "units": "none"},
        {"kind": "fixed", "units": [{"name": "image", "price": 0, "per": 1}]},
        ["what"],
    ],
)
def test_what_cannot_be_quoted_leaves_the_registrys_price(pricing: Any) -> None:
    assert quoted(pricing) == REGISTRY.resolve(IMAGEN).spec.price
    assert quoted(pricing, "luma/uni-1") is None
    terms = make_terms(ProviderCatalog("x", pricing={"luma/uni-1": pricing}), ["luma/uni-1"], "aimlapi")
    with pytest.raises(UnknownPrice):
        BatchSpec(PromptSpec(["a fox"]), "luma/uni-1", terms=terms).candidates()


def test_a_quoted_price_is_enough_to_buy() -> None:
    pricing = {"kind": "fixed", "currency": "USD", "units": [{"name": "image", "price": 0.25, "per": 1}]}
    terms = make_terms(ProviderCatalog("x", pricing={"luma/uni-1": pricing}), ["luma/uni-1"], "aimlapi")
    (form,) = BatchSpec(PromptSpec(["a fox"]), "luma/uni-1", terms=terms).forms()
    assert form.price_high == 500_000


def test_notices() -> None:
    spec = REGISTRY.resolve(NANO).spec
    today = date(2026, 11, 25)

    def notice(**row: Any) -> DeprecationNotice:
        return ProviderCatalog("x", notices={"google/gemini-3-1-flash-image-preview": row}).notice(spec)

    assert notice(status="withdrawn").withdrawn(today)
    assert not notice(status="deprecated", shutdown_at="2026-12-01").withdrawn(today)
    assert notice(status="deprecated", shutdown_at="2026-11-25").withdrawn(today)
    assert notice(status="superseded", replaced_by="a/b").successor == "a/b"
    assert not notice(status="superseded", shutdown_at=None).withdrawn(today)
    assert ProviderCatalog("x").notice(spec) == DeprecationNotice("listed", None, None, "")
    assert ProviderCatalog("x").notice(REGISTRY.resolve("dall-e-2", allow_withdrawn=True).spec).withdrawn(today)


def test_answers_are_kept_and_asked_for_again_by_etag(api: Api, tmp_path: Path) -> None:
    api.body = {"data": [{"id": IMAGEN, "aliases": ["imagen4/preview"], "pricing": {"kind": "variable"}}]}
    api.headers = {"ETag": 'W/"1"', "Cache-Control": "public, max-age=60"}
    provider = fetch_provider_catalog(api.base_url, tmp_path)
    assert (provider.problem, set(provider.pricing)) == ("", {IMAGEN, "imagen4/preview"})
    assert provider.lists(REGISTRY.resolve(IMAGEN).spec) is True
    assert provider.lists(REGISTRY.resolve(NANO).spec) is False
    assert len(api.asked) == 2
    fetch_provider_catalog(api.base_url, tmp_path)
    assert len(api.asked) == 2, "it was asked within max-age"
    api.status = 304
    again = fetch_provider_catalog(api.base_url, tmp_path, fresh=True)
    assert [etag for _, etag in api.asked[2:]] == ['W/"1"'] * 2
    assert (again.problem, again.pricing) == ("", provider.pricing)


def test_a_catalogue_that_is_away_is_remembered_for_a_week(api: Api, tmp_path: Path) -> None:
    api.body = {"data": [{"id": IMAGEN, "aliases": None, "status": "withdrawn"}]}
    fetch_provider_catalog(api.base_url, tmp_path)
    api.status = 500
    provider = fetch_provider_catalog(api.base_url, tmp_path, fresh=True)
    assert "answered 500; what it said at" in provider.problem
    assert set(provider.notices) == {IMAGEN}
    for file in tmp_path.iterdir():
        kept = json.loads(file.read_text())
        file.write_text(json.dumps({**kept, "heard_at": kept["heard_at"] - 8 * 86_400}))
    provider = fetch_provider_catalog(api.base_url, tmp_path, fresh=True)
    assert (provider.heard_at, dict(provider.notices)) == (None, {})


@pytest.mark.parametrize("body", [b"<html>", b'{"data": 1}', b"[]", b'{"data": [', b"{" * 100_000])
def test_what_cannot_be_read_is_no_catalogue(body: bytes, api: Api, tmp_path: Path) -> None:
    api.body = body
    provider = fetch_provider_catalog(api.base_url, tmp_path)
    assert provider.problem
    assert provider.price(REGISTRY.resolve(IMAGEN)) == REGISTRY.resolve(IMAGEN).spec.price


def test_it_is_quick_to_give_up_and_asks_once(api: Api, tmp_path: Path) -> None:
    api.delay = 30
    provider = fetch_provider_catalog(api.base_url, tmp_path, seconds=0.2)
    assert "does not answer (ReadTimeout)" in provider.problem
    until(lambda: api.asked, "the request to be read")
    assert len(api.asked) == 1
    provider = fetch_provider_catalog("http://127.0.0.1:1/v1", tmp_path, seconds=0.2)
    assert "does not answer (ConnectionError)" in provider.problem


def test_a_broken_memory_and_a_folder_that_cannot_be_written(api: Api, tmp_path: Path) -> None:
    fetch_provider_catalog(api.base_url, tmp_path)
    for file in tmp_path.iterdir():
        file.write_text("nonsense")
    assert fetch_provider_catalog(api.base_url, tmp_path).problem == ""
    assert fetch_provider_catalog(api.base_url, tmp_path / "file" / "folder").problem == ""
    (tmp_path / "taken").write_text("")
    assert fetch_provider_catalog(api.base_url, tmp_path / "taken" / "x").problem == ""


def test_offline_asks_nothing(api: Api, tmp_path: Path) -> None:
    assert fetch_provider_catalog(api.base_url, tmp_path, offline=True) == ProviderCatalog(
        api.base_url.removesuffix("/v1"), problem="not asked (offline)"
    )
    assert api.asked == []


# --- terms


@pytest.fixture
def labels(sandbox: SandboxServer) -> Iterator[Callable[..., None]]:
    yield lambda **models: sandbox.set_models(**models)
    sandbox.set_models()


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_IMAGEN_HOME", str(tmp_path / "home"))


def batch(**options: Any) -> Any:
    return open_batch(["a {red|blue} fox"], RunRequest.by_flag(options))


def test_a_withdrawn_model_names_its_successor_and_what_it_cannot_do(sandbox: SandboxServer, labels: Any) -> None:
    labels(**{IMAGEN: {"status": "withdrawn", "shutdown_at": "2026-11-01"}})
    with pytest.raises(WithdrawnModel, match=f"2026-11-01.*--fallback {NANO} buys") as caught:
        with_terms(batch(), Endpoint.find(base_url=sandbox.base_url))
    assert not caught.value.lenient
    with pytest.raises(WithdrawnModel, match=f"--fallback {NANO} --lenient, since"):
        with_terms(batch(set={"seed": 7}), Endpoint.find(base_url=sandbox.base_url))
    labels(**{IMAGEN: {"status": "withdrawn", "replaced_by": "x/y"}})
    with pytest.raises(WithdrawnModel, match="Its successor is x/y"):
        with_terms(batch(), Endpoint.find(base_url=sandbox.base_url))
    assert sandbox.calls() == []


def test_whoever_stands_in_is_bought_from(sandbox: SandboxServer, labels: Any) -> None:
    labels(**{IMAGEN: {"status": "withdrawn"}, NANO: {"status": "withdrawn"}, "flux/dev": {"price_usd": "0.5"}})
    ready = with_terms(
        batch(fallback=f"{NANO},flux/dev", set={"seed": 7}, lenient=True), Endpoint.find(base_url=sandbox.base_url)
    )
    assert (ready.active_index, ready.resolve().spec.id) == (2, "flux/dev")
    assert [form.price_high for form in ready.forms()] == [1_000_000]
    (first, _) = ready.run_items()
    assert [item.model for item in (first.item, *first.alternatives)] == [IMAGEN, NANO, "flux/dev"]
    assert dict(first.alternatives[1].parameters) == {"seed": 7, "image_size": "square_hd"}
    assert first.settled({}).model == "flux/dev"
    assert first.active_index == 2


def test_a_dearer_price_is_reserved_and_a_retiring_model_is_told_of(sandbox: SandboxServer, labels: Any) -> None:
    labels(**{IMAGEN: {"status": "deprecated", "shutdown_at": "2099-01-01", "price_usd": "0.2"}})
    ready = with_terms(batch(), Endpoint.find(base_url=sandbox.base_url))
    assert ready.forms()[0].price_high == 400_000
    assert f"{IMAGEN} is deprecated and will be withdrawn on 2099-01-01" in ready.terms.notes[0]
    assert ready.terms.retiring[IMAGEN].shutdown == date(2099, 1, 1)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"fallback": "nothing"}, UnknownModel, "unknown model 'nothing'"),
        ({"fallback": ","}, BadInput, "an empty name"),
        ({"fallback": "imagen4/preview"}, BadInput, "is named twice"),
        ({"fallback": NANO, "set": {"num_images": 4}}, BadInput, "one image a request"),
        ({"fallback": "google/imagen-4.0-generate-001", "prompts": ["x" * 500], "model": NANO}, BadInput, "400"),
    ],
)
def test_what_cannot_stand_in_is_found_before_anything_is_sent(
    options: dict[str, Any], error: type[Exception], said: str, sandbox: SandboxServer
) -> None:
    prompts = options.pop("prompts", ["a fox"])
    with pytest.raises(error, match=said):
        with_terms(
            open_batch(prompts, RunRequest.by_flag(options)), Endpoint.find(base_url=sandbox.base_url), offline=True
        ).check()
    assert sandbox.calls() == []


def test_combinations_that_a_successor_cannot_tell_apart_are_refused(sandbox: SandboxServer) -> None:
    two = batch(matrix={"seed": [1, 2]}, fallback=NANO, lenient=True)
    with pytest.raises(BadInput, match="are the same purchase"):
        with_terms(two, Endpoint.find(base_url=sandbox.base_url)).check()


def test_terms_travel() -> None:
    import pickle

    terms = make_terms(ProviderCatalog("x"), [IMAGEN, "dall-e-2"], "aimlapi")
    assert pickle.loads(pickle.dumps(terms)) == terms
    assert replace(terms, notes=()) != ModelAvailability()
    assert ImageRequest.build(terms.priced(REGISTRY.resolve(IMAGEN)), "a fox").price == 104_000
