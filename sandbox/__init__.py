"""A stand-in for the AI/ML API: the same requests and replies, real pictures, a bill, and faults on demand.

Run it with `python -m prefect_imagen.sandbox`, or from Python with `SandboxServer`; `serve` in `.server` runs it in
this process. It listens on loopback only. Its `Server` header and its pictures say that it is a sandbox.
"""

from __future__ import annotations

from .options import SandboxOptions
from .process import SandboxFailed, SandboxServer

__all__ = ["SandboxFailed", "SandboxOptions", "SandboxServer"]
