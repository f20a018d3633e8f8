"""`deploy init`: a file of deployments for the blocks that are saved, in which nothing starts by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect_imagen.blocks import AimlApiCredentials, ImageCatalog, LocalImageStore, S3ImageStore
from pydantic import SecretStr

from .conftest import Said, Terminal

Here = Callable[..., Said]


@pytest.fixture
def name(terminal: Terminal, prefect_api: str, tmp_path: Path) -> str:
    """Of a key and of a catalog for one machine, which are saved."""
    name = "".join(character for character in tmp_path.name.lower() if character.isalnum())[-40:]
    AimlApiCredentials(api_key=SecretStr("key"), base_url=terminal.sandbox.base_url).save(name)
    ImageCatalog(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db")).save(name)
    return name


def written(terminal: Terminal) -> dict[str, Any]:
    document = yaml.safe_load((terminal.folder / "mine" / "prefect.yaml").read_text())
    return {row["name"]: row for row in document["deployments"]}


def test_a_folder_on_one_machine(here: Here, terminal: Terminal, name: str) -> None:
    LocalImageStore(folder=str(terminal.folder / "out")).save(name)
    said = here("deploy", "init", "mine", "--blocks", name, "--budget-usd", "3", "--timezone", "Europe/Berlin")
    assert said.code == 0, said.err
    rows = written(terminal)
    reviews = {"review-chain", "review", "review-resume"}
    assert rows.keys() == {"nightly", "on-demand", "on-event", "repair", "provenance", *reviews}, (
        "a fan-out needs PostgreSQL"
    )
    assert {row["schedules"][0]["active"] for row in rows.values() if "schedules" in row} == {False}
    assert rows["on-event"]["triggers"][0]["enabled"] is False
    nightly = rows["nightly"]["parameters"]
    assert nightly["store"] == {"$ref": {"block_document_slug": f"local-image-store/{name}"}}
    assert (nightly["budget_usd"], nightly["edition_timezone"]) == (3, "Europe/Berlin")
    chain = rows["review-chain"]["parameters"]
    assert (chain["request"]["budget_usd"], chain["regenerate_usd"]) == (3, 3)
    assert chain["to"] == f"{(terminal.folder / 'out').as_uri()}-approved"
    assert Path(nightly["prompts"]).read_text().startswith("prompt\n")
    assert "CHANGE\n" not in (terminal.folder / "mine" / "prefect.yaml").read_text().partition("active: false")[0]
    assert "prefect --no-prompt deploy --all --prefect-file mine/prefect.yaml" in said.out

    again = here("deploy", "init", "mine", "--blocks", name, "--budget-usd", "3")
    assert again.code == 2
    assert "is there already" in again.err


def test_a_bucket_and_many_machines_that_start_by_themselves(here: Here, terminal: Terminal, name: str) -> None:
    S3ImageStore(bucket="my-images").save(name)
    ImageCatalog(url=SecretStr("postgresql://imagen@db/imagen")).save(name, overwrite=True)
    given = ("--prompts", "s3://my-images/p.csv", "--pool", "night shift", "--cron", "5 4 * * *", "--activate")
    said = here("deploy", "init", "mine", "--blocks", name, "--budget-usd", "20", *given)
    assert said.code == 0, said.err
    rows = written(terminal)
    assert {"fanout", "imagen-shard"} <= rows.keys()
    assert rows["review-chain"]["parameters"]["to"] == "s3://my-images/approved"
    assert rows["fanout"]["parameters"]["request"]["budget_usd"] == 20
    assert {row["work_pool"]["name"] for row in rows.values()} == {"night shift"}
    assert rows["nightly"]["schedules"] == [{"cron": "5 4 * * *", "timezone": "UTC", "slug": "nightly", "active": True}]
    assert rows["on-event"]["triggers"][0]["enabled"] is True
    assert rows["nightly"]["parameters"]["prompts"] == "s3://my-images/p.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--budget-usd"),
        (("--budget-usd", "3", "--cron", "at night"), "'at night' is not a cron expression"),
        (("--budget-usd", "3", "--timezone", "Mars/Olympus"), "not a time zone"),
        (("--budget-usd", "3", "--prompts", "nope.csv"), "nope.csv: there is no such file"),
        (("--budget-usd", "3", "--blocks", "nobody"), "prefect-imagen blocks create"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    here: Here, terminal: Terminal, name: str, arguments: tuple[str, ...], message: str
) -> None:
    LocalImageStore(folder=str(terminal.folder / "out")).save(name)
    said = here("deploy", "init", "mine", *(() if "--blocks" in arguments else ("--blocks", name)), *arguments)
    assert said.code == 2
    assert message in said.err
    assert not (terminal.folder / "mine" / "prefect.yaml").exists()
