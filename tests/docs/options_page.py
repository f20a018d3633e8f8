"""Writes docs/options.md from the models: `python -m tests.docs.options_page`."""

from __future__ import annotations

from pathlib import Path

from prefect_imagen.core.request import Option, RunRequest, options_of

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
_HEAD = """# Options

Every option of a run, as `core/request.py` declares it. This page is made from the models:
`python -m tests.docs.options_page` writes it.

The name in Python is that of the parameter of `imagen_pipeline`, or of a field of the group that is one:
`imagen_pipeline(…, limits=Limits(requests_per_minute=600))`, in a deployment `limits: {requests_per_minute: 600}`.
"""


def page() -> str:
    """The text of docs/options.md."""
    lines, section = [_HEAD], ""
    for option in options_of(RunRequest):
        if option.section != section:
            section = option.section
            lines += [f"\n## {section}\n", "| Python | Flag | Default | |", "| --- | --- | --- | --- |"]
        lines.append(f"| `{'.'.join(option.path)}` | {_flag(option)} | {_default(option)} | {_cell(_text(option))} |")
    return "\n".join(lines) + "\n"


def _flag(option: Option) -> str:
    if not option.has_flag:
        return ""
    return f"`{_cell(' '.join(filter(None, (option.written, option.flag.metavar))))}`"


def _default(option: Option) -> str:
    if option.flag.shown is not None:
        return f"`{option.flag.shown}`"
    default = option.default
    return "" if default is None or default in ("", (), {}) else f"`{default}`"


def _text(option: Option) -> str:
    return option.field.description or ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("__", "\\_\\_")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
