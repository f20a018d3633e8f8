"""`python -m prefect_imagen.cli`: the same as `prefect-imagen`."""

from __future__ import annotations

import sys

from .app import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
