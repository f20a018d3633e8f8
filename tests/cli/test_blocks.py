"""`blocks create` and `doctor`: against a real server, sandbox, S3 and database; right, and each part wrong."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.blocks import AimlApiCredentials, ImageCatalog, LocalImageStore, S3ImageStore
from prefect_imagen.cli import checks
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import IMAGEN, KEY, Said, Terminal

Here = Callable[..., Said]


@pytest.fixture(scope="module")
def s3(s3_server: LocalS3) -> LocalS3:
    s3_server.create_bucket("my-images")
    return s3_server


@pytest.fixture
def aws(s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> LocalS3:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    return s3


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Of blocks that no other test has: the server is shared."""
    return "".join(character for character in tmp_path.name.lower() if character.isalnum())[-40:]


def _create(here: Here, s3: LocalS3, name: str, *more: str) -> Said:
    return here(
        "blocks", "create", "--name", name, "--to", "s3://my-images/x", "--endpoint-url", s3.endpoint_url, *more
    )


def test_blocks_are_made_checked_and_updated(here: Here, prefect_api: str, aws: LocalS3, name: str) -> None:
    said = _create(here, aws, name, "--region", "us-east-1", "--json")
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert [row["state"] for row in document["blocks"]] == ["created"] * 3
    assert "$1,000.00 left" in document["blocks"][0]["checked"]
    assert document["parameters"]["store"] == {"$ref": {"block_document_slug": f"s3-image-store/{name}"}}
    # The probe lies at its fixed key, the catalog is migrated, and all three can be used.
    assert aws.client().get_object(Bucket="my-images", Key="x/.prefect-imagen-probe")
    assert AimlApiCredentials.load(name).get_client().check_key() == 1000  # type: ignore[union-attr]
    store = S3ImageStore.load(name)
    assert isinstance(store, S3ImageStore)
    assert (store.region, store.access_key_id) == ("us-east-1", None)
    catalog = ImageCatalog.load(name)
    assert isinstance(catalog, ImageCatalog)
    Ledger(catalog.url.get_secret_value(), create=False).close()

    said = _create(here, aws, name, "--save-s3-keys")
    assert said.code == 0, said.err
    states = [line.split()[1] for line in said.out.splitlines() if f"/{name} " in line and "$ref" not in line]
    assert states == ["unchanged", "updated", "unchanged"]
    assert f"store: {{ $ref: {{ block_document_slug: s3-image-store/{name} }} }}" in said.out
    assert aws.secret_key not in said.out
    store = S3ImageStore.load(name)
    assert isinstance(store, S3ImageStore)
    assert store.secret_access_key is not None
    assert store.secret_access_key.get_secret_value() == aws.secret_key


def test_a_folder_is_saved_with_its_whole_path(here: Here, prefect_api: str, name: str) -> None:
    assert here("blocks", "create", "--name", name, "--to", "pictures", "--catalog", "books.db").code == 0
    folder, catalog = LocalImageStore.load(name), ImageCatalog.load(name)
    assert isinstance(folder, LocalImageStore)
    assert isinstance(catalog, ImageCatalog)
    assert folder.folder == str(Path.cwd() / "pictures")
    assert catalog.url.get_secret_value() == f"sqlite:///{Path.cwd()}/books.db"


def test_nothing_is_saved_unless_all_is_right(here: Here, prefect_api: str, aws: LocalS3, name: str) -> None:
    said = here(
        "blocks", "create", "--name", name, "--to", "s3://no-such-bucket", "--endpoint-url", aws.endpoint_url,
        "--base-url", "http://127.0.0.1:9", "--catalog", "/dev/null/x.db",
    )  # fmt: skip
    assert said.code == 2
    assert "nothing was saved" in said.err
    for part in ("cannot reach the API", "the bucket does not exist", "cannot be made"):
        assert part in said.err
    for kind in (AimlApiCredentials, S3ImageStore, ImageCatalog):
        with pytest.raises(ValueError, match=name):
            kind.load(name)


