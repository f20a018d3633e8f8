"""`doctor` looks at each deployment as its next run would: each part broken, one at a time, is said with its remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect_imagen.blocks import AimlApiCredentials, ImageCatalog, LocalImageStore
from prefect_imagen.core.ledger import Ledger
from pydantic import SecretStr

from .conftest import Said, Terminal

Here = Callable[..., Said]


@dataclass
class Site:
    """A deployment with all that it needs, until a test takes a part of it away."""

    client: SyncPrefectClient
    terminal: Terminal
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def save(self, block: Any) -> None:
        block.save(self.name, overwrite=True)

    def make_pool(self, kind: str, *, worker: bool) -> None:
        self.client.create_work_pool(WorkPoolCreate(name=self.name, type=kind), overwrite=False)
        if worker:
            self.client.send_worker_heartbeat(self.name, "a worker", heartbeat_interval_seconds=600)

    def replace_pool(self, kind: str, *, worker: bool) -> None:
        self.client.delete_work_pool(self.name)
        self.make_pool(kind, worker=worker)

    @property
    def ledger(self) -> str:
        return f"sqlite:///{self.terminal.folder}/site.db"


@pytest.fixture
def site(terminal: Terminal, no_deployments: None, tmp_path: Path) -> Iterator[Site]:
    name = "".join(character for character in tmp_path.name.lower() if character.isalnum())[-40:]
    with get_client(sync_client=True) as client:
        site = Site(client, terminal, name)
        site.save(AimlApiCredentials(api_key=SecretStr("key"), base_url=terminal.sandbox.base_url))
        site.save(LocalImageStore(folder=str(terminal.folder / "out")))
        site.save(ImageCatalog(url=SecretStr(site.ledger)))
        site.make_pool("process", worker=True)
        terminal.write("night.csv", "prompt\na fox\n")
        site.parameters = {
            "prompts": str(terminal.folder / "night.csv"),
            "budget_usd": 1,
            "edition": "{scheduled_date}",
            "credentials": {"$ref": {"block_document_slug": f"aimlapi-credentials/{name}"}},
            "store": {"$ref": {"block_document_slug": f"local-image-store/{name}"}},
            "catalog": {"$ref": {"block_document_slug": f"image-catalog/{name}"}},
        }
        yield site


def examine(here: Here, site: Site) -> tuple[int, list[str]]:
    """Deploy, and ask. Returns the exit code, and the problems."""
    site.client.create_deployment(
        site.client.create_flow_from_name("imagen_pipeline"),
        "nightly",
        work_pool_name=site.name,
        parameters=site.parameters,
        entrypoint="prefect_imagen.flows.pipeline.imagen_pipeline",
        enforce_parameter_schema=False,
    )
    said = here("doctor", "--blocks", site.name, "--json")
    lines = json.loads(said.out)["checks"]
    return said.code, [f"{line['check']}: {line['message']}" for line in lines if line["state"] == "problem"]


def test_all_is_well(here: Here, site: Site) -> None:
    assert examine(here, site) == (0, [])


def _unsaved(site: Site) -> None:
    site.parameters["store"] = {"$ref": {"block_document_slug": "s3-image-store/nobody"}}


def _unreachable(site: Site) -> None:
    site.save(AimlApiCredentials(api_key=SecretStr("key"), base_url="http://127.0.0.1:9/v1"))


def _another_account(site: Site) -> None:
    ledger = Ledger(site.ledger)
    ledger.bind("https://elsewhere.example")
    ledger.close()


def _paused(site: Site) -> None:
    site.client.update_work_pool(site.name, WorkPoolUpdate(is_paused=True))


def _given(**parameters: Any) -> Callable[[Site], None]:
    return lambda site: site.parameters.update(parameters)


BROKEN: dict[str, tuple[Callable[[Site], None], str]] = {
    "a block": (_unsaved, "nightly: store: there is no block s3-image-store/nobody: .*`prefect-imagen deploy init"),
    "the API": (_unreachable, "nightly: credentials: the block aimlapi-credentials/.*cannot reach the API"),
    "the database": (
        lambda site: site.save(ImageCatalog(url=SecretStr("sqlite:////dev/null/x.db"))),
        "nightly: catalog: the block image-catalog/",
    ),
    "the account": (_another_account, "nightly: its catalog is the account of https://elsewhere.example"),
    "the folder": (
        lambda site: site.save(LocalImageStore(folder="/proc/images")),
        "nightly: store: the block local-image-store/.*/proc/images",
    ),
    "the workers": (
        lambda site: site.replace_pool("process", worker=False),
        "pool: no worker of .* is alive: `prefect worker start --pool ",
    ),
    "the pool": (_paused, "is paused: `prefect work-pool resume "),
    "the kind of pool": (
        lambda site: site.replace_pool("docker", worker=True),
        r"night\.csv is a file of this machine, and the pool is of type docker",
    ),
    "the prompts": (
        lambda site: (site.terminal.folder / "night.csv").unlink(),
        r"nightly: .*night\.csv: there is no such file",
    ),
    "the template": (_given(template="{{ product }}"), "nightly: .*product"),
    "the model": (_given(model="imagen-4.0-ultra-generate-preview-06-06"), "nightly: .*withdrawn"),
    "the budget": (_given(budget_usd=None), "nightly: it has no budget, .*`prefect-imagen budget --day 20`"),
    "too small a budget": (_given(budget_usd=0.01), "nightly: the budget of .* is below the price of one item"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_a_part_that_is_broken_is_said_with_its_remedy(here: Here, site: Site, part: str) -> None:
    take_away, message = BROKEN[part]
    take_away(site)
    code, problems = examine(here, site)
    assert code == 1
    assert any(re.search(message, problem) for problem in problems), problems
