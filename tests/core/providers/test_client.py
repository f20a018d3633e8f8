"""The client against real servers on this machine: what it sends, once, and what it says of every failure."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import socket
import ssl
import subprocess
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path

import pytest
from prefect_imagen.core.errors import BadInput, Unavailable
from prefect_imagen.core.http import exchange as exchanges
from prefect_imagen.core.http.exchange import WatchedBody, retry_after_seconds, user_agent
from prefect_imagen.core.memory import GrowingBudget
from prefect_imagen.core.providers import ImageClient, ImageRequest, RawReply, open_client
from prefect_imagen.core.providers.addresses import api_origin, normalise_base_url
from prefect_imagen.core.providers.errors import (
    BadKey,
    NotSent,
    ReplyLost,
    ServerError,
    StatusError,
    UnexpectedStatus,
    UnreadableReply,
)

KEY = "sk-very-secret-0123456789"
REQUEST = ImageRequest.build("google/imagen4/preview", "ein Füchslein 🦊")
Answer = Callable[[socket.socket], None]


@dataclass
class WireServer:
    """Reads requests whole and lets `answer` write raw bytes; keeps the connection while `answer` leaves it open."""

    answer: Answer
    read_body: bool = True
    tls: ssl.SSLContext | None = None
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                while line := stream.readline().decode("latin-1").strip():
                    headers = {}
                    while header := stream.readline().decode("latin-1").strip():
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    body = stream.read(int(headers.get("content-length", 0))) if self.read_body else b""
                    self.requests.append((line, headers, body))
                    self.answer(connection)
                    if not self.read_body:
                        return
        except OSError:
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


def reply(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""])
    return lambda connection: connection.sendall(head.encode("latin-1") + body)


GOOD = b'{"data": [{"url": "https://cdn.test/a.png"}]}'


@pytest.fixture
def serve() -> Iterator[Callable[..., WireServer]]:
    servers: list[WireServer] = []

    def start(answer: Answer, **options: object) -> WireServer:
        servers.append(WireServer(answer, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def client() -> Iterator[Callable[..., ImageClient]]:
    clients: list[ImageClient] = []

    def make(url: str, **options: float) -> ImageClient:
        clients.append(open_client(KEY, base_url=url, **options))  # type: ignore[arg-type]
        return clients[-1]

    yield make
    for made in clients:
        made.close()


Serve = Callable[..., WireServer]
Client = Callable[..., ImageClient]


def test_a_key_that_an_answer_quotes_is_not_kept(
    serve: Callable[..., WireServer], client: Callable[..., ImageClient]
) -> None:
    said = json.dumps({"error": {"message": f"no such key: Bearer {KEY}"}}).encode()
    made = client(serve(reply(said, "401 Unauthorized", f"x-inference-id: {KEY}")).url)
    answer = made.ask(REQUEST, "pi-1")
    assert (answer.body, answer.headers["x-inference-id"]) == (said.replace(KEY.encode(), b"***"), "***")
    with pytest.raises(BadKey, match=r"no such key: Bearer \*\*\*"):
        made.check_key()


def test_what_is_sent(serve: Serve, client: Client) -> None:
    server = serve(reply(GOOD, "200 OK", "X-Request-Id: r", "X-Inference-Id: i", "Set-Cookie: a=b"))
    made = client(server.url)
    raw = made.ask(REQUEST, "pi-1")
    made.ask(REQUEST, "pi-2")
    line, headers, body = server.requests[0]
    assert line == "POST /v1/images/generations HTTP/1.1"
    assert json.loads(body) == REQUEST.body()
    assert "Füchslein 🦊".encode() in body, "escaped, a prompt would be longer than it is"
    wanted = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": user_agent(),
        "x-client-request-id": "pi-1",
        "content-length": str(len(body)),
    }
    assert {name: headers[name] for name in wanted} == wanted
    assert "transfer-encoding" not in headers
    assert user_agent().startswith("prefect-imagen")
    assert (raw.status, raw.body, raw.cut) == (200, GOOD, None)
    assert raw.headers == {"x-request-id": "r", "x-inference-id": "i"}
    assert raw.read().images[0].url == "https://cdn.test/a.png"
    assert "cookie" not in server.requests[1][1]


def test_netrc_does_not_replace_the_key(
    serve: Serve, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login thief password other\ndefault login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    server = serve(reply(b'{"current_balance": 1.5}', "200 OK", "Server: somebody"))
    made = client(server.url)
    made.ask(REQUEST, "pi-1")
    assert made.check_key() == Decimal("1.5")
    made.origin()
    keys = [headers.get("authorization") for _, headers, _ in server.requests]
    assert keys == [f"Bearer {KEY}", f"Bearer {KEY}", None], "free endpoints get no credentials at all"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Again", "308 Again"])
def test_no_redirect_is_followed(serve: Serve, client: Client, status: str) -> None:
    other = serve(reply(GOOD))
    server = serve(reply(b"x" * 10_000_000, status, f"Location: {other.url}/images/generations"))
    raw = client(server.url).ask(REQUEST, "pi-1")
    with pytest.raises(UnexpectedStatus):
        raw.read()
    assert len(raw.body) <= 2**18
    assert (len(server.requests), other.requests) == (1, [])


def cut(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def test_a_refused_port_is_not_sent(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent, match=f"cannot reach the API at 127.0.0.1:{port}: ConnectionError"):
        client(f"http://127.0.0.1:{port}").ask(REQUEST, "pi-1")


def test_a_name_that_does_not_exist_is_not_sent(client: Client) -> None:
    with pytest.raises(NotSent):
        client("http://no-such-host.invalid").ask(REQUEST, "pi-1")


@pytest.mark.parametrize("read_body", [True, False])
def test_a_cut_after_the_request_is_a_lost_reply_and_not_repeated(
    serve: Serve, client: Client, read_body: bool
) -> None:
    server = serve(cut, read_body=read_body)
    with pytest.raises(ReplyLost, match="was sent"):
        client(server.url).ask(REQUEST, "pi-1")
    assert len(server.requests) == 1


def test_a_kept_connection_that_is_cut_is_not_repeated_either(serve: Serve, client: Client) -> None:
    """A pooled connection that dies under a second request: the case in which transports like to try again."""
    answers = [reply(GOOD), cut]
    server = serve(lambda connection: answers.pop(0)(connection))
    made = client(server.url)
    made.ask(REQUEST, "pi-1")
    with pytest.raises(ReplyLost):
        made.ask(REQUEST, "pi-2")
    assert len(server.requests) == 2


def test_silence_is_a_lost_reply(serve: Serve, client: Client) -> None:
    done = threading.Event()
    server = serve(lambda _connection: done.wait(60) and None)
    with pytest.raises(ReplyLost, match="ReadTimeout"):
        client(server.url, read_timeout=0.2).ask(REQUEST, "pi-1")
    done.set()


def test_half_a_head_is_a_lost_reply(serve: Serve, client: Client) -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")
        cut(connection)

    server = serve(half)
    with pytest.raises((ReplyLost, UnreadableReply)):
        client(server.url).ask(REQUEST, "pi-1").read()


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_cut_is_known_to_be_cut(serve: Serve, client: Client, chunked: bool) -> None:
    def half(connection: socket.socket) -> None:
        head = b"transfer-encoding: chunked" if chunked else b"content-length: 99999"
        body = b"%x\r\n%s\r\n" % (len(GOOD), GOOD) if chunked else GOOD
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        cut(connection)

    raw = client(serve(half).url).ask(REQUEST, "pi-1")
    assert raw.body == GOOD
    assert "broke within the body" in str(raw.cut)
    with pytest.raises(UnreadableReply, match="broke within the body"):
        raw.read()


def test_chunked_and_compressed_bodies_are_read(serve: Serve, client: Client) -> None:
    import gzip

    packed = gzip.compress(GOOD, mtime=0)

    def answer(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-encoding: gzip\r\n\r\n"
        parts = [packed[:10], packed[10:]]
        connection.sendall(head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n")

    raw = client(serve(answer).url).ask(REQUEST, "pi-1")
    assert (raw.body, raw.cut) == (GOOD, None)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_drips_ends_at_the_deadline(serve: Serve, client: Client, chunked: bool) -> None:
    """Every byte comes well within the read time-out, all of them together do not."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        head = b"transfer-encoding: chunked" if chunked else b"content-length: 99999"
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        while not stop.wait(0.02):
            connection.sendall(b"1\r\n{\r\n" if chunked else b"{")

    server = serve(drip)
    raw = client(server.url, connect_timeout=0.2, read_timeout=0.8).ask(REQUEST, "pi-1")
    stop.set()
    assert "longer than the time allowed" in str(raw.cut)
    assert raw.body
    assert set(raw.body) == set(b"{")


