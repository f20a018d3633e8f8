"""S3 alone: rights, secrets, servers that are down, slow, old or strange."""

from __future__ import annotations

import base64
import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from botocore.awsrequest import AWSResponse
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.storage import (
    ChecksumMismatch,
    KeyTaken,
    S3Options,
    S3Store,
    StoreNotUsable,
    StoreUnavailable,
    open_store,
)
from prefect_imagen.core.storage.s3_client import working_client
from prefect_imagen.sandbox.local_s3 import LocalS3

from ...pickled import sent_by_dask

FileOf = Callable[[bytes], tuple[Path, str]]
PNG = b"\x89PNG picture"


def put(store: Any, file: tuple[Path, str], **options: Any) -> Any:
    return store.put("k/1-0.png", file[0], sha256=file[1], content_type="image/png", **options)


def opened(server: LocalS3, uri: str = "s3://pictures/own", **changes: Any) -> Any:
    return open_store(uri, **{**server.options, **changes})


def test_metadata_is_ascii_on_the_wire_and_comes_back(s3: S3Store, file_of: FileOf) -> None:
    put(s3, file_of(PNG), metadata={"item": "0123", "prompt": "näher\n100%", "plain": "a b/c"})
    info = s3.head("k/1-0.png")
    assert info is not None
    assert info.metadata == {"item": "0123", "prompt": "n%C3%A4her%0A100%25", "plain": "a b/c"}


@pytest.mark.parametrize("metadata", [{"Näme": "x"}, {"UPPER": "x"}, {"a": "x" * 2049}])
def test_metadata_that_cannot_be_kept(s3: S3Store, file_of: FileOf, metadata: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="metadata"):
        put(s3, file_of(PNG), metadata=metadata)


def test_an_object_without_any_hash_is_read_and_compared(s3: S3Store, s3_server: LocalS3, file_of: FileOf) -> None:
    s3_server.client().put_object(Bucket="pictures", Key=f"{s3.prefix}/k/1-0.png", Body=PNG)
    assert put(s3, file_of(PNG)).created is False
    with pytest.raises(KeyTaken):
        put(s3, file_of(PNG.upper()))


def test_a_noted_hash_that_does_not_fit_the_bytes(s3: S3Store, s3_server: LocalS3, tmp_path: Path) -> None:
    noted = {"sha256": hashlib.sha256(b"other").hexdigest()}
    s3_server.client().put_object(Bucket="pictures", Key=f"{s3.prefix}/k", Body=PNG, Metadata=noted)
    with pytest.raises(ChecksumMismatch):
        s3.get("k", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_multipart_checksum_is_not_taken_for_the_content(s3: S3Store, s3_server: LocalS3, file_of: FileOf) -> None:
    client, where = s3_server.client(), {"Bucket": "pictures", "Key": f"{s3.prefix}/k/1-0.png"}
    upload = client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
    part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=PNG, ChecksumAlgorithm="SHA256")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}]
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    assert put(s3, file_of(PNG)).created is False


def test_prefix_goes_before_a_key_once(s3: S3Store, s3_server: LocalS3) -> None:
    s3.write_text(f"{s3.prefix}/a", "x")
    assert s3.read_text("a") == "x"
    assert s3.uri(f"{s3.prefix}/a") == s3.uri("a")


