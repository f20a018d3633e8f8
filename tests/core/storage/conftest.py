"""A real SeaweedFS for the session, and every kind of store for the tests that all of them must pass."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.core.storage import LocalStore, ObjectStore, S3Store, open_store
from prefect_imagen.sandbox.local_s3 import LocalS3

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def no_aws_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No credentials, profile, proxy or metadata service but what a test sets."""
    empty = tmp_path_factory.getbasetemp() / "no-such-file"
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(empty))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(empty))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3(s3_server: LocalS3) -> S3Store:
    """A store under a prefix of the test's own."""
    store = open_store(f"s3://pictures/test-{next(_numbers)}/deep", **s3_server.options)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    root = tmp_path / "store"
    root.mkdir()
    return LocalStore(root)


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[bytes], tuple[Path, str]]:
    """Write bytes to a file; its path and SHA-256."""

    def make(data: bytes) -> tuple[Path, str]:
        digest = hashlib.sha256(data).hexdigest()
        path = tmp_path / f"{digest[:16]}.png"
        path.write_bytes(data)
        return path, digest

    return make
