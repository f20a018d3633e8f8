"""Where files may be, and who may read them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from prefect_imagen.core.delivery import Spool
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.files import AtomicFile, check_stays_inside, make_private_folder
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.storage import LocalStore


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of a stranger, as git makes a copy of it, whose links lead to files of this machine."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "credentials").write_text("aws_secret_access_key = s3cret\n")
    repository = tmp_path / "repository"
    (repository / "w").mkdir(parents=True)
    (repository / "w" / "style.txt").symlink_to(victim / "credentials")
    (repository / "p.csv").symlink_to(victim / "credentials")
    (repository / "near.txt").symlink_to("../victim/credentials")
    (repository / "tokens.txt").symlink_to(".git/config")
    (repository / "folder").symlink_to(victim)
    (repository / "good.txt").write_text("a fox\n")
    (repository / "w2").mkdir()
    (repository / "w2" / "animal.txt").symlink_to("../good.txt")
    (repository / "also.txt").symlink_to("good.txt")
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x.test"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "prompts"], check=True)
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", str(repository), str(copy)], check=True)
    return copy


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("name", ["p.csv", "near.txt", "tokens.txt", "folder/credentials"])
def test_prompts_behind_a_link_of_a_clone(
    clone: Path, monkeypatch: pytest.MonkeyPatch, name: str, absolute: bool
) -> None:
    monkeypatch.chdir(clone)
    with pytest.raises(BadInput, match=r"is a link to .*, outside of") as caught:
        list(PromptSpec(clone / name if absolute else name, format="txt").prompts())
    assert "s3cret" not in str(caught.value)


def test_wildcards_behind_a_link_of_a_clone(clone: Path) -> None:
    with pytest.raises(BadInput, match=r"is a link to .*, outside of"):
        list(PromptSpec(["__style__"], wildcards=clone / "w").prompts())


def test_links_within_a_clone_are_followed(clone: Path) -> None:
    assert [prompt.text for prompt in PromptSpec(clone / "also.txt").prompts()] == ["a fox"]
    assert [prompt.text for prompt in PromptSpec(["__animal__"], wildcards=clone / "w2").prompts()] == ["a fox"]


def test_links_of_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    """As they come out of an archive."""
    (tmp_path / "secret.txt").write_text("s3cret\n")
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "style.txt").symlink_to("../secret.txt")
    for refused in (folder / "style.txt", Path(os.path.relpath(folder / "style.txt"))):
        with pytest.raises(BadInput, match="outside of"):
            check_stays_inside(refused)
    with pytest.raises(BadInput, match="outside of"):
        list(PromptSpec(["__style__"], wildcards=folder).prompts())
    # A folder that a person has linked, and a file that is named as it is.
    (tmp_path / "linked").symlink_to(tmp_path)
    check_stays_inside(tmp_path / "linked" / "secret.txt")
    # As Kubernetes mounts a ConfigMap.
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "prompts.txt").write_text("a fox\n")
    (tmp_path / "prompts.txt").symlink_to("..data/prompts.txt")
    check_stays_inside(tmp_path / "prompts.txt")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_private_folder(tmp_path / "a" / "b")
        with AtomicFile(tmp_path / "a" / "b" / "c") as out:
            out.write(b"x")
            assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "b").iterdir()] == [0o600]
            out.commit()
        spool = Spool(tmp_path / "home" / "spool", "ledger")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "c").stat().st_mode) == 0o600
    folders = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "home", tmp_path / "home" / "spool", spool.folder]
    assert {stat.S_IMODE(path.stat().st_mode) for path in [*folders, spool.images, spool.replies.folder]} == {0o700}


def test_what_killed_processes_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from prefect_imagen.core.files import AtomicFile\n"
        "with AtomicFile(Path(sys.argv[1])) as out:\n"
        "    out.write(b'half'); out.file.flush(); os.kill(os.getpid(), 9)"
    )
    store = LocalStore(tmp_path / "store")
    store.preflight()
    spool = Spool(tmp_path / "spool", "x")
    temporary = store.root / ".prefect-imagen-tmp"
    for folder in (temporary, spool.images, spool.replies.folder):
        killed = subprocess.run([sys.executable, "-c", code, str(folder / "name")], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(list(folder.iterdir())) == 1
    with AtomicFile(spool.images / "mine") as mine, AtomicFile(store.root / "own", temporary_folder=temporary) as own:
        store.preflight()
        Spool(tmp_path / "spool", "x")
        for out in (mine, own):
            out.write(b"whole")
            out.commit()
    assert [path.name for path in spool.images.iterdir()] == ["mine"]
    assert (store.root / "own").read_bytes() == b"whole"
    assert not [*temporary.iterdir(), *spool.replies.folder.iterdir()]
