"""The terminal face of the package: `prefect-imagen`, a file for each command.

Exit codes: 0 all delivered; 1 something is missing, and the report says what; 2 bad input or a service that is not
there, before anything was sent; 130 interrupted, 143 terminated.
"""

from __future__ import annotations

from .app import main

__all__ = ["main"]
