"""Looking at each part a run needs, the way a run would use it: free calls only.

Each check returns what it found as one sentence, or raises an error that says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from ..core.errors import BadInput, ImagenError, Unavailable
from ..core.http.urls import redact_url

if TYPE_CHECKING:
    from ..core.ledger import Ledger
    from ..core.providers import ImageClient
    from ..core.storage import ObjectStore

State = Literal["ok", "note", "problem"]
_LOW_BALANCE = Decimal(1)
_PACKAGE = "prefect-imagen"


@dataclass(frozen=True, slots=True)
class Line:
    """What was found of one part: fine, something to know, or something to do."""

    check: str
    state: State
    message: str


class NoPrefectApi(BadInput):
    """No Prefect API is configured."""


def one_line(error: ImagenError) -> str:
    """An error as a line."""
    return " ".join(str(error).split())


def check_packages() -> str:
    """Whether what is installed is what this package was made for.

    Raises:
        BadInput: A dependency is missing or of another version.
    """
    import platform
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    wrong = []
    for text in requires(_PACKAGE) or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = "none"
        if found == "none" or not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name}{wanted.specifier} is needed, {found} is here")
    if wrong:
        raise BadInput(f"{'; '.join(wrong)}: install them again with `pip install {_PACKAGE}`")
    names = ", ".join(f"{name} {version(name)}" for name in ("prefect", "boto3", "SQLAlchemy"))
    return f"{_PACKAGE} {version(_PACKAGE)}, Python {platform.python_version()}, {names}"


def check_prefect() -> str:
    """Whether a Prefect API is configured, answers, and fits this Prefect.

    Raises:
        NoPrefectApi: None is configured.
        BadInput: It refuses the login, or it is of another major version.
        Unavailable: It does not answer.
    """
    import httpx
    import prefect
    from prefect.client.orchestration import get_client

    from .prefect_server import configured_api

    url = configured_api()
    if url is None:
        raise NoPrefectApi(
            "no Prefect API is configured: set PREFECT_API_URL (http://HOST:4200/api for `prefect server start`), "
            "or `prefect cloud login`"
        )
    url = redact_url(url)  # a login may stand in it
    try:
        with get_client(sync_client=True, httpx_settings={"timeout": 15}) as client:
            response = client.request("GET", "/admin/version")
            response.raise_for_status()
            version = str(response.json())
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        if code in {401, 403}:
            raise BadInput(
                f"the Prefect API at {url} refuses the login: check PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
            ) from None
        raise Unavailable(f"the Prefect API at {url} answers {code}: is PREFECT_API_URL right?") from None
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise Unavailable(
            f"the Prefect API at {url} does not answer ({type(error).__name__}): start it, or correct PREFECT_API_URL"
        ) from None
    here, there = _release(prefect.__version__), _release(version)
    if here[:1] != there[:1]:
        raise BadInput(
            f"the server at {url} is Prefect {version}, this is {prefect.__version__}: use one major version"
        )
    # Prefect keeps older clients working with newer servers, not the other way round.
    note = f", older than the {prefect.__version__} here: upgrade the server first" if there < here else ""
    return f"{url} answers, Prefect {version}{note}"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())


def check_api(client: ImageClient) -> str:
    """Whether the key is accepted, and what is left on it.

    Raises:
        BadInput: The key is refused, or hardly anything is left.
        Unavailable: No answer.
    """
    from ..core.providers.errors import ApiError, BadKey

    variable = client.provider.key_variable
    try:
        balance = client.check_key()
    except BadKey as error:
        raise BadInput(
            f"{client.base_url} refuses the key ({error.message}): correct {variable}, then save it with "
            "`prefect-imagen blocks create`"
        ) from None
    except ApiError as error:
        # A key without the right to see the balance can still buy images.
        return f"{client.base_url} answers; the balance cannot be seen with this key ({error})"
    if balance is None:
        return f"{client.base_url} answers, and refuses nothing; what is left cannot be asked for"
    if balance < _LOW_BALANCE:
        raise BadInput(f"{client.base_url} accepts the key, but ${balance:,.2f} is left on it: top it up")
    return f"{client.base_url} accepts the key, ${balance:,.2f} left"


def check_store(store: ObjectStore) -> str:
    """Whether the destination grants all that a run needs; overwrites one small object.

    Raises:
        BadInput: A right, or the bucket, is missing.
        Unavailable: No answer.
    """
    store.preflight()
    return f"{store.destination} can be written, read and listed"


def describe_ledger(ledger: Ledger) -> str:
    """What an open ledger is: where, whose account, and for whom."""
    bound = ", ".join(dict.fromkeys(account.origin for account in ledger.accounts)) or ledger.origin
    account = f"account of {bound}" if bound else "new, not yet bound to an API"
    shared = "; SQLite: for workers on one machine" if ledger.url.get_backend_name() == "sqlite" else ""
    return f"{ledger.description}, {account}{shared}"
