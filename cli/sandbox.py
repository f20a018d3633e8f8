"""`prefect-imagen sandbox`: a stand-in for the API on this machine."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import Annotated, Any

import typer

from . import options
from .console import facts, stdout
from .failures import OK

__all__ = ["sandbox"]

_SERVER = "Server"
_PICTURES = "Pictures"
_ACCOUNT = "Account"


class _Pictures(StrEnum):
    DRAWN = "drawn"
    FAST = "fast"


class _Format(StrEnum):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class _Contract(StrEnum):
    NEW = "2025-11"
    OLD = "2025-05"


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="PORT", help="0 takes a free one.", rich_help_panel=_SERVER)
    ] = 8899,
    latency: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="What every paid call takes.", rich_help_panel=_SERVER)
    ] = 0.0,
    jitter: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Latency varies by so much.", rich_help_panel=_SERVER),
    ] = 0.0,
    requests_per_minute: Annotated[
        float | None,
        typer.Option(metavar="N", help="Answer 429 to more paid calls than this.", rich_help_panel=_SERVER),
    ] = None,
    imagen4_contract: Annotated[
        _Contract, typer.Option(help="Contract of google/imagen4/preview.", rich_help_panel=_SERVER)
    ] = _Contract.NEW,
    pictures: Annotated[
        _Pictures,
        typer.Option(help="Each drawn by itself, or a few served for all.", rich_help_panel=_PICTURES),
    ] = _Pictures.DRAWN,
    image_format: Annotated[_Format, typer.Option(help="File format.", rich_help_panel=_PICTURES)] = _Format.PNG,
    image_bytes: Annotated[
        int | None,
        typer.Option(metavar="BYTES", help="Size of every image, padded where smaller.", rich_help_panel=_PICTURES),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="KEY", help="Accept this key only; else any.", rich_help_panel=_ACCOUNT),
    ] = None,
    balance_usd: Annotated[
        float, typer.Option(min=0, metavar="USD", help="Credit at the start.", rich_help_panel=_ACCOUNT)
    ] = 1000.0,
    verbose: options.Traceback = False,
) -> int:
    """Run a stand-in for the API: the same requests and replies, real pictures, a bill, faults on demand.

    [dim]prefect-imagen sandbox --port 8899 --latency 2[/dim]

    It listens on this machine only. Its bill: GET /sandbox/bill; its faults: PUT /sandbox/faults.
    """
    del verbose
    from ..sandbox import SandboxOptions
    from ..sandbox.server import serve

    given: dict[str, Any] = {
        "port": port,
        "latency": latency,
        "jitter": jitter,
        "requests_per_minute": requests_per_minute,
        "imagen4_contract": imagen4_contract.value,
        "pictures": pictures.value,
        "image_format": image_format.value,
        "image_bytes": image_bytes,
        "keys": tuple(key or ()),
        "balance_usd": str(balance_usd),
    }
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server in the foreground is meant to end
        serve(SandboxOptions.model_validate(given), _announce)
    return OK


def _announce(origin: str) -> None:
    console = stdout()
    console.print("The sandbox is ready; Ctrl-C stops it.", style="bold")
    facts(
        console,
        [
            ("base URL", f"{origin}/v1"),
            ("its bill", f"curl {origin}/sandbox/bill"),
            (
                "a fault",
                f"curl -X PUT {origin}/sandbox/faults -H 'Content-Type: application/json' "
                """-d '{"rules": [{"fault": "server_error", "every": 10}]}'""",
            ),
        ],
    )
    console.print("\nTry it from another terminal:", style="bold")
    console.print(
        "  echo 'a {red|blue} fox in the snow' > prompts.txt\n"
        "  AIMLAPI_API_KEY=any prefect-imagen run prompts.txt --to ./images --catalog ./sandbox-ledger.db "
        f"--base-url {origin}/v1",
        soft_wrap=True,
    )
    console.file.flush()
