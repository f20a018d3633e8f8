"""Pictures at https addresses: a real TLS server, on an address of this machine that the guard is told to allow."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.inputs import InputReader
from prefect_imagen.core.plan import InvalidPrompts
from prefect_imagen.core.run import checks

from ...tls import self_signed
from .conftest import Desk, moving, picture

HOST = "photos.test"


class Shop(BaseHTTPRequestHandler):
    """Answers by path; what was asked for is on the server."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        found = {"/mug.png": picture(7), "/moving.gif": moving("GIF"), "/empty.png": b""}.get(path)
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/").replace("_", "/"))
            self.end_headers()
            return
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "both.pem", HOST)


@pytest.fixture
def shop(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """The server, by the only name that its certificate is for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.asked = []  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **how: Any) -> Any:
        return real("127.0.0.1" if host == HOST else host, *more, **how)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def origin(shop: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its address, which a run may read from although it is on this machine."""
    address = f"https://{HOST}:{shop.server_port}"

    def reader(ledger: Any, store: Any, trusted: tuple[str, ...]) -> InputReader:
        return InputReader(ledger, store, trusted=(*trusted, address))

    monkeypatch.setattr(checks, "InputReader", reader)
    return address


def test_a_picture_at_an_https_address_goes_in(desk: Desk, shop: ThreadingHTTPServer, origin: str) -> None:
    source = desk.table(("a", f"{origin}/mug.png?sig=secret"))
    assert desk.run(source)["states"] == {"delivered": 1}
    assert set(shop.asked) == {"/mug.png?sig=secret"}  # type: ignore[attr-defined]
    (row,) = desk.ledger.catalog.rows()
    assert json.loads(row["inputs"]) == [{"field": "image_urls", "sha256": hashlib.sha256(picture(7)).hexdigest()}]
    # The same from elsewhere is the same purchase; the address is kept without what signs it.
    desk.run(desk.table(("a", desk.put("mug.png", picture(7))), name="other.csv"))
    assert desk.bought == 1
    assert json.loads(row["source_row"])["picture"] == f"{origin}/mug.png?…"
    assert "secret" not in json.dumps(desk.ledger.catalog.rows(), default=str)


def test_what_an_https_address_does_not_give_is_said_by_row(desk: Desk, origin: str) -> None:
    bad = {
        "/none.png?sig=secret": "404",
        "/moving.gif": "animated: 2 frames",
        "/empty.png": "empty",
        "/to/http:__10.0.0.1_a.png": "10.0.0.1, a private",
        "/to/http:__169.254.169.254_latest": "link-local",
        "/to/file:___etc_passwd": "is not an http or https URL",
    }
    with pytest.raises(InvalidPrompts) as caught:
        desk.run(desk.table(*((f"a {n}", origin + path) for n, path in enumerate(bad))))
    assert [one.line for one in caught.value.problems] == list(range(2, len(bad) + 2))
    for problem, wanted in zip(caught.value.problems, bad.values(), strict=True):
        assert wanted in problem.problem
        assert "secret" not in problem.problem
    assert desk.bought == 0


def test_the_certificate_and_the_address_are_checked(
    desk: Desk, shop: ThreadingHTTPServer, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = desk.table(("a", f"{origin}/mug.png"))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(InvalidPrompts, match="TLS failed"):
        desk.run(source)
    # Nobody has said that it may be read from.
    monkeypatch.setattr(checks, "InputReader", InputReader)
    with pytest.raises(InvalidPrompts, match=r"leads to 127\.0\.0\.1, a loopback"):
        desk.run(source)
    assert (desk.bought, shop.asked) == (0, [])  # type: ignore[attr-defined]
