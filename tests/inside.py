"""Commands within the process of the tests, as if each had one of its own: a start and its imports take seconds."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest import mock

from prefect.cli import app
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_imagen.cli import main
from prefect_imagen.core.ledger import close_ledgers
from prefect_imagen.core.storage import s3_client


@contextlib.contextmanager
def inside(environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Within, this process has an environment and a folder; what it has made of them is gone afterwards."""
    logger = logging.getLogger("prefect_imagen")
    handlers, level = list(logger.handlers), logger.level
    api = environment.get("PREFECT_API_URL")
    settings = (
        temporary_settings({PREFECT_API_URL: api}) if api else temporary_settings(restore_defaults={PREFECT_API_URL})
    )
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(s3_client, "_clients", {}),
        settings,
        contextlib.chdir(folder),
        Path(os.devnull).open() as nothing,
        mock.patch.object(sys, "stdin", nothing),
    ):
        try:
            yield
        finally:
            close_ledgers()
            logger.handlers[:] = handlers
            logger.setLevel(level)


def command(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    program: Callable[[list[str]], int] = main,
) -> tuple[int, str, str]:
    """Carry out a command; returns its exit code, its standard output and its standard error."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with inside(environment, folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = program(arguments)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return code, said[0], said[1]


def prefect(arguments: list[str]) -> int:
    """A command of Prefect, as a program of `command`. It leaves connections to the end of its process."""
    code = 0
    with mock.patch.object(sys, "argv", ["prefect", *arguments]), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            app()
        except SystemExit as ended:
            code = int(ended.code or 0)
        gc.collect()
    return code