def drip_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        connection.sendall(b"X")
        time.sleep(0.02)


def drip_chunk_extensions(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"1;xxx")
        time.sleep(0.02)


def interim_without_end(connection: socket.socket) -> None:
    for _ in range(100_000):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize("answer", [drip_headers, drip_chunk_extensions, interim_without_end])
def test_no_way_to_drip_outlasts_the_deadline(serve: Serve, client: Client, answer: Answer) -> None:
    """Neither of a paid answer, which is unknown then, nor of a free one."""
    slow = client(serve(answer).url, connect_timeout=0.2, read_timeout=0.3)
    try:
        raw = slow.ask(REQUEST, "pi-1")
    except ReplyLost:
        pass
    else:
        with pytest.raises(UnreadableReply):
            raw.read()
    with pytest.raises(Unavailable):
        slow._get("/v2/billing", timeout=0.5)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(2000):
        connection.sendall(b"{" * 65536)


def inflating(connection: socket.socket) -> None:
    layer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([layer.compress(b" " * 2**24) for _ in range(8)]) + layer.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    connection.sendall(head + bomb)


@pytest.mark.parametrize("answer", [endless, inflating])
def test_free_answers_are_bounded(serve: Serve, client: Client, answer: Answer) -> None:
    free = client(serve(answer).url)
    with pytest.raises(Unavailable, match="larger than 8,388,608 bytes"):
        free.check_key()
    with pytest.raises(Unavailable, match="larger than 8,388,608 bytes"):
        free.log(datetime.now(UTC), datetime.now(UTC))
    assert free.balance() is None


