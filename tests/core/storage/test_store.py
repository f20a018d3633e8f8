"""What S3 and a folder promise alike, each on the real thing."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput, ImagenError, Unavailable
from prefect_imagen.core.files import SpoolUnavailable
from prefect_imagen.core.storage import (
    PROBE_KEY,
    ChecksumMismatch,
    KeyTaken,
    ObjectMissing,
    ObjectStore,
    StoreNotUsable,
    StoreUnavailable,
)

FileOf = Callable[[bytes], tuple[Path, str]]
KEY = "google/imagen4/preview/0123abcd/1-0.png"


def put(store: ObjectStore, file: tuple[Path, str], key: str = KEY, **options: Any) -> Any:
    return store.put(key, file[0], sha256=file[1], content_type="image/png", **options)


def test_put_then_head_get(store: ObjectStore, file_of: FileOf, tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    file = file_of(data)
    stored = put(store, file)
    assert (stored.key, stored.size, stored.sha256, stored.created) == (KEY, len(data), file[1], True)
    assert stored.uri == f"{store.destination}/{KEY}" == store.uri(KEY)
    info = store.head(KEY)
    assert info is not None
    assert (info.key, info.size, info.sha256, info.content_type) == (KEY, len(data), file[1], "image/png")
    got = store.get(KEY, tmp_path / "back")
    assert got.path.read_bytes() == data
    assert (got.size, got.sha256, got.content_type) == (len(data), file[1], "image/png")


def test_empty_file(store: ObjectStore, file_of: FileOf, tmp_path: Path) -> None:
    assert put(store, file_of(b"")).size == 0
    assert store.get(KEY, tmp_path / "back").size == 0
    assert put(store, file_of(b"")).created is False


def test_same_content_twice_is_one_object(store: ObjectStore, file_of: FileOf) -> None:
    first, second = put(store, file_of(b"same")), put(store, file_of(b"same"))
    assert (first.created, second.created) == (True, False)
    assert (first.uri, first.sha256, first.etag) == (second.uri, second.sha256, second.etag)


@pytest.mark.parametrize("other", [b"othr", b"longer"])
def test_other_content_is_never_overwritten(store: ObjectStore, file_of: FileOf, tmp_path: Path, other: bytes) -> None:
    put(store, file_of(b"mine"))
    with pytest.raises(KeyTaken, match="exists with other content") as caught:
        put(store, file_of(other))
    assert caught.value.uri == store.uri(KEY)
    assert store.get(KEY, tmp_path / "back").path.read_bytes() == b"mine"


def test_wrong_checksum_stores_nothing(store: ObjectStore, file_of: FileOf) -> None:
    path, _ = file_of(b"what arrived")
    with pytest.raises(ChecksumMismatch):
        put(store, (path, hashlib.sha256(b"what was meant").hexdigest()))
    assert store.head(KEY) is None


def test_upper_case_hash_is_the_same_hash(store: ObjectStore, file_of: FileOf) -> None:
    path, digest = file_of(b"x")
    assert put(store, (path, digest.upper())).sha256 == digest
    assert put(store, (path, digest)).created is False


def test_sixteen_threads_race_for_a_key(store: ObjectStore, file_of: FileOf) -> None:
    same = file_of(b"the same" * 10_000)
    with ThreadPoolExecutor(16) as pool:
        made = [one.created for one in pool.map(lambda _: put(store, same), range(16))]
    assert sorted(made) == [False] * 15 + [True]


def test_sixteen_contents_race_for_a_key(store: ObjectStore, file_of: FileOf, tmp_path: Path) -> None:
    files = [file_of(b"content %02d" % number * 10_000) for number in range(16)]

    def attempt(file: tuple[Path, str]) -> str | None:
        try:
            return str(put(store, file).sha256)
        except KeyTaken:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = [one for one in pool.map(attempt, files) if one]
    assert len(won) == 1
    assert store.get(KEY, tmp_path / "back").sha256 == won[0]


def test_missing(store: ObjectStore, tmp_path: Path) -> None:
    assert store.head("a/b") is None
    assert store.read_text("a/b") is None
    with pytest.raises(ObjectMissing, match="does not exist"):
        store.get("a/b", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_get_into_a_folder_that_is_not_there(store: ObjectStore, file_of: FileOf, tmp_path: Path) -> None:
    put(store, file_of(b"x"))
    with pytest.raises(SpoolUnavailable):
        store.get(KEY, tmp_path / "missing" / "back")


def test_texts(store: ObjectStore) -> None:
    assert store.create_text("ledger/id", "äöü") is True
    assert store.create_text("ledger/id", "other") is False
    assert store.read_text("ledger/id") == "äöü"
    store.write_text("ledger/id", "new")
    assert store.read_text("ledger/id", max_bytes=3) == "new"
    with pytest.raises(StoreNotUsable, match="longer than 2 bytes"):
        store.read_text("ledger/id", max_bytes=2)


def test_text_that_is_none(store: ObjectStore, file_of: FileOf) -> None:
    put(store, file_of(b"\xff\xfe"))
    with pytest.raises(StoreNotUsable, match="not UTF-8"):
        store.read_text(KEY)


def test_sixteen_threads_create_one_text(store: ObjectStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: store.create_text("id", str(n)), range(16)))
    assert made.count(True) == 1
    assert store.read_text("id") == str(made.index(True))


def test_check_and_preflight(store: ObjectStore) -> None:
    store.check()
    store.preflight()
    store.preflight()
    assert (store.head(PROBE_KEY) is not None) == store.destination.startswith("s3://")


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\nb", "a\u202eb", "a\\b", "x" * 1025]
)
def test_bad_keys(store: ObjectStore, file_of: FileOf, key: str) -> None:
    for call in (lambda: put(store, file_of(b"x"), key), lambda: store.head(key), lambda: store.read_text(key)):
        with pytest.raises(BadInput, match="object key"):
            call()


def test_unreadable_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        put(store, (tmp_path / "missing", "0" * 64))


@pytest.mark.parametrize(
    ("error", "root"),
    [
        (StoreUnavailable("a"), Unavailable),
        (StoreNotUsable("a"), BadInput),
        (KeyTaken("a"), ImagenError),
        (ChecksumMismatch("a"), ImagenError),
        (ObjectMissing("a"), ImagenError),
    ],
)
def test_errors_survive_a_pickle(error: ImagenError, root: type[ImagenError]) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (type(error), str(error), error.__dict__)
    assert isinstance(copy, root)
