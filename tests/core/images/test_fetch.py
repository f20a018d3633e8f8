from __future__ import annotations

import base64
import gzip
import hashlib
import pickle
import resource
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import requests
from prefect_imagen.core.errors import ImagenError, Unavailable
from prefect_imagen.core.files import SpoolUnavailable
from prefect_imagen.core.http.errors import FetchError, FetchGone, FetchRefused, FetchTransient
from prefect_imagen.core.images import Fetcher, NotAnImage, inspect, save_bytes

from ...tls import self_signed

Serve = Callable[..., Any]
BODY = bytes(range(256)) * 1000


def answer(status: str = "200 OK", body: bytes = BODY, **headers: str) -> Callable[[BinaryIO, bytes], None]:
    """A reply with a true Content-Length, unless `headers` say otherwise."""
    fields = {"Content-Type": "image/png", "Content-Length": str(len(body))}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    def reply(out: BinaryIO, _: bytes) -> None:
        out.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    return reply


def cut(out: BinaryIO) -> None:
    """End the connection under the client's hands."""
    out.flush()
    raise ConnectionAbortedError


@pytest.fixture
def fetch(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Fetch a URL of a trusted server into `tmp_path / "image"`."""
    made: list[Fetcher] = []

    def run(url: str, trust: list[str] | None = None, in_memory: int = 0, cut_too: bool = False, **options: Any) -> Any:
        made.append(Fetcher([url] if trust is None else trust, **options))
        return made[-1].fetch(url, tmp_path / "image", in_memory=in_memory, cut_too=cut_too)

    yield run
    for fetcher in made:
        fetcher.close()


@pytest.fixture(autouse=True)
def no_litter(tmp_path: Path) -> Iterator[None]:
    """Whatever happens, no half file stays behind."""
    yield
    assert not list(tmp_path.rglob("*.part"))


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let names resolve to `addresses`, one a lookup, the last for ever after. Returns the names asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        address = addresses[min(len(asked), len(addresses) - 1)]
        asked.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


class TestDownload:
    def test_file_hash_size_and_declared_type(self, serve: Serve, fetch: Any, tmp_path: Path) -> None:
        server = serve(answer(Content_Type="IMAGE/PNG; charset=binary"))
        got = fetch(server.url + "/a.png", user_agent="prefect-imagen/9")
        assert got.path.read_bytes() == BODY
        assert (got.size, got.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
        assert got.content_type == "image/png"
        head = server.heads[0].lower()
        assert b"user-agent: prefect-imagen/9\r\n" in head
        assert b"accept-encoding: identity\r\n" in head
        assert b"authorization" not in head
        assert b"cookie" not in head

    def test_chunked_body(self, serve: Serve, fetch: Any) -> None:
        server = serve(
            lambda out, _: out.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n"
            )
        )
        got = fetch(server.url)
        assert got.path.read_bytes() == b"abcdefgh"
        assert got.content_type is None

    def test_an_older_file_is_replaced_only_by_a_whole_one(self, serve: Serve, fetch: Any, tmp_path: Path) -> None:
        (tmp_path / "image").write_bytes(b"old")

        def short(out: BinaryIO, _: bytes) -> None:
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            cut(out)

        with pytest.raises(FetchTransient):
            fetch(serve(short).url)
        assert (tmp_path / "image").read_bytes() == b"old"
        fetch(serve(answer()).url)
        assert (tmp_path / "image").read_bytes() == BODY

    def test_connections_are_reused_and_deadlines_are_not(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(answer())
        fetcher = Fetcher([server.url], deadline=1)
        fetcher.fetch(server.url, tmp_path / "1")
        time.sleep(1.1)
        fetcher.fetch(server.url, tmp_path / "2")
        fetcher.close()
        assert server.connections == 1

    def test_many_threads_one_fetcher(self, serve: Serve, tmp_path: Path) -> None:
        def echo(out: BinaryIO, head: bytes) -> None:
            body = head.split()[1] * 10_000
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        server = serve(echo)
        fetcher = Fetcher([server.url])
        with ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda n: fetcher.fetch(f"{server.url}/{n}", tmp_path / str(n)), range(200)))
        fetcher.close()
        for number, one in enumerate(got):
            assert one.path.read_bytes() == b"/%d" % number * 10_000

    def test_no_cookie_is_kept(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(answer(Set_Cookie="id=1; Path=/"))
        fetcher = Fetcher([server.url])
        for _ in range(2):
            fetcher.fetch(server.url, tmp_path / "a")
        fetcher.close()
        assert len(server.heads) == 2
        assert b"cookie" not in server.heads[1].lower()

    def test_netrc_adds_nothing(
        self, serve: Serve, fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login a password b\ndefault login user password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        target = serve(answer())
        first = serve(answer("302 Found", b"", Location=target.url + "/next"))
        fetch(first.url, trust=[first.url, target.url])
        assert first.heads
        assert target.heads
        assert all(b"authorization" not in head.lower() for head in first.heads + target.heads)
        # The file does bite: plain requests sends what it says.
        requests.get(target.url, timeout=5)
        assert b"authorization" in target.heads[-1].lower()


class TestExactTarget:
    @pytest.mark.parametrize(
        "target",
        [
            "/a%2fb%2Fc?sig=%2b%2B+~%7e%7E&e=%e2%98%83&E=%E2%98%83",
            "/x?a=b%20c&empty=&&d",
            "/x?",
            "/a/../b/./c?x=/../y",
            "/x;p=1?q=a;b|c^d`{e}[f]<g>\"'\\h",
            "/%",
            "/x?bad=%zz%4",
            "/?X-Amz-Signature=0a%2fB%3D%3d",
            "//double//slash?x=//y",
            "/x?u=http://other/?y",
        ],
    )
    def test_reaches_the_wire_as_given(self, serve: Serve, fetch: Any, target: str) -> None:
        direct = serve(answer())
        fetch(direct.url + target + "#fragment")
        assert direct.heads[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()
        first = serve(answer("307 Temporary Redirect", b"", Location=direct.url + target))
        fetch(first.url, trust=[first.url, direct.url])
        assert direct.heads[1].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()

    def test_only_what_no_request_line_can_hold_is_escaped(self, serve: Serve, fetch: Any) -> None:
        server = serve(answer())
        fetch(server.url + "?ü=a b%2f")
        assert server.heads[0].startswith(b"GET /?%C3%BC=a%20b%2f HTTP/1.1\r\n")

    @pytest.mark.parametrize(
        ("location", "expected"),
        [("/b?x=%2f", b"/b?x=%2f"), ("c?x=%2f", b"/dir/c?x=%2f"), ("?x=%2f", b"/dir/a?x=%2f")],
    )
    def test_relative_redirects(self, serve: Serve, fetch: Any, location: str, expected: bytes) -> None:
        def reply(out: BinaryIO, head: bytes) -> None:
            first = head.startswith(b"GET /dir/a ")
            (answer("302 Found", b"", Location=location) if first else answer())(out, head)

        server = serve(reply)
        fetch(server.url + "/dir/a")
        assert server.heads[1].split()[1] == expected

    def test_redirect_in_raw_utf8(self, serve: Serve, fetch: Any) -> None:
        def reply(out: BinaryIO, head: bytes) -> None:
            if head.startswith(b"GET /a "):
                out.write("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /ü\r\n\r\n".encode())
            else:
                answer()(out, head)

        server = serve(reply)
        fetch(server.url + "/a")
        assert server.heads[1].startswith(b"GET /%C3%BC HTTP/1.1")


class TestBodies:
    def test_cut_body(self, serve: Serve, fetch: Any) -> None:
        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 400)
            cut(out)

        with pytest.raises(FetchTransient, match="cut after 400 bytes"):
            fetch(serve(reply).url)

    def test_cut_chunked_body(self, serve: Serve, fetch: Any) -> None:
        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nabc")
            cut(out)

        with pytest.raises(FetchTransient):
            fetch(serve(reply).url)

    @pytest.mark.parametrize(
        ("head", "came"),
        [
            (b"Content-Length: 1000", b"abc"),
            (b"Content-Length: 1000", b""),
            (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
            (b"Content-Encoding: gzip\r\nContent-Length: 1000", gzip.compress(b"abc", mtime=0)),
        ],
    )
    @pytest.mark.parametrize("silent", [True, False])
    def test_a_cut_body_that_is_asked_for(
        self, serve: Serve, fetch: Any, head: bytes, came: bytes, silent: bool
    ) -> None:
        """Whether the connection ends, or is kept open for what never comes."""
        stop = threading.Event()

        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + came)
            if silent:
                out.flush()
                stop.wait(60)
            cut(out)

        got = fetch(serve(reply).url, read_timeout=0.5 if silent else 60, cut_too=True)
        stop.set()
        assert got.path.read_bytes() == (b"abc" if came else b"")
        assert ("silent for 0.5 s" if silent else "cut") in got.cut

    def test_cut_before_any_answer(self, serve: Serve, fetch: Any) -> None:
        with pytest.raises(FetchTransient, match="cut"):
            fetch(serve(lambda out, _: cut(out)).url)

    @pytest.mark.parametrize("where", ["head", "body", "chunks"])
    def test_dripping_stops_at_the_deadline(self, serve: Serve, fetch: Any, where: str) -> None:
        stop = threading.Event()
        start = {
            "head": b"HTTP/1.1 200 OK\r\nX-Long: ",
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
            "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        }[where]

        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(start)
            while not stop.wait(0.05):
                out.write(b"1\r\nx\r\n" if where == "chunks" else b"x")

        with pytest.raises(FetchTransient, match=r"not finished within 0\.5 s"):
            fetch(serve(reply).url, deadline=0.5)
        stop.set()

    def test_silence_stops_at_the_read_timeout(self, serve: Serve, fetch: Any) -> None:
        stop = threading.Event()
        with pytest.raises(FetchTransient, match=r"silent for 0\.2 s"):
            fetch(serve(lambda out, _: stop.wait(60)).url, read_timeout=0.2)
        stop.set()

    def test_silence_in_the_body_stops_at_the_deadline_too(self, serve: Serve, fetch: Any) -> None:
        stop = threading.Event()

        def reply(out: BinaryIO, _: bytes) -> None:
            stop.wait(1.2)
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
            stop.wait(60)

        with pytest.raises(FetchTransient, match=r"not finished within 1\.5 s"):
            fetch(serve(reply).url, deadline=1.5)
        stop.set()

    def test_50_gb_declared(self, serve: Serve, fetch: Any) -> None:
        server = serve(answer(body=b"x", Content_Length=str(50 * 10**9)))
        with pytest.raises(FetchRefused, match="50,000,000,000 bytes declared"):
            fetch(server.url)

    @pytest.mark.parametrize("chunked", [True, False])
    def test_endless_body(self, serve: Serve, fetch: Any, chunked: bool) -> None:
        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"))
            while True:
                out.write(b"10000\r\n" + b"x" * 65536 + b"\r\n" if chunked else b"x" * 65536)

        with pytest.raises(FetchRefused, match="larger than the 1,000,000 bytes allowed"):
            fetch(serve(reply).url, max_bytes=1_000_000)

    def test_exactly_the_cap_is_allowed(self, serve: Serve, fetch: Any) -> None:
        server = serve(answer())
        assert fetch(server.url, max_bytes=len(BODY)).size == len(BODY)
        with pytest.raises(FetchRefused):
            fetch(server.url, max_bytes=len(BODY) - 1)

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", gzip.compress(BODY, mtime=0)),
            ("x-gzip", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0) + bytes(100)),
            ("deflate", zlib.compress(BODY)),
            ("deflate", zlib.compress(BODY)[2:-4]),
            ("gzip, gzip", gzip.compress(gzip.compress(BODY, mtime=0), mtime=0)),
            ("base64", base64.b64encode(BODY)),
            *(
                (name, BODY)
                for name in ("", "none", "utf-8", "binary", "br", "aws-chunked", "gzip", "deflate", "base64")
            ),
        ],
    )
    @pytest.mark.parametrize("in_memory", [0, 2**20])
    def test_the_bytes_say_whether_they_are_encoded(
        self, serve: Serve, fetch: Any, encoding: str, body: bytes, in_memory: int
    ) -> None:
        got = fetch(serve(answer(body=body, Content_Encoding=encoding)).url, in_memory=in_memory)
        assert (got.size, got.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())

    @pytest.mark.parametrize("layers", [1, 2])
    def test_what_an_encoded_body_inflates_to_is_capped(self, serve: Serve, fetch: Any, layers: int) -> None:
        bomb = gzip.compress(bytes(50_000_000))
        for _ in range(layers - 1):
            bomb = gzip.compress(bomb, mtime=0)
        with pytest.raises(FetchRefused, match="larger than"):
            fetch(serve(answer(body=bomb, Content_Encoding=", ".join(["gzip"] * layers))).url, max_bytes=10_000_000)

    def test_an_encoded_body_that_is_cut_is_asked_for_again(self, serve: Serve, fetch: Any) -> None:
        with pytest.raises(FetchTransient, match="cut"):
            fetch(serve(answer(body=gzip.compress(BODY, mtime=0)[:-9], Content_Encoding="gzip")).url)

    def test_html_with_200_is_fetched_and_then_told_apart(self, serve: Serve, fetch: Any) -> None:
        got = fetch(serve(answer(body=b"<!DOCTYPE html><p>blocked")).url)
        with pytest.raises(NotAnImage, match="HTML text instead of an image"):
            inspect(got.path)


class TestStatus:
    @pytest.mark.parametrize(
        "status",
        [
            "400 Bad Request",
            "401 Unauthorized",
            "403 Forbidden",
            "404 Not Found",
            "410 Gone",
            "451 Unavailable For Legal Reasons",
            "204 No Content",
            "206 Partial Content",
            "304 Not Modified",
        ],
    )
    def test_gone(self, serve: Serve, fetch: Any, status: str) -> None:
        with pytest.raises(FetchGone, match=status[:3]):
            fetch(serve(answer(status)).url)

    @pytest.mark.parametrize(
        ("status", "header", "seconds"),
        [
            ("429 Too Many Requests", {"Retry_After": "7"}, 7.0),
            ("202 Accepted", {"Retry_After": "1"}, 1.0),
            ("503 Service Unavailable", {}, None),
            ("500 Oops", {"Retry_After": "soon"}, None),
            ("503 Busy", {"Retry_After": "inf"}, None),
            ("408 Request Timeout", {"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ],
    )
    def test_again(self, serve: Serve, fetch: Any, status: str, header: dict[str, str], seconds: float | None) -> None:
        with pytest.raises(FetchTransient) as caught:
            fetch(serve(answer(status, **header)).url)
        assert caught.value.retry_after == seconds

    @pytest.mark.parametrize("status", ["200 OK", "203 Non-Authoritative Information", "206 Partial Content"])
    def test_whole(self, serve: Serve, fetch: Any, status: str) -> None:
        whole = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
        assert fetch(serve(answer(status, Content_Range=whole)).url).size == len(BODY)

    @pytest.mark.parametrize("part", ["bytes 0-9/99", "bytes 1-9/10", "bytes 0-9/*", "items 0-9/10", "bytes 0-9", ""])
    def test_a_part_is_not_the_image(self, serve: Serve, fetch: Any, part: str) -> None:
        with pytest.raises(FetchGone):
            fetch(serve(answer("206 Partial Content", BODY, Content_Range=part)).url)

    def test_a_cdn_that_takes_browsers_only_is_asked_as_one(self, serve: Serve, fetch: Any) -> None:
        def picky(out: BinaryIO, head: bytes) -> None:
            (answer() if b"Mozilla" in head else answer("403 Forbidden", b"error code: 1010"))(out, head)

        server = serve(picky)
        assert fetch(server.url).size == len(BODY)
        assert [b"prefect-imagen" in head for head in server.heads] == [True, False]

    def test_it_is_asked_once_as_a_browser_and_then_no_more(self, serve: Serve, fetch: Any) -> None:
        server = serve(answer("403 Forbidden"))
        with pytest.raises(FetchGone):
            fetch(server.url)
        assert len(server.heads) == 2

    def test_a_10_mb_error_page_is_not_read(self, serve: Serve, fetch: Any) -> None:
        sent = []

        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(1000):
                out.write(b"x" * 100_000)
                sent.append(100_000)

        with pytest.raises(FetchTransient):
            fetch(serve(reply).url)
        assert sum(sent) < 20_000_000


class TestRedirects:
    def test_five_are_followed_a_sixth_is_not(self, serve: Serve, fetch: Any) -> None:
        def reply(out: BinaryIO, head: bytes) -> None:
            left = int(head.split()[1][1:])
            (answer("302 Found", b"", Location=f"/{left - 1}") if left else answer())(out, head)

        server = serve(reply)
        assert fetch(server.url + "/5").size == len(BODY)
        with pytest.raises(FetchRefused, match="more than 5 redirects"):
            fetch(server.url + "/6")
        assert len(server.heads) == 6 + 6

    def test_endless_loop(self, serve: Serve, fetch: Any) -> None:
        server = serve(answer("301 Moved", b"", Location="/?token=hush"))
        with pytest.raises(FetchRefused) as caught:
            fetch(server.url)
        assert len(server.heads) == 6
        assert "hush" not in str(caught.value)

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:169.254.169.254]/",
            "http://2852039166/",
            "http://10.0.0.7/",
            "file:///etc/passwd",
            "ftp://example.com/x",
            "http://user:secret@example.com/",
            "gopher://127.0.0.1/",
        ],
    )
    def test_into_forbidden_places(self, serve: Serve, fetch: Any, location: str) -> None:
        server = serve(answer("302 Found", b"", Location=location))
        with pytest.raises(FetchRefused) as caught:
            fetch(server.url)
        assert "secret" not in str(caught.value)

    def test_to_another_port_of_this_machine(self, serve: Serve, fetch: Any) -> None:
        inner = serve(answer())
        outer = serve(answer("302 Found", b"", Location=inner.url))
        with pytest.raises(FetchRefused, match="loopback"):
            fetch(outer.url)
        assert inner.connections == 0

    def test_without_location(self, serve: Serve, fetch: Any) -> None:
        with pytest.raises(FetchError, match="without saying where to go"):
            fetch(serve(answer("302 Found", b"")).url)

    def test_the_body_of_a_redirect_is_not_read(self, serve: Serve, fetch: Any) -> None:
        target = serve(answer())
        sent = []

        def reply(out: BinaryIO, _: bytes) -> None:
            out.write(f"HTTP/1.1 302 Found\r\nLocation: {target.url}\r\n\r\n".encode())
            while True:
                out.write(b"x" * 100_000)
                sent.append(100_000)

        first = serve(reply)
        assert fetch(first.url, trust=[first.url, target.url]).size == len(BODY)
        assert sum(sent) < 20_000_000


class TestAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0.0.0.0"])
    def test_this_machine_is_refused_unless_trusted(self, serve: Serve, fetch: Any, host: str) -> None:
        server = serve(answer())
        with pytest.raises(FetchRefused):
            fetch(f"http://{host}:{server.port}/", trust=[])
        assert server.connections == 0

    @pytest.mark.parametrize("change", ["scheme", "port"])
    def test_trust_is_for_one_origin(self, serve: Serve, fetch: Any, change: str) -> None:
        server = serve(answer())
        trusted = server.url.replace("http:", "https:") if change == "scheme" else "http://127.0.0.1:1"
        with pytest.raises(FetchRefused):
            fetch(server.url, trust=[trusted])
        assert server.connections == 0

    @pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "::1", "fe80::1", "fd00::1"])
    def test_a_name_leading_inside_is_refused(self, monkeypatch: pytest.MonkeyPatch, fetch: Any, address: str) -> None:
        resolving(monkeypatch, address)
        with pytest.raises(FetchRefused, match=r"cdn\.example leads to"):
            fetch("http://cdn.example/x", trust=[])

    def test_one_bad_address_of_several_is_enough(self, monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
        def resolve(host: str, port: int, *_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("93.184.216.34", "10.0.0.1")]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(FetchRefused, match=r"10\.0\.0\.1"):
            fetch("http://cdn.example/x", trust=[])

    def test_the_checked_address_is_the_one_connected_to(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch, fetch: Any
    ) -> None:
        """DNS rebinding: the second answer of the name server would lead inside."""
        server = serve(answer())
        asked = resolving(monkeypatch, "93.184.216.34", "127.0.0.1")
        connected: list[Any] = []
        connect = socket.socket.connect

        def divert(self: socket.socket, address: Any) -> None:
            connected.append(address)
            connect(self, ("127.0.0.1", server.port))

        monkeypatch.setattr(socket.socket, "connect", divert)
        fetch(f"http://cdn.example:{server.port}/x", trust=[])
        assert connected == [("93.184.216.34", server.port)]
        assert asked == ["cdn.example"]
        assert f"Host: cdn.example:{server.port}\r\n".encode() in server.heads[0]
        with pytest.raises(FetchRefused):
            fetch(f"http://cdn.example:{server.port}/x", trust=[])
        assert len(connected) == 1

    def test_nothing_listens(self, fetch: Any) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(FetchTransient, match="no connection"):
                fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/?sig=hush")

    def test_unknown_name(self, monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
        def resolve(*_: Any) -> Any:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(FetchTransient, match="cannot be resolved") as caught:
            fetch("http://cdn.example/x?sig=hush", trust=[])
        assert "hush" not in str(caught.value)


class TestProxy:
    def test_forwarded_exactly_and_judged_by_literal(
        self, serve: Serve, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = serve(answer())
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        fetch("http://cdn.example/x?s=%2f~", trust=[])
        assert proxy.heads[0].startswith(b"GET http://cdn.example/x?s=%2f~ HTTP/1.1\r\nHost: cdn.example\r\n")
        with pytest.raises(FetchRefused):
            fetch("http://169.254.169.254/latest", trust=[])
        assert len(proxy.heads) == 1

    def test_a_trusted_server_of_this_machine_is_reached_directly(
        self, serve: Serve, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy, server = serve(answer("502 Bad Gateway")), serve(answer())
        monkeypatch.setenv("http_proxy", proxy.url)
        assert fetch(server.url).size == len(BODY)
        assert proxy.connections == 0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key, for the name images.test."""
    return self_signed(tmp_path_factory.mktemp("tls") / "both.pem", "images.test")


class TestTls:
    def test_name_is_checked_while_the_address_is_ours(
        self, serve: Serve, fetch: Any, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)
        names: list[str] = []
        context.sni_callback = lambda _, name, __: names.append(name)  # type: ignore[assignment]
        server = serve(answer(), tls=context)
        resolving(monkeypatch, "127.0.0.1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        good = f"https://images.test:{server.port}/x?s=%2f"
        assert fetch(good).size == len(BODY)
        assert server.heads[0].startswith(b"GET /x?s=%2f HTTP/1.1\r\nHost: images.test:")
        assert names == ["images.test"]
        with pytest.raises(FetchTransient, match="TLS failed"):
            fetch(f"https://other.test:{server.port}/")
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(FetchTransient, match="TLS failed"):
            fetch(good)
        with pytest.raises(FetchRefused):
            fetch(good, trust=[])


class TestSpool:
    def test_bytes_of_a_reply(self, tmp_path: Path) -> None:
        for data in (BODY, memoryview(BODY), b""):
            saved = save_bytes(data, tmp_path / "b")
            assert saved.path.read_bytes() == bytes(data)
            assert saved.sha256 == hashlib.sha256(data).hexdigest()
            assert (saved.size, saved.content_type) == (len(data), None)

    def test_full_disk(self, serve: Serve, fetch: Any, tmp_path: Path) -> None:
        """A file-size limit of the process stands in for the disk: the same failing write, no root needed."""
        server = serve(answer())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(SpoolUnavailable, match="File too large"):
                fetch(server.url)
            with pytest.raises(SpoolUnavailable, match="File too large"):
                save_bytes(BODY, tmp_path / "b")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []

    def test_folder_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SpoolUnavailable, match="No such file"):
            save_bytes(b"x", tmp_path / "missing" / "b")
        with pytest.raises(SpoolUnavailable, match="directory"):
            save_bytes(b"x", tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        FetchError("a"),
        FetchGone("a"),
        FetchRefused("a"),
        FetchTransient("a", 2.5),
        NotAnImage("a"),
        SpoolUnavailable("a"),
    ],
)
def test_errors_survive_a_pickle(error: ImagenError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (type(error), "a", error.__dict__)
    assert isinstance(copy, ImagenError)
    assert isinstance(copy, Unavailable) == isinstance(error, SpoolUnavailable)