def test_a_free_answer_takes_no_multiple_of_its_size(serve: Serve, client: Client) -> None:
    body = b'{"current_balance": [' + b"[]," * 1_000_000 + b"0]}"
    free = client(serve(reply(body)).url)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableReply):
            free.check_key()
        with pytest.raises(UnreadableReply):
            free.log(datetime.now(UTC), datetime.now(UTC))
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()


def test_interim_answers_are_skipped(serve: Serve, client: Client) -> None:
    """103 Early Hints (RFC 8297) before the answer, at once, and the answer in its own time."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n")
        time.sleep(0.1)
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD)

    raw = client(serve(answer).url).ask(REQUEST, "pi-1")
    assert (raw.status, raw.body, raw.cut) == (200, GOOD, None)


@pytest.mark.parametrize("encoding", ["none", "utf-8", "gzip", "identity, none"])
def test_an_encoding_that_is_none_leaves_the_bytes(serve: Serve, client: Client, encoding: str) -> None:
    raw = client(serve(reply(GOOD, "200 OK", f"content-encoding: {encoding}")).url).ask(REQUEST, "pi-1")
    assert (raw.body, raw.cut) == (GOOD, None)


def test_an_error_page_is_bounded(serve: Serve, client: Client) -> None:
    server = serve(reply(b"<html>" + b"x" * 10_000_000, "502 Bad Gateway"))
    raw = client(server.url).ask(REQUEST, "pi-1")
    assert len(raw.body) == 2**18
    with pytest.raises(ServerError):
        raw.read()


def test_a_reply_without_end_is_bounded(serve: Serve, client: Client) -> None:
    raw = client(serve(reply(b"x" * 3_000_000)).url, max_reply_bytes=1_000_000).ask(REQUEST, "pi-1")
    assert len(raw.body) == 1_000_000
    with pytest.raises(UnreadableReply, match="larger than 1,000,000"):
        raw.read()


def test_many_replies_without_end_take_no_more_than_one_budget(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come to their end one after the other, each cut at its own cap; what is dropped is room for the next."""
    budget, seen = GrowingBudget(6_000_000, most=2_000_000), []
    monkeypatch.setattr(exchanges, "answers_budget", lambda: budget)

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 2**16)
            seen.append(budget.used)

    asked = client(serve(answer).url, max_reply_bytes=2_000_000)
    with ThreadPoolExecutor(12) as threads:
        replies = [threads.submit(asked.ask, REQUEST, f"pi-{n}") for n in range(12)]
        for reply_ in as_completed(replies):
            raw = reply_.result()
            assert (len(raw.body), raw.cut) == (2_000_000, "the body is larger than 2,000,000 bytes")
            replies.remove(reply_)
            del raw, reply_
    assert 2_000_000 <= max(seen) <= 6_000_000
    assert budget.used == 0


