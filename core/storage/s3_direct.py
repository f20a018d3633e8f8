"""Small objects past boto3's layers.

A put of 20 KB spends more of the processor in boto3 (endpoint rules, hooks, validation, parsing) than all else that
happens to an image. So boto3 makes the first request of a kind, and the next ones are made after its pattern: the same
address and headers, signed by botocore's own signer, sent once. Whatever is not a plain success is left to boto3,
which sends the put as if there had been none, with its retries and errors: a put is create-only, so that twice is once.
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

import urllib3
from botocore.auth import UNSIGNED_PAYLOAD, S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from urllib3.exceptions import HTTPError

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
_TAKEN = frozenset({HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What all puts of a kind have in common.

    Attributes:
        address: The URL up to the key.
        region: That of the signature.
        headers: Those of every object: encryption, storage class, tags, the client's name.
    """

    address: str
    region: str
    headers: Mapping[str, str] = field(repr=False)


class _Signer(S3SigV4Auth):
    """Signs with the hash that is known already; under TLS with none, since the checksum header is signed, too."""

    def __init__(self, credentials: Any, region: str, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:
        return UNSIGNED_PAYLOAD if str(request.url).startswith("https:") else self._sha256


class DirectPuts:
    """Puts after the pattern of boto3's. Thread-safe; one for each client.

    Args:
        credentials: Where each signature gets its keys, which may be renewed meanwhile; None: every put is boto3's.
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
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            retries=False,
            ca_certs=ca_bundle or get_cert_path(True),
            cert_reqs="CERT_REQUIRED",
        )

    def put(
        self, kind: Hashable, key: str, body: bytes, *, sha256: str, content_type: str, metadata: Mapping[str, str]
    ) -> str | None:
        """Put an object that must not be there yet.

        Args:
            kind: Tells the patterns apart: the bucket, and how objects are written.
            sha256: Of `body`, 64 hex digits.

        Returns:
            The ETag; None if it is for boto3 to put it.
        """
        pattern = self._patterns.get(kind)
        if pattern is None or self._credentials is None:
            return None
        url = pattern.address + _quoted(key)
        request = AWSRequest(
            "PUT",
            url,
            headers={
                **pattern.headers,
                **{_METADATA + name: value for name, value in metadata.items()},
                "Content-Type": content_type,
                "If-None-Match": "*",
                "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            },
        )
        try:
            keys = self._credentials.get_frozen_credentials()
            _Signer(keys, pattern.region, sha256).add_auth(request)
            headers = {**dict(request.headers.items()), "Content-Length": str(len(body))}
            answer = self._pool.urlopen("PUT", url, body=body, headers=headers, redirect=False)
        except (HTTPError, BotoCoreError, OSError):
            status = 0
        else:
            status = answer.status
            if status == HTTPStatus.OK:
                return answer.headers.get("ETag", "").strip('"')
        if status not in _TAKEN:
            # While the server is in trouble, no put is tried once more than boto3 would.
            self._patterns.pop(kind, None)
        return None

    @contextmanager
    def learning(self, kind: Hashable, key: str) -> Iterator[None]:
        """Take the request that boto3 sends meanwhile as the pattern of its kind."""
        self._local.seen = None
        try:
            yield
            seen: AWSPreparedRequest | None = self._local.seen
            if seen is not None and kind not in self._patterns:
                self._patterns[kind] = _pattern_of(seen, key)
        finally:
            self._local.seen = None

    def see(self, request: AWSPreparedRequest, **_: Any) -> None:
        """Handler of boto3's event `before-send`."""
        self._local.seen = request


def _quoted(key: str) -> str:
    return quote(key, safe="-._~/")


def _pattern_of(request: AWSPreparedRequest, key: str) -> _Pattern | None:
    """What can be done again without boto3; None where the address, the signature or the way there is unusual."""
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    scope = _SCOPE.match(headers.get("authorization", ""))
    if scope is None or not request.url.endswith(f"/{_quoted(key)}") or urlsplit(request.url).scheme in getproxies():
        return None
    kept = {name: value for name, value in headers.items() if name not in _OWN and not name.startswith(_METADATA)}
    return _Pattern(request.url.removesuffix(_quoted(key)), scope[1], kept)
