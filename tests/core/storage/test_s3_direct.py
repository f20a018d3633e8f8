"""Puts that go past boto3: the same objects, and boto3 again for whatever is not a plain success."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.storage import ChecksumMismatch, KeyTaken, S3Store, StoreUnavailable, open_store
from prefect_imagen.core.storage.s3_client import working_client
from prefect_imagen.core.store_options import S3Options
from prefect_imagen.sandbox.local_s3 import LocalS3

from tests.tls import self_signed


def put(store: S3Store, key: str, data: bytes = b"pixels", **more: Any) -> Any:
    sha256 = hashlib.sha256(data).hexdigest()
    return store.put(key, data, sha256=sha256, content_type="image/png", **more)


@contextmanager
def by_boto3(store: S3Store, operation: str = "PutObject") -> Iterator[list[str]]:
    """Keys that boto3 puts, or gets, meanwhile."""
    keys: list[str] = []
    events = working_client(store.options).meta.events

    def note(params: dict[str, Any], **_: Any) -> None:
        keys.append(params["Key"].removeprefix(f"{store.prefix}/"))

    events.register(f"before-parameter-build.s3.{operation}", note)
    try:
        yield keys
    finally:
        events.unregister(f"before-parameter-build.s3.{operation}", note)


def told(store: S3Store, key: str) -> dict[str, Any]:
    """What the server says of an object, but for what differs from object to object."""
    answer = dict(
        working_client(store.options).head_object(
            Bucket=store.bucket, Key=f"{store.prefix}/{key}", ChecksumMode="ENABLED"
        )
    )
    del answer["ResponseMetadata"], answer["LastModified"]
    return answer


def test_the_first_of_a_kind_is_boto3s_and_the_others_are_just_like_it(s3: S3Store, s3_server: LocalS3) -> None:
    store = open_store(s3.destination, **s3_server.options, storage_class="STANDARD_IA", object_tags={"cost": "42 + x"})
    assert isinstance(store, S3Store)
    metadata = {"prompt": "ein Fuchs im Schnee, 100 % wei\u00df", "call-id": "pi-1"}
    names = ["a/1.png", "b c/2.png", "d+e=(f)~'*!,;:@&$/\u00fc.png"]
    with by_boto3(store) as keys:
        done = [put(store, name, metadata=metadata) for name in names]
    assert keys == names[:1]
    assert all(one.created and one.etag == done[0].etag for one in done)
    assert told(store, names[0])["Metadata"]["call-id"] == "pi-1"
    assert told(store, names[0])["StorageClass"] == "STANDARD_IA"
    assert told(store, names[0]) == told(store, names[1]) == told(store, names[2])


def test_texts_go_the_same_way_and_only_new_ones_are_kept_from_what_is_there(s3: S3Store) -> None:
    s3.write_text("mark", "1")
    with by_boto3(s3) as keys:
        s3.write_text("mark", "2")
        assert s3.create_text("other", "3")
        assert not s3.create_text("mark", "4")
    assert keys == ["mark"]  # the one that is refused
    assert [s3.read_text(name) for name in ("mark", "other")] == ["2", "3"]
    assert told(s3, "mark")["ContentType"] == told(s3, "other")["ContentType"] == "text/plain; charset=utf-8"


def test_objects_are_read_the_same_way(s3: S3Store, s3_server: LocalS3, tmp_path: Path) -> None:
    options = {**s3_server.options, "region": "eu-north-1"}  # a client of its own, which has read nothing yet
    store = open_store(s3.destination, **options)
    assert isinstance(store, S3Store)
    names = ["a/1.png", "b c/2.png", "d+e=(f)~'*!,;:@&$/\u00fc.png"]
    for name in names:
        put(store, name, data=name.encode() * 200_000, metadata={"prompt": "wei\u00df"})
    client = working_client(store.options)
    client.put_object(Bucket=store.bucket, Key=f"{store.prefix}/z", Body=b"not gzip", ContentEncoding="gzip")
    client.put_object(
        Bucket=store.bucket, Key=f"{store.prefix}/w", Body=b"x", Metadata={"sha256": hashlib.sha256(b"y").hexdigest()}
    )
    with by_boto3(store, "GetObject") as keys:
        for name in names:
            fetched = store.get(name, tmp_path / "there")
            assert (tmp_path / "there").read_bytes() == name.encode() * 200_000
            assert (fetched.sha256, fetched.content_type) == (store.head(name).sha256, "image/png")  # type: ignore[union-attr]
        assert store.read_text("z") == "not gzip"
        assert store.read_text("nowhere") is None
        with pytest.raises(ChecksumMismatch):
            store.get("w", tmp_path / "wrong")
        assert not (tmp_path / "wrong").exists()
        store.get(names[1], tmp_path / "again")
    assert keys == [names[0], "nowhere"]


def test_another_way_of_writing_is_another_kind(s3: S3Store, s3_server: LocalS3) -> None:
    put(s3, "1")
    tagged = open_store(s3.destination, **s3_server.options, object_tags={"kind": "another"})
    assert isinstance(tagged, S3Store)
    with by_boto3(s3) as keys:
        put(s3, "2")
        put(tagged, "3")
        put(tagged, "4")
    assert keys == ["3"]
    client = working_client(s3.options)
    for key, tags in (("2", []), ("4", [{"Key": "kind", "Value": "another"}])):
        assert client.get_object_tagging(Bucket=s3.bucket, Key=f"{s3.prefix}/{key}")["TagSet"] == tags


def test_a_taken_key_is_not_overwritten(s3: S3Store) -> None:
    put(s3, "first")
    assert put(s3, "k").created is True
    assert put(s3, "k").created is False
    with pytest.raises(KeyTaken):
        put(s3, "k", b"other pixels")
    assert s3.head("k").sha256 == hashlib.sha256(b"pixels").hexdigest()  # type: ignore[union-attr]
    with by_boto3(s3) as keys:
        put(s3, "k2")
    assert keys == []


# --- a server that is told how to answer ------------------------------------------------------------------------------


class Told:
    """A server of S3's protocol that answers puts as it is told: a status, or None to cut the connection."""

    def __init__(self, tls: Path | None = None) -> None:
        self.answers: list[int | None] = []
        self.requests: list[dict[str, str]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                told.requests.append({name.lower(): value for name, value in self.headers.items()})
                answer = told.answers.pop(0) if told.answers else 200
                if answer is None:
                    self.connection.close()
                    return
                self.send_response(answer)
                self.send_header("ETag", '"an-etag"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._origin = f"http://127.0.0.1:{self._server.server_port}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._origin = f"https://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def store(self, **options: Any) -> S3Store:
        keys = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "secret", "addressing_style": "path"}
        return S3Store("bucket", "p", S3Options(endpoint_url=self._origin, region="eu-west-1", **{**keys, **options}))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def told_server() -> Iterator[Told]:
    server = Told()
    yield server
    server.close()


def scope(request: dict[str, str]) -> str:
    return request["authorization"].partition("Credential=")[2].partition(", Signature")[0]


def test_signed_as_boto3_signs(told_server: Told) -> None:
    store = told_server.store(session_token="a-token")
    put(store, "1", metadata={"a": "b"})
    put(store, "2", metadata={"a": "b"})
    first, second = told_server.requests
    assert scope(first) == scope(second)
    assert "/eu-west-1/s3/aws4_request, SignedHeaders=" in scope(first)
    same = ("x-amz-security-token", "x-amz-content-sha256", "x-amz-checksum-sha256", "user-agent", "if-none-match")
    assert [first[name] for name in same] == [second[name] for name in same]
    assert second["x-amz-security-token"] == "a-token"


@pytest.mark.parametrize("trouble", [503, 403, 500, None])
def test_what_fails_is_tried_by_boto3(told_server: Told, trouble: int | None) -> None:
    store = told_server.store()
    put(store, "1")
    told_server.answers = [trouble]
    with by_boto3(store) as keys:
        assert put(store, "2").created
        assert keys == ["2"]
        put(store, "3")
    # boto3 has made a new pattern.
    assert keys == ["2"]
    assert len(told_server.requests) == 4


def test_a_server_in_trouble_is_not_asked_more_often_than_boto3_does(told_server: Told) -> None:
    store = told_server.store()
    put(store, "1")
    told_server.answers = [503] * 100
    for key, requests in (("2", 3), ("3", 2), ("4", 2)):
        before = len(told_server.requests)
        with pytest.raises(StoreUnavailable):
            put(store, key)
        assert len(told_server.requests) - before == requests


def test_renewed_keys_are_used(told_server: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    store = told_server.store(role_session_name="renewed")
    from botocore.credentials import Credentials

    put(store, "1")
    put(store, "2")
    held: Callable[..., Any] = Credentials.get_frozen_credentials

    def renewed(self: Credentials) -> Any:
        return held(self)._replace(access_key="AKIARENEWED")

    monkeypatch.setattr(Credentials, "get_frozen_credentials", renewed)
    put(store, "3")
    assert scope(told_server.requests[1]).startswith("AKIAIOSFODNN7EXAMPLE/")
    assert scope(told_server.requests[2]).startswith("AKIARENEWED/")


def test_under_tls_the_certificates_of_the_environment_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(self_signed(tmp_path / "server.pem", "localhost")))
    server = Told(tls=tmp_path / "server.pem")
    try:
        store = server.store()
        with by_boto3(store) as keys:
            put(store, "1")
            put(store, "2")
    finally:
        server.close()
    assert keys == ["1"]
    assert [request["x-amz-content-sha256"] for request in server.requests] == ["UNSIGNED-PAYLOAD"] * 2


def test_behind_a_proxy_all_is_boto3s(told_server: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    at = told_server.store().options.endpoint_url
    monkeypatch.setenv("HTTP_PROXY", at or "")
    monkeypatch.setenv("http_proxy", at or "")
    store = told_server.store(role_session_name="proxied")
    with by_boto3(store) as keys:
        put(store, "1")
        put(store, "2")
    assert keys == ["1", "2"]
