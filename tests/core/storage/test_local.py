from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.storage import KeyTaken, LocalStore, StoreNotUsable, StoreUnavailable

FileOf = Callable[[bytes], tuple[Path, str]]


def put(store: LocalStore, file: tuple[Path, str]) -> None:
    store.put("a/b.png", file[0], sha256=file[1], content_type="image/png")


def put_with_ids(store: LocalStore, file: tuple[Path, str]) -> None:
    store.put("a/b.png", file[0], sha256=file[1], content_type="image/png", metadata={"item-id": "i"})


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_nothing_but_objects_stays(folder: LocalStore, file_of: FileOf) -> None:
    put(folder, file_of(b"x"))
    put(folder, file_of(b"x"))
    folder.create_text("id", "1")
    folder.create_text("id", "2")
    assert files(folder.root) == ["a/b.png", "id"]


def test_objects_are_readable_as_other_files_are(folder: LocalStore, file_of: FileOf, tmp_path: Path) -> None:
    put(folder, file_of(b"x"))
    (tmp_path / "plain").touch()
    assert (folder.root / "a/b.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_preflight_makes_the_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "new" / "er")
    store.preflight()
    store.check()
    assert files(store.root) == []


def test_preflight_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(StoreNotUsable, match="file"):
            LocalStore(path).preflight()


def test_a_vanished_folder_is_not_made_again(folder: LocalStore, file_of: FileOf) -> None:
    shutil.rmtree(folder.root)
    with pytest.raises(StoreUnavailable):
        folder.check()
    with pytest.raises(StoreUnavailable, match="No such file"):
        put(folder, file_of(b"x"))
    assert not folder.root.exists()


def test_full_disk(folder: LocalStore, file_of: FileOf) -> None:
    """A file-size limit of the process stands in for the disk: the same failing write, no root needed."""
    file = file_of(b"x" * 100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StoreUnavailable, match="File too large"):
            put(folder, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(folder.root) == []


def test_a_folder_in_the_place_of_a_key(folder: LocalStore) -> None:
    folder.write_text("a/b", "x")
    assert folder.head("a") is None
    assert folder.read_text("a") is None
    with pytest.raises(StoreUnavailable, match="directory"):
        folder.write_text("a", "x")
    with pytest.raises(StoreUnavailable, match=r"exist|directory"):
        folder.write_text("a/b/c", "x")


@pytest.mark.parametrize("key", [".prefect-imagen-tmp/x", "x" * 300])
def test_keys_that_cannot_be_files(folder: LocalStore, key: str) -> None:
    with pytest.raises(BadInput, match="cannot be a file name"):
        folder.write_text(key, "x")


def test_links_lead_nowhere_out_of_the_folder(folder: LocalStore, file_of: FileOf, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.png").write_bytes(b"not ours")
    (folder.root / "a").symlink_to(outside)
    (folder.root / "c.png").symlink_to(outside / "b.png")
    before = files(outside)
    for key in ("a/b.png", "a/new.png", "a/new/er.png", "c.png"):
        path, sha256 = file_of(b"x")
        with pytest.raises(StoreNotUsable, match="a link leads out of the folder"):
            folder.put(key, path, sha256=sha256, content_type="image/png")
        for act in (folder.head, folder.read_text, lambda key: folder.get(key, tmp_path / "got")):
            with pytest.raises(StoreNotUsable, match="a link leads out of the folder"):
                act(key)
        with pytest.raises(StoreNotUsable, match="a link leads out of the folder"):
            folder.delete([key])
    assert files(outside) == before
    assert (outside / "b.png").read_bytes() == b"not ours"
    assert list(folder.list()) == []


def test_no_file_of_the_package_s_own_leads_out_of_the_folder(
    folder: LocalStore, file_of: FileOf, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".a.part").write_bytes(b"of somebody else")
    (outside / "rc").write_bytes(b"mine")
    (folder.root / ".prefect-imagen-images.jsonl").symlink_to(outside / "rc")
    with pytest.raises(StoreUnavailable):
        put_with_ids(folder, file_of(b"x"))
    shutil.rmtree(folder.root / ".prefect-imagen-tmp")
    (folder.root / ".prefect-imagen-tmp").symlink_to(outside)
    with pytest.raises(StoreNotUsable, match="a link leads out of the folder"):
        put(folder, file_of(b"x"))
    with pytest.raises(StoreNotUsable, match="a link leads out of the folder"):
        folder.preflight()
    assert files(outside) == [".a.part", "rc"]
    assert (outside / "rc").read_bytes() == b"mine"


def test_a_pipe_is_not_waited_for(folder: LocalStore, file_of: FileOf) -> None:
    os.mkfifo(folder.root / ".prefect-imagen-images.jsonl")
    with pytest.raises(StoreUnavailable):
        put_with_ids(folder, file_of(b"x"))
    (folder.root / "a").mkdir(exist_ok=True)
    os.mkfifo(folder.root / "a" / "b.png")
    with pytest.raises(KeyTaken):
        put(folder, file_of(b"x"))
    assert folder.read_text("a/b.png") == ""


def test_links_within_the_folder_and_to_it_are_followed(folder: LocalStore, file_of: FileOf, tmp_path: Path) -> None:
    (folder.root / "real").mkdir()
    (folder.root / "a").symlink_to("real")
    (tmp_path / "link").symlink_to(folder.root)
    put(LocalStore(tmp_path / "link"), file_of(b"x"))
    assert (folder.root / "real" / "b.png").read_bytes() == b"x"
