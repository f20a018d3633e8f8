"""`python -m prefect_imagen.sandbox`: runs the sandbox in the foreground."""

from __future__ import annotations

import sys

from ..core.errors import BadInput
from .arguments import options_from_arguments
from .server import serve


def main() -> int:
    """Run until interrupted; returns the exit code."""
    try:
        serve(options_from_arguments(), lambda origin: print(f"sandbox ready at {origin}/v1", flush=True))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