def test_what_is_missing_is_said_where_nobody_can_be_asked(
    here: Here, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--to is not set" in here("blocks", "create").err
    monkeypatch.delenv("AIMLAPI_API_KEY")
    said = here("blocks", "create", "--to", "x")
    assert (said.code, "AIMLAPI_API_KEY is not set" in said.err) == (2, True)
    said = here("blocks", "create", "--to", "x", "--region", "eu")
    assert said.code == 2


def test_without_a_server_there_is_nowhere_to_save(terminal: Terminal) -> None:
    said = terminal.run("blocks", "create", "--to", "x")
    assert said.code == 2
    assert "set PREFECT_API_URL" in said.err


def test_the_key_is_asked_for_and_not_shown(terminal: Terminal, prefect_api: str, name: str) -> None:
    """In a real terminal: what is typed as the key is not echoed."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in terminal.environment.items() if key != "AIMLAPI_API_KEY"}
    process = subprocess.Popen(
        [str(IMAGEN), "blocks", "create", "--name", name, "--to", "pictures"],
        cwd=terminal.folder,
        env={**environment, "PREFECT_API_URL": prefect_api},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while not seen.endswith(b": "):  # the blank comes when the echo is off; what is typed before is thrown away
        seen += os.read(ours, 4096)
    os.write(ours, f"{KEY}\n".encode())
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # the other side is closed: the command has ended
        pass
    os.close(ours)
    assert process.wait(60) == 0, seen
    assert b"created" in seen
    assert KEY.encode() not in seen
    saved = AimlApiCredentials.load(name)
    assert isinstance(saved, AimlApiCredentials)
    assert saved.api_key.get_secret_value() == KEY


def _lines(said: Said) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for line in json.loads(said.out)["checks"]:
        found.setdefault(line["check"], []).append((line["state"], line["message"]))
    return found


def test_doctor_finds_all_well(here: Here, no_deployments: None, aws: LocalS3, name: str) -> None:
    assert _create(here, aws, name).code == 0
    said = here("doctor", "--blocks", name)
    assert said.code == 0
    assert "All well" in said.out
    for check in ("versions", "server", "blocks", "API", "bucket", "database"):
        assert any(line.split()[:2] == ["ok", check] for line in said.out.splitlines()), said.out
    assert " price " in said.out
    assert " model " in said.out


def test_doctor_says_what_to_do(
    here: Here, no_deployments: None, sandbox: SandboxServer, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A ledger of another API, with a call that nobody knows the outcome of; a wrong key; no bucket.
    ledger = Ledger(str(tmp_path / "ledger.db"))
    ledger.bind("https://elsewhere.example")
    ledger.close()
    monkeypatch.setenv("AIMLAPI_API_KEY", " ")
    said = here(
        "doctor", "--blocks", name, "--to", "s3://no-such-bucket", "--endpoint-url", "http://127.0.0.1:9", "--json"
    )
    assert said.code == 1
    assert json.loads(said.out)["ok"] is False
    lines = _lines(said)
    assert lines["blocks"][0] == (
        "note", f"'{name}' has no credentials, store, catalog: `prefect-imagen blocks create` saves all three"
    )  # fmt: skip
    assert lines["API"][0][0] == "problem"
    assert "set AIMLAPI_API_KEY" in lines["API"][0][1]
    assert lines["bucket"][0][0] == "problem"
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    problem = _lines(here("doctor", "--blocks", name, "--json"))["database"][1]
    assert problem[0] == "problem"
    assert "the account of https://elsewhere.example, but the key is for sandbox" in problem[1]


def test_doctor_without_a_server(terminal: Terminal) -> None:
    said = terminal.run("doctor", "--json")
    lines = _lines(said)
    assert said.code == 0
    assert lines["server"][0][0] == "note"
    assert "`run` works without; deployments need it" in lines["server"][0][1]
    assert lines["database"][0] == ("ok", lines["database"][0][1])
    assert "the first run makes it" in lines["database"][0][1]
    # Looking makes nothing.
    assert not Path(terminal.environment["PREFECT_IMAGEN_CATALOG"]).exists()


def test_doctor_with_a_server_that_is_gone(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        said = here("doctor", "--json")
    assert said.code == 1
    state, message = _lines(said)["server"][0]
    assert state == "problem"
    assert "start it, or correct PREFECT_API_URL" in message


def test_doctor_tells_wrong_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    wanted: Any = lambda _: ["prefect>=99", "no-such-package>=1", "moto; extra == 'never'"]  # noqa: E731
    monkeypatch.setattr(importlib.metadata, "requires", wanted)
    with pytest.raises(checks.BadInput, match=r"prefect>=99 is needed, 3.*; no-such-package>=1 is needed, none"):
        checks.check_packages()
