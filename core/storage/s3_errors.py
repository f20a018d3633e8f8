"""What an S3 answer, or the lack of one, means for us.

Error codes: "Error responses", Amazon S3 API reference. Texts of botocore's exceptions are used only where they are
known to hold no more than a URL or a profile name; never a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ..errors import ImagenError, forget_deep_frames
from .errors import StoreNotUsable, StoreUnavailable

_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"})
_BAD_KEY = {
    "InvalidAccessKeyId": "the access key id is not known there",
    "SignatureDoesNotMatch": "the secret access key does not fit the access key id",
    "ExpiredToken": "the session token has expired",
    "ExpiredTokenException": "the session token has expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes",
}
_BUSY = frozenset(
    {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded"}
)
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


def code_of(error: ClientError) -> str:
    """The S3 error code; for answers without a body (HEAD) botocore gives the status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status, 0 if unknown."""
    metadata: Any = error.response.get("ResponseMetadata", {})
    return int(metadata.get("HTTPStatusCode", 0))


@contextmanager
def translated(place: str, need: str) -> Iterator[None]:
    """Run S3 calls; what botocore raises comes out as ours.

    Args:
        place: The URI to name in messages.
        need: The permission the calls need, `s3:PutObject` for instance.

    Raises:
        StoreUnavailable: No connection, time-out, cut, 429, 5xx.
        StoreNotUsable: Credentials, rights, bucket, region, anything else the server or botocore refuses.
    """
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, place, need) from None
    except (BotoCoreError, ResponseParserError, HTTPError) as error:
        raise _from_transport(error, place) from None
    except RecursionError as error:
        # botocore answers a 301 by asking for the bucket's region, which is answered by a 301, and so on.
        forget_deep_frames(error)
        raise StoreNotUsable(
            f"{place}: the endpoint answers with nothing but redirects; check endpoint_url (http or https?) and region"
        ) from None


def _from_answer(error: ClientError, place: str, need: str) -> ImagenError:
    code, status = code_of(error), status_of(error)
    if error.operation_name == "AssumeRole":
        return _from_role(error, place)
    if code in _BUSY or status == 429 or (status >= 500 and status != 501):
        return StoreUnavailable(
            f"{place}: the store answered {status or ''} {code}, it cannot serve now".replace("  ", " ")
        )
    if code == "NoSuchBucket" or (status == 404 and code in ("404", "NotFound", "")):
        return StoreNotUsable(f"{place}: the bucket does not exist; create it or correct its name")
    if code in _BAD_KEY:
        return StoreNotUsable(f"{place}: {_BAD_KEY[code]} ({code})")
    if code in _DENIED or status == 403:
        return StoreNotUsable(f"{place}: access denied; these credentials need {need} there")
    if code in _ELSEWHERE or status in (301, 307):
        return StoreNotUsable(f"{place}: the bucket lies in another region; set `region` to the bucket's own")
    if code.upper().startswith("KMS"):
        return StoreNotUsable(
            f"{place}: the encryption was refused ({code}); check kms_key_id, its region, and the right to "
            "kms:GenerateDataKey and kms:Decrypt with it"
        )
    if code == "NotImplemented" or status == 501:
        return StoreNotUsable(
            f"{place}: the server does not implement conditional writes (If-None-Match), without which a "
            "delivered image could be overwritten; use a newer server or a local folder"
        )
    return StoreNotUsable(f"{place}: the store refused the request with {status} {code}")


def _from_role(error: ClientError, place: str) -> ImagenError:
    """What AWS STS answered while a role was assumed, which any request may have to do first."""
    code, status = code_of(error), status_of(error)
    if code in _BUSY or status == 429 or status >= 500:
        return StoreUnavailable(f"{place}: AWS STS answered {status} {code}, the role cannot be assumed now")
    if code in _BAD_KEY or code == "InvalidClientTokenId":
        reason = _BAD_KEY.get(code, "the access key id is not known there")
        return StoreNotUsable(f"{place}: the role cannot be assumed: {reason} ({code})")
    return StoreNotUsable(
        f"{place}: the role may not be assumed ({code}); these credentials need sts:AssumeRole for it, the role must "
        "trust them, and if it asks for an external id, external_id must be that one"
    )


def _from_transport(error: Exception, place: str) -> ImagenError:
    match error:
        case NoCredentialsError():
            return StoreNotUsable(
                f"{place}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, "
                "or give them in the store's options"
            )
        case PartialCredentialsError():
            return StoreNotUsable(f"{place}: only half of a credential pair was found in the environment")
        case ProfileNotFound():
            return StoreNotUsable(f"{place}: {error}")
        case ConfigParseError() | SSOError() | TokenRetrievalError():
            return StoreNotUsable(f"{place}: the AWS configuration cannot be used ({type(error).__name__})")
        case ParamValidationError():
            return StoreNotUsable(f"{place}: bucket name or key is not valid for S3")
        case ConnectTimeoutError() | EndpointConnectionError() | ProxyConnectionError():
            return StoreUnavailable(f"{place}: cannot connect to the store ({type(error).__name__})")
        case ReadTimeoutError():
            return StoreUnavailable(f"{place}: the store did not answer in time")
        case SSLError():
            return StoreUnavailable(f"{place}: no TLS connection to the store (certificate or protocol)")
        case HTTPClientError() | IncompleteReadError() | HTTPError():
            return StoreUnavailable(f"{place}: the connection to the store was cut ({type(error).__name__})")
        case CredentialRetrievalError():
            return StoreUnavailable(f"{place}: the source of the credentials does not answer")
        case ResponseParserError():
            return StoreUnavailable(f"{place}: what answered does not speak S3")
    return StoreNotUsable(f"{place}: {type(error).__name__}")
