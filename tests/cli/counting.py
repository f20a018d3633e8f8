"""A proxy that counts requests: what a command asks of a service, in order."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding"})


class CountingProxy:
    """Passes requests on to a server, and keeps method and path of each.

    In what the server answers, its address becomes that of the proxy.

    Args:
        target: Origin of the server, `http://127.0.0.1:8333`.
    """

    def __init__(self, target: str) -> None:
        self.asked: list[tuple[str, str]] = []
        upstream = urlsplit(target)
        proxy, asked = self, self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                asked.append((self.command, self.path))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                connection = http.client.HTTPConnection(str(upstream.hostname), upstream.port, timeout=60)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                if "json" in (answer.getheader("Content-Type") or ""):
                    content = content.replace(target.encode(), proxy.origin.encode())
                self.send_response_only(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in {*_HOP_BY_HOP, "content-length"}:
                        self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(len(content)) if content else answer.getheader("Content-Length") or "0"
                )
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - as http.server calls them

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> CountingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def origin(self) -> str:
        """Its own origin."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had something in their path or query."""
        return sum(method == asked and part in path for asked, path in self.asked)
