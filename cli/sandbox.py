"""`prefect-imagen sandbox`: a stand-in for the API on this machine."""

from __future__ import annotations

import contextlib
from typing import Annotated

from pydantic import ValidationError

from ..core.errors import BadInput
from ..core.request import explain
from ..sandbox import SandboxOptions
from ..sandbox.protocols import BASE_PATHS
from . import options
from .console import facts, program, stdout
from .exit_codes import OK
from .flags import FlagsOf, Given, with_flags

_NOT_HERE = frozenset({"host", "port_file", "exit_with_stdin", "success_status", "cost_headers"})
"""Options for programs that start a sandbox."""


@with_flags
def sandbox(
    given: Annotated[Given, FlagsOf(SandboxOptions, without=_NOT_HERE)], verbose: options.Traceback = False
) -> int:
    """Start a server that answers like the image APIs, for free.

      prefect-imagen sandbox --port 8899 --latency 2

    It draws real pictures, keeps a bill, and fails on demand. It listens on this machine only. GET /sandbox/bill
    shows the bill; PUT /sandbox/faults sets the faults.
    """
    del verbose
    from ..sandbox.server import serve

    try:
        settings = SandboxOptions.model_validate(
            {option.path[-1]: given.values[option.name] for option in given.options}
        )
    except ValidationError as error:
        raise BadInput(explain(error, SandboxOptions)) from None
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server in the foreground is meant to end
        serve(settings, _announce)
    return OK


def _announce(origin: str) -> None:
    console = stdout()
    console.print("The sandbox is ready; Ctrl-C stops it.", style="bold")
    facts(
        console,
        [
            ("base URL", f"{origin}{BASE_PATHS['aimlapi']}"),
            *((protocol, f"{origin}{path}") for protocol, path in BASE_PATHS.items() if protocol != "aimlapi"),
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
        f"  AIMLAPI_API_KEY=any {program()} run prompts.txt --to ./images --catalog ./sandbox-ledger.db "
        f"--base-url {origin}/v1",
        soft_wrap=True,
    )
    console.file.flush()