class TestNotUsable:
    def calls(self, store: Any, file_of: FileOf) -> Iterator[Callable[[], Any]]:
        yield store.preflight
        yield lambda: put(store, file_of(PNG))
        yield lambda: store.create_text("id", "x")

    def test_missing_bucket(self, s3_server: LocalS3, file_of: FileOf) -> None:
        store = opened(s3_server, "s3://no-such-bucket/x")
        for call in self.calls(store, file_of):
            with pytest.raises(StoreNotUsable, match=r"s3://no-such-bucket.*bucket does not exist"):
                call()
        with pytest.raises(StoreNotUsable, match="bucket does not exist"):
            store.check()

    def test_wrong_secret(self, s3_server: LocalS3, file_of: FileOf) -> None:
        store = opened(s3_server, secret_access_key="wrong-and-secret")
        for call in self.calls(store, file_of):
            with pytest.raises(StoreNotUsable, match="SignatureDoesNotMatch") as caught:
                call()
            assert "wrong-and-secret" not in str(caught.value)
            assert s3_server.access_key not in str(caught.value)

    def test_unknown_key_id(self, s3_server: LocalS3, file_of: FileOf) -> None:
        store = opened(s3_server, access_key_id="AKIANOBODY")
        for call in self.calls(store, file_of):
            with pytest.raises(StoreNotUsable, match="access key id is not known"):
                call()

    def test_no_credentials(self, s3_server: LocalS3, file_of: FileOf) -> None:
        store = opened(s3_server, access_key_id=None, secret_access_key=None)
        for call in self.calls(store, file_of):
            with pytest.raises(StoreNotUsable, match="no credentials found"):
                call()

    def test_unknown_profile(self, s3_server: LocalS3, file_of: FileOf) -> None:
        store = opened(s3_server, access_key_id=None, secret_access_key=None, profile="nobody")
        for call in self.calls(store, file_of):
            with pytest.raises(StoreNotUsable, match="nobody"):
                call()

    def test_credentials_of_the_environment(self, s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        opened(s3_server, access_key_id=None, secret_access_key=None, region="eu-west-1").preflight()


class Script(http.server.BaseHTTPRequestHandler):
    """An S3 that says what a test wrote down, one answer a request, the last for ever."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[tuple[int, str]]]
    seen: ClassVar[list[tuple[str, str]]]
    more_headers: ClassVar[dict[str, str]] = {}

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, code = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.seen.append((self.command, self.path))
        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        for header in self.more_headers.items():
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = _answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[S3Store, list[tuple[str, str]]]]]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def make(*script: tuple[int, str], **more_headers: str) -> tuple[S3Store, list[tuple[str, str]]]:
        own = {"script": list(script), "seen": [], "more_headers": more_headers}
        handler = type("Scripted", (Script,), own)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return S3Store("bucket", "", local_options(server.server_address[1])), handler.seen

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def local_options(port: int) -> S3Options:
    return S3Options(
        endpoint_url=f"http://127.0.0.1:{port}",
        region="us-east-1",
        addressing_style="path",
        access_key_id="id",
        secret_access_key="secret",
    )


class TestAnswers:
    def test_a_server_that_ignores_conditions_is_found_out(self, scripted: Any) -> None:
        store, _ = scripted((200, ""))
        with pytest.raises(StoreNotUsable, match="ignores conditional writes"):
            store.preflight()

    @pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "NotImplemented")])
    def test_a_server_that_knows_no_conditions(self, scripted: Any, file_of: FileOf, status: int, code: str) -> None:
        store, _ = scripted((200, ""), (status, code))
        with pytest.raises(StoreNotUsable, match="does not implement conditional writes"):
            store.preflight()
        with pytest.raises(StoreNotUsable, match="does not implement conditional writes"):
            put(store, file_of(PNG))

    @pytest.mark.parametrize(
        ("script", "need"),
        [
            ([(403, "AccessDenied")], "s3:PutObject"),
            ([(200, ""), (412, "PreconditionFailed"), (403, "AccessDenied")], "s3:GetObject"),
            ([(200, ""), (412, "PreconditionFailed"), (200, ""), (403, "AccessDenied")], "s3:ListBucket"),
        ],
    )
    def test_preflight_names_the_missing_right(self, scripted: Any, script: list[Any], need: str) -> None:
        store, _ = scripted(*script)
        with pytest.raises(StoreNotUsable, match=f"s3://bucket.* access denied; these credentials need {need}"):
            store.preflight()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("status", "code"),
        [(503, "SlowDown"), (500, "InternalError"), (502, ""), (429, "TooManyRequests")],
    )
    def test_busy_is_tried_twice_and_reported_as_such(
        self, scripted: Any, file_of: FileOf, status: int, code: str
    ) -> None:
        store, seen = scripted((status, code))
        with pytest.raises(StoreUnavailable, match="cannot serve now"):
            put(store, file_of(PNG))
        assert len(seen) <= 2
        before = len(seen)
        with pytest.raises(StoreUnavailable):
            store.check()
        assert len(seen) == before + 1

    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (301, "PermanentRedirect", "nothing but redirects"),
            (400, "AuthorizationHeaderMalformed", "another region"),
            (403, "RequestTimeTooSkewed", "clock"),
            (400, "ExpiredToken", "has expired"),
            (400, "InvalidRequest", "400 InvalidRequest"),
        ],
    )
    def test_other_refusals(self, scripted: Any, file_of: FileOf, status: int, code: str, message: str) -> None:
        store, _ = scripted((status, code))
        with pytest.raises(StoreNotUsable, match=message) as caught:
            put(store, file_of(PNG))
        assert str(sent_by_dask(caught.value)) == str(caught.value)

    def test_conflict_of_a_write_that_came_to_nothing_is_put_again(self, scripted: Any, file_of: FileOf) -> None:
        store, seen = scripted((409, "ConditionalRequestConflict"), (404, ""), (200, ""))
        assert put(store, file_of(PNG)).created is True
        assert [method for method, _ in seen] == ["PUT", "HEAD", "PUT"]

    @pytest.mark.slow
    def test_conflicts_without_end(self, scripted: Any, file_of: FileOf) -> None:
        store, seen = scripted(*[(409, "ConditionalRequestConflict"), (404, "")] * 3)
        with pytest.raises(StoreUnavailable, match="keep getting in the way"):
            put(store, file_of(PNG))
        assert len(seen) == 6

    def test_bytes_that_are_not_those_the_server_hashed(self, scripted: Any, tmp_path: Path) -> None:
        other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
        store, seen = scripted((200, ""), **{"x-amz-checksum-sha256": other})
        for _ in ("by boto3", "past it"):
            with pytest.raises(ChecksumMismatch):
                store.get("k", tmp_path / "back")
            assert not (tmp_path / "back").exists()
        assert [method for method, _ in seen] == ["GET", "GET"]

    def test_time_out_reported_by_the_server(self, scripted: Any, file_of: FileOf) -> None:
        store, _ = scripted((400, "RequestTimeout"))
        with pytest.raises(StoreUnavailable, match="RequestTimeout"):
            put(store, file_of(PNG))

    def test_what_answers_is_no_s3(self, scripted: Any) -> None:
        store, _ = scripted((200, "but not XML &"))
        with pytest.raises((StoreNotUsable, StoreUnavailable), match="s3://bucket"):
            store.preflight()


class TestUnavailable:
    def test_nothing_listens(self, file_of: FileOf, tmp_path: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            store = S3Store("bucket", "", local_options(unused.getsockname()[1]))
            for call in (
                store.check,
                store.preflight,
                lambda: put(store, file_of(PNG)),
                lambda: store.head("a"),
                lambda: store.read_text("a"),
                lambda: store.get("a", tmp_path / "back"),
            ):
                with pytest.raises(StoreUnavailable, match="cannot connect"):
                    call()

    @pytest.mark.slow
    def test_silent_server(self, file_of: FileOf) -> None:
        """Accepts, never answers: the probe gives up after its few seconds, without repeating."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            store = S3Store("bucket", "", local_options(silent.getsockname()[1]))
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                store.check()
            silent.setblocking(False)
            silent.accept()[0].close()
            with pytest.raises(BlockingIOError):
                silent.accept()

    def test_bounds_of_a_put(self) -> None:
        config = working_client(local_options(1)).meta.config
        assert (config.connect_timeout, config.read_timeout) == (5, 20)
        assert config.retries["total_max_attempts"] == 2
        assert config.max_pool_connections >= 64

    @pytest.mark.slow
    def test_down_and_back(self, file_of: FileOf, tmp_path: Path) -> None:
        with LocalS3(tmp_path / "own") as server:
            server.create_bucket("pictures")
            store = opened(server)
            put(store, file_of(PNG))
            server.pause()
            for call in (store.check, store.preflight, lambda: put(store, file_of(PNG))):
                with pytest.raises(StoreUnavailable):
                    call()
            server.restart()
            store.check()
            assert put(store, file_of(PNG)).created is False


def test_one_client_a_configuration(s3_server: LocalS3) -> None:
    options = S3Options(**s3_server.options)
    assert working_client(options) is working_client(S3Options(**s3_server.options))
    assert working_client(options) is not working_client(S3Options(**{**s3_server.options, "region": "eu-west-1"}))


def test_no_secret_is_shown(s3_server: LocalS3) -> None:
    store = opened(s3_server, session_token="a-token")
    for text in (repr(store), str(store), repr(store.options), repr(s3_server)):
        assert s3_server.secret_key not in text
        assert s3_server.access_key not in text
        assert "a-token" not in text
    assert s3_server.endpoint_url in repr(store)


def sent_put(scheme: str, body: Any) -> Any:
    """The request that a put of `pixels` comes to."""
    client = working_client(
        S3Options(endpoint_url=f"{scheme}://127.0.0.1:9", region="x", access_key_id="a", secret_access_key="b")
    )
    sent: list[Any] = []

    def look(request: Any, **_: Any) -> Any:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda: iter(())))

    client.meta.events.register("before-send.s3.PutObject", look)
    try:
        checksum = base64.b64encode(hashlib.sha256(b"pixels").digest()).decode()
        client.put_object(Bucket="bucket", Key="k", Body=body, ChecksumSHA256=checksum)
    finally:
        client.meta.events.unregister("before-send.s3.PutObject", look)
    (request,) = sent
    return request


@pytest.mark.parametrize(("scheme", "signed"), [("https", False), ("http", True)])
def test_a_body_is_hashed_for_the_signature_only_without_tls(scheme: str, signed: bool) -> None:
    """Under TLS the signed checksum header says it all; without, the body itself is signed."""
    request = sent_put(scheme, b"pixels")
    content = request.headers["X-Amz-Content-SHA256"].decode()
    assert content == (hashlib.sha256(b"pixels").hexdigest() if signed else "UNSIGNED-PAYLOAD")
    assert "x-amz-checksum-sha256" in request.headers["Authorization"].decode()


def test_bytes_go_out_with_their_headers(tmp_path: Path) -> None:
    """Without asking first, which costs a round trip a put; a file is asked for."""
    request = sent_put("https", b"pixels")
    assert request.body == b"pixels"
    assert "Expect" not in request.headers
    (tmp_path / "file").write_bytes(b"pixels")
    with (tmp_path / "file").open("rb") as file:
        assert sent_put("https", file).headers["Expect"] == b"100-continue"
