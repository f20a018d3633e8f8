"""Headers: written and read as `http.client` writes and reads them, and refused where it refuses them."""

from __future__ import annotations

import http.client
import io
import random
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prefect_imagen.core.http.headers import PlainConnection, PlainResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

HEADERS = [
    ("Accept", "*/*"),
    ("x-amz-meta-prompt", "a fox: in the snow"),
    ("X-Empty", ""),
    ("X-Latin", "é"),
    ("x", "a\tb"),
]


def request_of(connection: HTTPConnection, *headers: tuple[str, str]) -> list[bytes]:
    connection.putrequest("GET", "/", skip_host=True)
    for name, value in headers:
        connection.putheader(name, value)
    return list(connection._buffer)  # type: ignore[attr-defined]


def test_headers_are_written_as_ever() -> None:
    assert request_of(PlainConnection("a.example"), *HEADERS) == request_of(HTTPConnection("a.example"), *HEADERS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a: b\r\nc", "d"),
        ("a: b", "c"),
        ("a\nb", "c"),
        (" a", "b"),
        ("", "b"),
        ("é", "b"),
        ("a", "b\r\nc: d"),
        ("a", "b\nc: d"),
        ("a", "b\rc"),
        ("a", "狐"),
    ],
)
def test_a_header_that_would_begin_another_line_is_refused(name: str, value: str) -> None:
    connection = PlainConnection("a.example")
    connection.putrequest("GET", "/")
    with pytest.raises(ValueError):
        connection.putheader(name, value)


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length:5\r\nConnection: Close\r\n\r\nhello",
    b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.9 299 \r\nX: \xe9 \r\nX:\t b\r\nx-long: " + b"a" * 60_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 5\nA: b\n\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n folded: first\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nFrom me\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n: no name\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nname : x\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\na: b\rc: d\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\na: b\x00c\x0bd\x85e\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(99)) + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 65_536 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: cut",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"",
    b"\r\n",
]


class Wire:
    """A socket that has all of its answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._answer))  # type: ignore[arg-type]


def read_by(kind: type[http.client.HTTPResponse], answer: bytes, method: str) -> Any:
    """All that can be known of an answer, or what is raised in its place."""
    response = kind(Wire(answer), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        facts = (response.status, response.reason, response.version, response.length, response.chunked)
        rest = (response.will_close, response.headers.items(), response.headers.get_all("x"))
        return (*facts, *rest, response.getheader("content-type"), response.read())
    except (http.client.HTTPException, OSError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_read_as_http_client_reads_it(answer: bytes, method: str) -> None:
    assert read_by(PlainResponse, answer, method) == read_by(http.client.HTTPResponse, answer, method)


def test_a_damaged_answer_is_read_as_http_client_reads_it() -> None:
    chance = random.Random(11)
    pieces = [b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\x00", b"\xff", b"content-length: 3\r\n", b"chunked", b"A"]
    for _ in range(3_000):
        answer = bytearray(chance.choice([one for one in ANSWERS if len(one) < 1_000]))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(9, max(10, len(answer)))
            answer[place : place + chance.randrange(3)] = chance.choice(pieces)
        if answer[9:10] != b"1":  # informational: see below
            assert read_by(PlainResponse, bytes(answer), "GET") == read_by(
                http.client.HTTPResponse, bytes(answer), "GET"
            ), bytes(answer)


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_informational_answers_are_skipped(status: int) -> None:
    answer = b"HTTP/1.1 %d Wait\r\nLink: </a>\r\n\r\n" % status * 3 + ANSWERS[0]
    assert read_by(PlainResponse, answer, "GET") == read_by(http.client.HTTPResponse, ANSWERS[0], "GET")
    endless = b"HTTP/1.1 %d Wait\r\n\r\n" % status * 65
    assert read_by(PlainResponse, endless, "GET")[0] is http.client.HTTPException


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        yield ours, theirs


def connected(kind: type[HTTPConnection], sock: socket.socket) -> HTTPConnection:
    connection = kind("a.example")
    connection.sock = sock
    return connection


BODIES: list[Any] = [
    None,
    b"",
    b"small",
    b"l" * 100_000,
    "text",
    [b"in ", b"parts"],
    io.BytesIO(b"from a file"),
    io.BytesIO(),
]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[:12])
def test_a_request_is_the_same_as_ever(pair: tuple[socket.socket, socket.socket], body: Any, chunked: bool) -> None:
    ours, theirs = pair
    sent = []
    for kind in (PlainConnection, HTTPConnection):
        if isinstance(body, io.BytesIO):
            body.seek(0)
        request = connected(kind, ours).request
        writing = threading.Thread(target=request, args=("POST", "/a", body), kwargs={"chunked": chunked})
        writing.start()
        come = b""
        while writing.is_alive() or select.select([theirs], [], [], 0)[0]:
            if select.select([theirs], [], [], 0.01)[0]:
                come += theirs.recv(2**20)
        sent.append(come)
    assert sent[0] == sent[1]
    assert sent[0].startswith(b"POST /a HTTP/1.1\r\n")


def test_the_head_goes_with_the_beginning_of_the_body() -> None:
    """The other side wakes up once, and has all of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps apart what is sent apart
    with ours, theirs:
        connected(PlainConnection, ours).request("POST", "/", io.BytesIO(b"body"), {"Content-Length": "4"})
        assert theirs.recv(2**16).endswith(b"\r\n\r\nbody")


def test_a_body_that_breaks_leaves_nothing_for_the_next_request(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    connection = connected(PlainConnection, ours)

    def broken() -> Iterator[bytes]:
        raise OSError("the file is gone")
        yield b""

    with pytest.raises(OSError, match="is gone"):
        connection.request("POST", "/first", broken())
    connection._HTTPConnection__state = "Idle"  # type: ignore[attr-defined]  # as after a new connection
    connection.request("GET", "/second")
    assert theirs.recv(2**16).startswith(b"GET /second")


def test_nothing_of_the_body_is_asked_for_before_there_is_a_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens

        class Watched(io.BytesIO):
            asked = False

            def read(self, size: int | None = -1, /) -> bytes:
                Watched.asked = True
                return super().read(size)

        with pytest.raises(NewConnectionError):
            PlainConnection("127.0.0.1", unused.getsockname()[1]).request("POST", "/", Watched(b"body"))
        assert not Watched.asked
