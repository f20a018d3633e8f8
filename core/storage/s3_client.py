"""One boto3 client a process and configuration.

Making a client takes about a tenth of a second and opens its own connection pool, so it is made once and shared:
clients are thread-safe (boto3 guide, "Clients": multithreading). After a fork the child makes its own.
"""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING, Any, Literal

import boto3
import botocore.session
from botocore.config import Config
from pydantic import SecretStr

from ..store_options import S3Options
from .s3_direct import DirectRequests
from .s3_role import as_role

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_Purpose = Literal["work", "probe", "sign"]
_clients: dict[tuple[int, S3Options, _Purpose], tuple[S3Client, DirectRequests]] = {}
_lock = threading.Lock()


def working_client(options: S3Options) -> S3Client:
    """The client for reading and writing: at most two attempts, 5 s to connect, 20 s without a byte."""
    return _client(options, "work")[0]


def direct_requests(options: S3Options) -> DirectRequests:
    """The way past boto3 for requests as the working client makes them."""
    return _client(options, "work")[1]


def probe_client(options: S3Options) -> S3Client:
    """The client for asking whether the store answers: one attempt, 2 s to connect, 5 s without a byte."""
    return _client(options, "probe")[0]


def signing_client(options: S3Options) -> S3Client:
    """The client for signed addresses, which sends nothing; for many services botocore's default is an older form."""
    return _client(options, "sign")[0]


def _client(options: S3Options, purpose: _Purpose) -> tuple[S3Client, DirectRequests]:
    key = (os.getpid(), options, purpose)
    with _lock:
        if key not in _clients:
            _clients[key] = _make(options, purpose)
        return _clients[key]


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _make(options: S3Options, purpose: _Purpose) -> tuple[S3Client, DirectRequests]:
    probe = purpose == "probe"
    core = botocore.session.Session()
    session = boto3.session.Session(
        botocore_session=core,
        aws_access_key_id=_reveal(options.access_key_id),
        aws_secret_access_key=_reveal(options.secret_access_key),
        aws_session_token=_reveal(options.session_token),
        region_name=options.region,
        profile_name=options.profile,
    )
    session = as_role(session, options)
    # Every put brings its own SHA-256, so the default of botocore >= 1.36, one more checksum pass over each body and
    # a trailer that older S3-compatible servers reject, is switched off.
    settings: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": 1 if probe else 2},
        "connect_timeout": 2 if probe else 5,
        "read_timeout": 5 if probe else 20,
        "max_pool_connections": 2 if probe else 64,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"addressing_style": options.addressing_style},
        **({"signature_version": "s3v4"} if purpose == "sign" else {}),
    }
    client = session.client("s3", endpoint_url=options.endpoint_url, config=Config(**settings))
    if client.meta.endpoint_url.startswith("https:"):
        # The signature covers the checksum header, and TLS the way there: hashing each body once more for the signature
        # itself adds nothing (botocore leaves it out by itself, too, where the checksum is its own). Known only now,
        # since environment and profile may name an endpoint, too.
        client.meta.config.s3["payload_signing_enabled"] = False  # type: ignore[attr-defined]
    client.meta.events.register_last("before-call.s3.PutObject", _send_at_once)
    direct = DirectRequests(
        session.get_credentials(),
        ca_bundle=core.get_config_variable("ca_bundle"),
        connect_timeout=settings["connect_timeout"],
        read_timeout=settings["read_timeout"],
        connections=settings["max_pool_connections"],
    )
    for operation in ("PutObject", "GetObject"):
        client.meta.events.register_last(f"before-send.s3.{operation}", direct.see)
    return client, direct


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    """Let bytes go out with their headers.

    botocore wraps bytes in a file, asks the server whether it may send one (`Expect: 100-continue`), waits for the
    answer, and then sends 16 KB at a time: one more round trip a put, for bodies that are in memory as they are.
    """
    body = params.get("body")
    if isinstance(body, io.BytesIO):
        params["body"] = body.getvalue()
        params["headers"].pop("Expect", None)
