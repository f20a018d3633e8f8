"""Objects past boto3's layers.

A put of 20 KB spends more of the processor in boto3 (endpoint rules, hooks, validation, parsing) than all else that
happens to an image. So boto3 makes the first request of a kind, and the next ones are made after its pattern: the same
address and headers, signed by botocore's own signer, sent once. Whatever is not a plain success is left to boto3,
which asks as if nobody had, with its retries and errors: the same bytes put twice are there once.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

from botocore.auth import EMPTY_SHA256_HASH, SIGNED_HEADERS_BLACKLIST, UNSIGNED_PAYLOAD, S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError

from ..http.headers import PlainConnection

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/s3/aws4_request,")
_OWN = frozenset(
    {
        "authorization",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "content-length",
        "content-type",
        "expect",
        "host",
        "if-none-match",
        "x-amz-checksum-sha256",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    }
)
"""Headers that belong to one object or one attempt, beside those with its metadata."""
_METADATA = "x-amz-meta-"
_ANSWERS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})
"""What a server says that is well: the key is taken, or there is none."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What all requests of a kind have in common.

    Attributes:
        server: Connections to it.
        origin: Scheme and host of the URL.
        host: As it is signed.
        path: The rest of it, up to the key.
        region: That of the signature.
        headers: Those of every object: encryption, storage class, tags, the client's name.
    """

    server: HTTPConnectionPool
    origin: str
    host: str
    path: str
    region: str
    headers: Mapping[str, str] = field(repr=False)


class _Signer(S3SigV4Auth):
    """Signs with the hash that is known already; under TLS with none, since the checksum header is signed, too.

    Args:
        headers: Names in lower case. They are signed with those that the signer adds to a request.
    """

    def __init__(self, credentials: Any, pattern: _Pattern, sha256: str, headers: Mapping[str, str]) -> None:
        super().__init__(credentials, "s3", pattern.region)
        self._sha256 = sha256
        given = {name: value for name, value in headers.items() if name not in SIGNED_HEADERS_BLACKLIST}
        self._given = {**given, "host": pattern.host}
        self._signed: dict[str, str] | None = None

    def payload(self, request: AWSRequest) -> str:
        return UNSIGNED_PAYLOAD if str(request.url).startswith("https:") else self._sha256

    def headers_to_sign(self, request: AWSRequest) -> Any:
        if self._signed is None:  # asked for twice; in between, only the signature itself is added
            self._signed = self._given | {name.lower(): value for name, value in request.headers.items()}
        return self._signed

    def canonical_headers(self, headers_to_sign: Any) -> str:
        return "\n".join([f"{name}:{' '.join(headers_to_sign[name].split())}" for name in sorted(headers_to_sign)])

    def signed_headers(self, headers_to_sign: Any) -> str:
        return ";".join(sorted(headers_to_sign))


class _TlsConnection(PlainConnection, HTTPSConnection):
    """A connection to S3 under TLS."""


class _Server(HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _TlsServer(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class DirectRequests:
    """Puts and gets after the pattern of boto3's. Thread-safe; one for each client.

    Args:
        credentials: Where each signature gets its keys, which may be renewed meanwhile; None: every request is boto3's.
        ca_bundle: Certificates that the server's is checked against, where they are not botocore's own.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        ca_bundle: str | None,
        connect_timeout: float,
        read_timeout: float,
        connections: int,
    ) -> None:
        self._credentials = credentials
        self._patterns: dict[Hashable, _Pattern | None] = {}
        self._local = threading.local()
        self._servers = PoolManager(
            maxsize=connections,
            timeout=Timeout(connect=connect_timeout, read=read_timeout),
            retries=False,
            ca_certs=ca_bundle or get_cert_path(True),
            cert_reqs="CERT_REQUIRED",
        )
        self._servers.pool_classes_by_scheme = {"http": _Server, "https": _TlsServer}

    def put(
        self,
        kind: Hashable,
        key: str,
        body: bytes,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str],
        only_new: bool,
    ) -> str | None:
        """Put an object.

        Args:
            kind: Tells the patterns apart: the bucket, and how objects are written.
            sha256: Of `body`, 64 hex digits.
            only_new: Not if there is one.

        Returns:
            The ETag; None if it is for boto3 to put it.
        """
        headers = {
            **{_METADATA + name: value for name, value in metadata.items()},
            "content-type": content_type,
            **({"if-none-match": "*"} if only_new else {}),
            "x-amz-checksum-sha256": in_base64(sha256),
        }
        answer = self._send("PUT", kind, key, headers, body, sha256)
        return answer.headers.get("ETag", "").strip('"') if answer is not None else None

    def get(self, kind: Hashable, key: str) -> dict[str, Any] | None:
        """Ask for an object.

        Args:
            kind: Tells the patterns apart: the bucket, and how objects are read.

        Returns:
            What is asked for of the answer, as boto3 gives it, with the body unread; None if it is for boto3 to ask.
        """
        answer = self._send("GET", kind, key, {}, None, EMPTY_SHA256_HASH)
        if answer is None:
            return None
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return {
            "Body": answer,
            "ContentType": headers.get("content-type"),
            "ChecksumSHA256": headers.get("x-amz-checksum-sha256"),
            "ChecksumType": headers.get("x-amz-checksum-type", "FULL_OBJECT"),
            "Metadata": {
                name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)
            },
        }

    def _send(
        self, method: str, kind: Hashable, key: str, headers: Mapping[str, str], body: bytes | None, sha256: str
    ) -> BaseHTTPResponse | None:
        """The answer if it is a plain success."""
        pattern = self._patterns.get((method, kind))
        if pattern is None or self._credentials is None:
            return None
        target, headers = pattern.path + _quoted(key), {**pattern.headers, **headers}
        request = AWSRequest(method, pattern.origin + target)
        try:
            keys = self._credentials.get_frozen_credentials()
            _Signer(keys, pattern, sha256, headers).add_auth(request)
            headers |= dict(request.headers.items())
            whole = body is not None  # there is nothing to wait for in the answer to a put
            answer = pattern.server.urlopen(
                method, target, body, headers, redirect=False, preload_content=whole, decode_content=False
            )
        except (HTTPError, BotoCoreError, OSError):
            status = 0
        else:
            status = answer.status
            if status == HTTPStatus.OK:
                return answer
            answer.close()
        if status not in _ANSWERS:
            # While the server is in trouble, it is asked no more often than boto3 would.
            self._patterns.pop((method, kind), None)
        return None

    @contextmanager
    def learning(self, kind: Hashable, key: str) -> Iterator[None]:
        """Take the request that boto3 sends meanwhile as the pattern of its kind."""
        self._local.seen = None
        try:
            yield
            seen: AWSPreparedRequest | None = self._local.seen
            if seen is not None and (seen.method, kind) not in self._patterns:
                self._patterns[seen.method, kind] = self._pattern_of(seen, key)
        finally:
            self._local.seen = None

    def see(self, request: AWSPreparedRequest, **_: Any) -> None:
        """Handler of boto3's event `before-send`."""
        self._local.seen = request

    def _pattern_of(self, request: AWSPreparedRequest, key: str) -> _Pattern | None:
        """What can be done again without boto3; None where the address, the signature or the way there is unusual."""
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        scope, url = _SCOPE.match(headers.get("authorization", "")), urlsplit(request.url)
        if (
            scope is None
            or self._credentials is None
            or not request.url.endswith(f"/{_quoted(key)}")
            or url.scheme in getproxies()
        ):
            return None
        kept = {name: value for name, value in headers.items() if name not in _OWN and not name.startswith(_METADATA)}
        origin = f"{url.scheme}://{url.netloc}"
        path = request.url.removeprefix(origin).removesuffix(_quoted(key))
        host = SigV4Auth(self._credentials, "s3", scope[1]).headers_to_sign(AWSRequest("GET", origin))["host"]
        return _Pattern(self._servers.connection_from_url(origin), origin, host, path, scope[1], kept)


def in_base64(sha256: str) -> str:
    """A SHA-256 of 64 hex digits, as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _quoted(key: str) -> str:
    return quote(key, safe="-._~/")
