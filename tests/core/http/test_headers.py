"""Headers of a request: written as `http.client` writes them, and refused where it refuses them."""

from __future__ import annotations

import pytest
from prefect_imagen.core.http.transport import PlainHeaders
from urllib3.connection import HTTPConnection

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
    assert request_of(PlainHeaders("a.example"), *HEADERS) == request_of(HTTPConnection("a.example"), *HEADERS)


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
    connection = PlainHeaders("a.example")
    connection.putrequest("GET", "/")
    with pytest.raises(ValueError):
        connection.putheader(name, value)
