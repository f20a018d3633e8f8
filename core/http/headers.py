"""Heads of requests and answers, written and read with few calls.

`http.client` hands the headers of an answer to the email package, which takes more time for them than all else about a
small answer. Here the usual lines are written and read at once. Anything unusual is left to `http.client`, which has
the errors for it. Informational answers (RFC 9110, 15.2) are skipped: before Python 3.12, `http.client` takes a 103 for
the answer.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.util import SKIP_HEADER

_WRITTEN = re.compile(r"[^:\s\x80-\U0010ffff][^:\r\n\x80-\U0010ffff]*: [^\r\n]*")
"""An ASCII name and a value, in which nothing begins another line."""
_READ = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*)\r?\n")
"""A line that neither continues the one before nor is anything but a name and a value."""
_END = (b"\r\n", b"\n", b"")
_LONGEST_LINE, _MOST_LINES = 65_536, 100  # as http.client has them
_MOST_INFORMATIONAL = 64
_SENT_WITH_HEAD = 2**16
"""Bytes of a part that is copied behind the head: one call of the system less, for this side and the other one."""


class PlainResponse(http.client.HTTPResponse):
    """An answer that reads its own headers."""

    def begin(self) -> None:
        """Read the first line and the headers; raises what `http.client` raises."""
        if self.headers is not None:
            return
        for _ in range(_MOST_INFORMATIONAL):
            version, status, reason = self._read_status()
            headers, found = _read(self.fp)
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                break
        else:
            raise http.client.HTTPException(f"more than {_MOST_INFORMATIONAL} informational answers")
        if not version.startswith(("HTTP/1.", "HTTP/0.9")):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.code = self.status = status
        self.reason = reason.strip()
        self.headers = self.msg = headers
        self.chunked = found.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        closes = "close" in found.get("connection", "").lower()
        self.will_close = closes if self.version == 11 else self._check_close()
        self.length = None if self.chunked else _length(found.get("content-length"))
        without_body = status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED) or 100 <= status < 200
        if without_body or self._method == "HEAD":
            self.length = 0
        if not self.chunked and self.length is None:
            self.will_close = True


class _Headers(http.client.HTTPMessage):
    """Headers that were read here: there is nothing in them for the email package to clean."""

    def items(self) -> list[tuple[str, str]]:
        return list(self.raw_items())


def _length(text: str | None) -> int | None:
    try:
        length = int(text or "")
    except ValueError:
        return None
    return length if length >= 0 else None


def _read(file: io.BufferedReader) -> tuple[http.client.HTTPMessage, dict[str, str]]:
    """The headers of an answer; and the first of each name, which is in lower case."""
    lines: list[bytes] = []
    while (line := file.readline(_LONGEST_LINE + 1)) not in _END:
        lines.append(line)
        if len(line) > _LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        if len(lines) >= _MOST_LINES:
            raise http.client.HTTPException(f"got more than {_MOST_LINES} headers")
    headers: http.client.HTTPMessage = _Headers()
    for line in lines:
        if (match := _READ.fullmatch(line)) is None:
            headers = http.client.parse_headers(io.BytesIO(b"".join(lines)))
            break
        headers.set_raw(match[1].decode(), match[2].decode("latin-1"))
    return headers, {name.lower(): value for name, value in reversed(headers.items())}


class PlainConnection(HTTPConnection):
    """A connection that sends the head of a request with the beginning of its body."""

    response_class = PlainResponse
    _head: bytes | None = None
    _head_comes = False

    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        """Send a request. Nothing of the body is asked for before there is a connection."""
        if self.sock is None:
            self.connect()
        self._head_comes = body is not None
        try:
            super().request(method, url, body, *args, **options)
            if self._head is not None:  # the body is empty
                super().send(self._head)
        finally:
            self._head, self._head_comes = None, False

    def send(self, data: Any) -> None:
        """Send a part of the request."""
        if self._head_comes:
            self._head, self._head_comes = data, False
            return
        head, self._head = self._head, None
        if head is not None:
            if len(data) > _SENT_WITH_HEAD:
                super().send(head)
            else:
                data = head + data
        super().send(data)

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override]
        """Add a line to the request."""
        # Some twenty of them go with a put: no call more than it takes.
        value = values[0] if values else None
        if value.__class__ is str and header.__class__ is str and ":" not in header and not values[1:]:
            line = f"{header}: {value}"
            if value != SKIP_HEADER and _WRITTEN.fullmatch(line):
                self._output(line.encode("latin-1"))  # type: ignore[attr-defined]
                return
        super().putheader(header, *values)