def test_a_reply_for_which_there_is_no_room_ends_at_the_deadline(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of an ordinary length go on."""
    budget = GrowingBudget(2_000_000, most=2_000_000)
    monkeypatch.setattr(exchanges, "answers_budget", lambda: budget)
    other = budget.share()
    assert other.grow(1_000_000, 0)
    hasty = client(serve(reply(b"x" * 1_500_000)).url, connect_timeout=0.1, read_timeout=0.6)
    raw = hasty.ask(REQUEST, "pi-1")
    assert raw.cut == "the body took longer than the time allowed"
    assert client(serve(reply(GOOD)).url).ask(REQUEST, "pi-2").body == GOOD
    del other, raw
    assert budget.used == 0


@pytest.mark.parametrize("packed", [True, False])
def test_an_encoded_reply_holds_what_it_came_to(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    budget = GrowingBudget(400_000_000, most=200_000_000)
    monkeypatch.setattr(exchanges, "answers_budget", lambda: budget)
    body = b"x" * 300_000
    sent = zlib.compress(body, wbits=31) if packed else body
    raw = client(serve(reply(sent, "200 OK", "content-encoding: gzip")).url).ask(REQUEST, "pi-1")
    assert raw.body == body
    assert budget.used == 300_000


@pytest.mark.parametrize("wrong", ["no TLS", "untrusted"])
def test_tls_that_fails_is_not_sent(serve: Serve, client: Client, tmp_path: Path, wrong: str) -> None:
    context = None
    if wrong == "untrusted":
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
        subprocess.run([*command, *files], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = serve(cut, tls=context)
    with pytest.raises(NotSent):
        client(f"https://127.0.0.1:{server.port}/v1", connect_timeout=0.5).ask(REQUEST, "pi-1")
    assert not any(body for _, _, body in server.requests)


def test_threads_share_the_client(serve: Serve, client: Client) -> None:
    server = serve(reply(GOOD))
    made = client(server.url)
    threads = [threading.Thread(target=made.ask, args=(REQUEST, f"pi-{n}")) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {headers["x-client-request-id"] for _, headers, _ in server.requests} == {f"pi-{n}" for n in range(16)}


@pytest.mark.parametrize("wrong", ["", "a b", "ä", "x" * 129, "a\r\nX-Evil: 1"])
def test_a_request_id_the_api_would_ignore_is_refused(client: Client, wrong: str) -> None:
    with pytest.raises(ValueError, match="not a client request id"):
        client("http://127.0.0.1:9").ask(REQUEST, wrong)


def test_the_key_shows_nowhere(serve: Serve, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(reply(b'{"status": 401, "message": "no"}', "401 No"))
    made = client(server.url)
    texts = [repr(made), str(made), repr(vars(made)), repr(made._auth)]
    away = client("http://127.0.0.1:9")
    failures: list[Callable[[], object]] = [
        made.check_key,
        made.ask(REQUEST, "pi-1").read,
        lambda: away.ask(REQUEST, "pi-1"),
        away.check_key,
    ]
    for fails in failures:
        with pytest.raises((BadKey, NotSent, Unavailable)) as caught:
            fails()
        texts += [repr(caught.value), str(caught.value), "".join(traceback.format_exception(caught.value))]
    assert not [text for text in [*texts, caplog.text] if KEY in text]


def test_a_client_is_not_pickled_or_copied(client: Client) -> None:
    made = client("http://127.0.0.1:9")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="credentials block"):
            attempt(made)


@pytest.mark.parametrize("key", ["", "  \n", "schlüssel", "a\nb", "a\x7fb"])
def test_keys_that_no_header_carries(key: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_client(key)
    assert key.strip() not in str(caught.value) or not key.strip()


def test_white_space_around_a_key_is_a_slip(serve: Serve) -> None:
    server = serve(reply(GOOD))
    made = open_client(f" {KEY}\n", base_url=server.url)
    made.ask(REQUEST, "pi-1")
    made.close()
    assert server.requests[0][1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8700", "http://127.0.0.1:8700/v1"),
        (" http://127.0.0.1:8700/ ", "http://127.0.0.1:8700/v1"),
        ("https://API.aimlapi.com/v1/", "https://api.aimlapi.com/v1"),
        ("https://gateway.test/aiml/v1", "https://gateway.test/aiml/v1"),
        ("http://[::1]:8700", "http://[::1]:8700/v1"),
    ],
)
def test_base_urls_have_one_form(given: str, used: str) -> None:
    assert normalise_base_url(given) == used
    assert normalise_base_url(used) == used


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "api.aimlapi.com",
        "ftp://x",
        "http://",
        "http://[::1",
        "http://x:99999",
        "http://x:y",
        "https://u:s3cret@x",
        "https://x/?k=s3cret",
        "https://x/#s3cret",
    ],
)
def test_base_urls_that_are_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match="base URL") as caught:
        normalise_base_url(wrong)
    assert "s3cret" not in str(caught.value)


def test_the_origin_of_a_sandbox_is_believed_on_this_machine_only(serve: Serve, client: Client) -> None:
    server = serve(reply(b"{}", "200 OK", "Server: prefect-imagen-sandbox/1"))
    assert client(server.url).origin() == "sandbox"
    assert client(f"http://localhost:{server.port}").origin() == "sandbox"
    other = serve(reply(b"{}", "200 OK", "Server: cloudflare"))
    assert client(other.url).origin() == f"http://127.0.0.1:{other.port}"
    assert client("https://api.aimlapi.com/v1").origin() == "https://api.aimlapi.com"
    assert api_origin("https://API.aimlapi.com/v1") == "https://api.aimlapi.com"
    with pytest.raises(Unavailable, match="cannot reach"):
        client("http://127.0.0.1:9").origin()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"current_balance": "x"}', b'{"current_balance": null}'])
def test_a_balance_that_cannot_be_read(serve: Serve, client: Client, body: bytes) -> None:
    with pytest.raises(UnreadableReply, match="balance"):
        client(serve(reply(body)).url).check_key()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("", None), ("soon", None), ("0", 0), ("1.5", 1.5), ("-3", 0), ("inf", None), ("nan", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 40 < (retry_after_seconds(later) or 0) <= 100
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 -0000") == 0
    for odd in ("Mon, 01 Jan 99999 00:00:00 GMT", "Sun, 01 Jan 0001 00:00:00 +2359", "99, x"):
        assert retry_after_seconds(odd) in (None, 0)


def test_a_body_knows_whether_it_was_read() -> None:
    body = WatchedBody(b"abc")
    assert not body.begun
    assert body.read() == b"abc"
    assert body.begun


def test_a_raw_reply_hides_its_body() -> None:
    assert "secret" not in repr(RawReply(200, {}, b"secret"))


@pytest.mark.slow
def test_a_call_in_flight_can_be_cut_off(serve: Serve, client: Client) -> None:
    """It ends at once, and what became of it is not known. The next call is not harmed."""
    entered, go = threading.Event(), threading.Event()

    def silent(connection: socket.socket) -> None:
        if not entered.is_set():
            entered.set()
            go.wait(60)
            return
        reply(GOOD)(connection)

    sending = client(serve(silent).url)
    failures: list[BaseException] = []

    def send() -> None:
        try:
            sending.ask(REQUEST, "pi-1")
        except ReplyLost as error:
            failures.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    assert entered.wait(60)
    sending.cut_off()
    thread.join(60)
    assert len(failures) == 1
    assert sending.ask(REQUEST, "pi-2").status == 200
    go.set()


@pytest.mark.slow
def test_a_compression_bomb_is_bounded(serve: Serve, client: Client) -> None:
    """A few kilobytes that unpack to a gigabyte: read up to the cap, and the reply is unreadable, not a crash."""
    layer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([layer.compress(b" " * 2**24) for _ in range(64)]) + layer.flush()
    assert len(bomb) < 2 * 2**20
    raw = client(serve(reply(bomb, "200 OK", "content-encoding: gzip")).url, max_reply_bytes=2**20).ask(REQUEST, "pi-1")
    assert len(raw.body) <= 2**20
    with pytest.raises(UnreadableReply, match="larger than"):
        raw.read()
    failed = client(serve(reply(bomb, "500 Oops", "content-encoding: gzip")).url).ask(REQUEST, "pi-2")
    assert len(failed.body) <= 256 * 2**10


@pytest.mark.parametrize("depth", [1_000, 200_000])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_deeply_nested_json_is_no_crash(serve: Serve, client: Client, status: str, depth: int) -> None:
    nested = b'{"data": ' + b"[" * depth + b"]" * depth + b', "status": 400, "message": "m"}'
    raw = client(serve(reply(nested, status)).url).ask(REQUEST, "pi-1")
    with pytest.raises(UnreadableReply if status.startswith("200") else StatusError):
        raw.read()
