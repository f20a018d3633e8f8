"""Every task is a real one, and a user's own flow can be made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import prefect_imagen.tasks as tasks
import pytest
from prefect import Task, flow
from prefect_imagen.blocks import AimlApiCredentials, ImageCatalog, LocalImageStore
from prefect_imagen.core.errors import BadInput, Unavailable
from prefect_imagen.core.ledger import LedgerBehind
from prefect_imagen.core.request import ImageChoice, RunRequest
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.tasks import (
    Batch,
    Cataloged,
    Rewritten,
    catalog_images,
    download_images,
    expand_prompts,
    generate_images,
    make_thumbnails,
    rewrite_prompts,
    upload_images,
)
from pydantic import SecretStr

from ..bill import check_bill

STEPS = [
    expand_prompts,
    rewrite_prompts,
    generate_images,
    download_images,
    upload_images,
    catalog_images,
    make_thumbnails,
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", image_bytes=10_000) as server:
        yield server


@pytest.fixture
def blocks(
    sandbox: SandboxServer, tmp_path: Path, imagen_home: Path, prefect_api: str
) -> Iterator[tuple[AimlApiCredentials, LocalImageStore, ImageCatalog]]:
    sandbox.clear_faults()
    sandbox.reset()
    catalog = ImageCatalog(url=SecretStr(str(tmp_path / "ledger.db")))
    yield (
        AimlApiCredentials(api_key=SecretStr("key"), base_url=sandbox.base_url),
        LocalImageStore(folder=str(tmp_path / "images")),
        catalog,
    )
    sandbox.clear_faults()
    check_bill(catalog.get_ledger(), sandbox)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_steps_are_real_tasks(step: Task[..., object]) -> None:
    assert isinstance(step, Task)
    assert callable(step.map)
    assert step.with_options(retries=7).retries == 7


def test_what_is_exported_exists() -> None:
    assert all(hasattr(tasks, name) for name in tasks.__all__)


def test_a_flow_of_ones_own(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer, imagen_home: Path
) -> None:
    credentials, store, catalog = blocks

    @flow
    def mine() -> Cataloged:
        run = expand_prompts(["a {red|blue} fox", "a dog"], store=store, catalog=catalog)
        generated = generate_images(run, credentials, store=store, catalog=catalog)
        downloaded = download_images(generated, credentials, store=store, catalog=catalog)
        uploaded = upload_images(downloaded, store, catalog=catalog)
        return catalog_images(uploaded, catalog=catalog)

    assert mine().states == {"delivered": 3}
    assert len(sandbox.bill()["entries"]) == 3
    # All of it again: the steps find nothing to do, and nothing is sent.
    assert mine().states == {}
    assert len(sandbox.calls()) == 3

    @flow
    def ready_to_look_at() -> tuple[int, int]:
        done = make_thumbnails(ImageChoice(text="fox"), catalog=catalog)
        return len(done.failed), done.made + done.there

    assert ready_to_look_at() == (0, 2)
    assert list((imagen_home / "thumbnails").rglob("*.webp"))


def test_only_the_step_that_buys_needs_to_know_the_api(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials, store, catalog = blocks
    for name in ("AIMLAPI_API_KEY", "AIMLAPI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    @flow
    def mine() -> tuple[Cataloged, str]:
        run = expand_prompts(["a {red|blue} fox"], store=store, catalog=catalog)
        generated = generate_images(run, credentials, store=store, catalog=catalog)
        downloaded = download_images(generated, store=store, catalog=catalog)
        return catalog_images(upload_images(downloaded, store, catalog=catalog), catalog=catalog), run.run_id

    cataloged, run_id = mine()
    assert cataloged.states == {"delivered": 2}
    assert catalog.get_ledger().runs.get(run_id)["outcome"] == "Completed"


def test_a_run_of_steps_ends_once_none_of_its_items_is_worked_on(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    credentials, store, catalog = blocks
    ledger = catalog.get_ledger()

    @flow
    def batches() -> list[str | None]:
        run = expand_prompts(["a red fox", "a blue fox", "a green fox"], store=store, catalog=catalog)
        generated = [
            generate_images(Batch(run.run_id, (item_id,)), credentials, store=store, catalog=catalog)
            for item_id in list(ledger.items.pending(run.run_id, destination=store.get_store().destination))[:2]
        ]
        ends = []
        for batch in generated:
            downloaded = download_images(batch, store=store, catalog=catalog)
            catalog_images(upload_images(downloaded, store, catalog=catalog), catalog=catalog)
            ends.append(ledger.runs.get(run.run_id)["outcome"])
        return ends

    assert batches() == [None, "Incomplete"]


def test_a_flow_that_rewrites(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    credentials, store, catalog = blocks
    options = {"rewrite": "gpt-4o-mini", "rewrites": 2, "brief": "calm"}

    @flow
    def mine() -> tuple[Rewritten, Cataloged]:
        run = expand_prompts(["a {red|blue} fox"], store=store, catalog=catalog, request=RunRequest.by_flag(options))
        rewritten = rewrite_prompts(run, credentials, store=store, catalog=catalog)
        generated = generate_images(rewritten, credentials, store=store, catalog=catalog)
        downloaded = download_images(generated, credentials, store=store, catalog=catalog)
        uploaded = upload_images(downloaded, store, catalog=catalog)
        return rewritten, catalog_images(uploaded, catalog=catalog)

    texts, images = mine()
    assert texts.states == images.states == {"delivered": 4}
    assert [call["endpoint"] for call in sandbox.calls()] == ["chat"] * 4 + ["images"] * 4
    mine()
    assert len(sandbox.calls()) == 8


def test_the_step_that_rewrites_cannot_be_left_out(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    credentials, store, catalog = blocks

    @flow
    def mine() -> None:
        run = expand_prompts(["a fox"], store=store, catalog=catalog, request=RunRequest(rewrite="gpt-4o-mini"))
        generate_images(run, credentials, store=store, catalog=catalog)

    with pytest.raises(BadInput, match="call rewrite_prompts before"):
        mine()
    assert sandbox.calls() == []


def test_steps_that_failed_half_way_are_taken_up_where_they_stopped(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    credentials, store, catalog = blocks

    @flow
    def halves() -> Cataloged:
        run = expand_prompts(["a fox", "a dog"], store=store, catalog=catalog)
        generate_images(run, credentials, store=store, catalog=catalog)
        # The rest of the flow did not happen. A later one takes up what is paid.
        again = generate_images(run, credentials, store=store, catalog=catalog)
        downloaded = download_images(again, credentials, store=store, catalog=catalog)
        return catalog_images(upload_images(downloaded, store, catalog=catalog), catalog=catalog)

    assert halves().states == {"delivered": 2}
    assert len(sandbox.bill()["entries"]) == 2


def test_batches_can_be_mapped(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    from prefect import unmapped

    credentials, store, catalog = blocks

    @flow
    def mapped() -> int:
        run = expand_prompts([f"prompt {n}" for n in range(6)], store=store, catalog=catalog)
        ids = list(catalog.get_ledger().items.pending(run.run_id, destination=store.get_store().destination))
        batches = [Batch(run.run_id, tuple(ids[n : n + 2])) for n in (0, 2, 4)]
        futures = generate_images.map(batches, unmapped(credentials), store=unmapped(store), catalog=unmapped(catalog))
        return sum(len(generated.item_ids) for generated in futures.result())

    assert mapped() == 6
    assert len(sandbox.bill()["entries"]) == 6


def test_an_api_that_is_down_is_for_a_retry_and_costs_nothing(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    _, store, catalog = blocks
    tries: list[int] = []

    def count(*_: object) -> None:
        tries.append(1)

    @flow
    def down(credentials: AimlApiCredentials) -> None:
        run = expand_prompts(["a fox"], store=store, catalog=catalog)
        generate_images.with_options(retries=1, retry_delay_seconds=0, on_running=[count])(
            run, credentials, store=store, catalog=catalog
        )

    with pytest.raises(Unavailable, match="cannot reach the API"):
        down(AimlApiCredentials(api_key=SecretStr("key"), base_url="http://127.0.0.1:9"))
    ledger = catalog.get_ledger()
    run_id = ledger.runs.latest()
    assert run_id is not None
    assert ledger.runs.progress(run_id).items["planned"] == 1
    assert ledger.costs.of().billed_at_most == 0
    assert sandbox.calls() == []
    assert len(tries) == 2


def test_bad_input_is_not_retried(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    _credentials, store, catalog = blocks

    @flow
    def refused() -> None:
        expand_prompts(["a fox"], RunRequest(aspect_ratio="5:7"), store=store, catalog=catalog)

    with pytest.raises(BadInput, match="aspect_ratio: '5:7' is not allowed"):
        refused()
    assert catalog.get_ledger().runs.latest() is None


def test_a_step_on_its_own_does_not_buy_with_a_ledger_that_is_behind(
    blocks: tuple[AimlApiCredentials, LocalImageStore, ImageCatalog], sandbox: SandboxServer
) -> None:
    credentials, store, catalog = blocks

    @flow
    def mine() -> None:
        run = expand_prompts(["a fox"], store=store, catalog=catalog)
        marker = Path(store.folder, ".prefect-imagen-ledger.json")
        marker.write_text(json.dumps({**json.loads(marker.read_text()), "number": 7}))
        generate_images(run, credentials, store=store, catalog=catalog)

    with pytest.raises(LedgerBehind, match="reconcile"):
        mine()
    assert sandbox.stats()["posts"] == 0
