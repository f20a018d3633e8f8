"""The ids of images in a folder: found by name, by any process, without a word of a prompt."""

from __future__ import annotations

import hashlib
from pathlib import Path

from prefect_imagen.core.storage import LocalStore
from prefect_imagen.core.storage.folder_index import INDEX

IDS = {"item-id": "i", "call-id": "pi-1", "image-index": "0", "model": "m"}


def put(store: LocalStore, key: str, **metadata: str) -> None:
    data = key.encode()
    store.put(key, data, sha256=hashlib.sha256(data).hexdigest(), content_type="image/png", metadata=metadata)


def found(store: LocalStore, key: str) -> dict[str, str]:
    info = store.head(key)
    assert info is not None
    return dict(info.metadata)


def test_ids_are_found_by_name_and_prompts_are_not_kept(tmp_path: Path) -> None:
    store, other = LocalStore(tmp_path), LocalStore(tmp_path)
    store.preflight()
    put(store, "2026/a-red-fox.png", **IDS, **{"ledger-id": "l"}, prompt="a red fox of our secret client")
    assert found(store, "2026/a-red-fox.png") == found(other, "2026/a-red-fox.png") == IDS
    put(other, "2026/a-blue-fox.png", **{**IDS, "item-id": "j"})
    assert found(store, "2026/a-blue-fox.png")["item-id"] == "j", "read on where it was left"
    put(store, "notes.txt")
    assert found(store, "notes.txt") == {}
    kept = (tmp_path / INDEX).read_text()
    assert "fox" not in kept
    assert "secret" not in kept


def test_the_same_again_adds_nothing_and_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.preflight()
    put(store, "a.png", **IDS)
    size = (tmp_path / INDEX).stat().st_size
    put(store, "a.png", **IDS)
    assert (tmp_path / INDEX).stat().st_size == size
    with (tmp_path / INDEX).open("a") as file:
        file.write('{"key": "0123')
    put(store, "b.png", **IDS)
    assert found(LocalStore(tmp_path), "a.png") == found(LocalStore(tmp_path), "b.png") == IDS
