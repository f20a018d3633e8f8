"""docs/options.md is what `core/request.py` declares; `UPDATE_DOCS=1 pytest` of this file rewrites it."""

from __future__ import annotations

import inspect
import os
from enum import Enum
from pathlib import Path

import prefect_imagen
import pytest
from prefect_imagen.core.request import DEFAULT_MODEL, SHIPPED_MODEL, RunRequest, options_of
from pydantic import BaseModel

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
HEAD = "| Python | command line | default | |\n|---|---|---|---|\n"


def table() -> str:
    lines = []
    for option in options_of(RunRequest):
        default = option.default.value if isinstance(option.default, Enum) else option.default
        default = SHIPPED_MODEL if default == DEFAULT_MODEL else default  # the environment may want another
        shown = "" if default in (None, "", (), {}) else option.flag.shown or default
        flag = "" if option.flag.name == "" else f"`--{option.name.replace('_', '-')}`"
        described = option.field.description or ""
        if option.flag.off:
            described += f" The flag: {option.flag.help}"
        described = described.replace("|", "\\|").replace("__", "\\_\\_")
        lines.append(f"| `{'.'.join(option.path)}` | {flag} | {f'`{shown}`' if shown != '' else ''} | {described} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_option() -> None:
    text, _, written = PAGE.read_text(encoding="utf-8").partition(HEAD)
    wanted = table()
    if written != wanted and os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(f"{text}{HEAD}{wanted}", encoding="utf-8")
        pytest.skip("rewritten")
    assert written == wanted, "docs/options.md is behind: UPDATE_DOCS=1 pytest tests/docs/test_options.py"


def test_the_flow_takes_the_same_names_and_defaults() -> None:
    """What is outside of a group, and the groups themselves, are parameters of the flow."""
    parameters = inspect.signature(prefect_imagen.imagen_pipeline.fn).parameters
    for name, field in RunRequest.model_fields.items():
        default = field.get_default(call_default_factory=True)
        given = parameters[name].default
        assert given == default or (given is None and not default), name
        if isinstance(default, BaseModel):
            assert type(given) is type(default)
