"""A flag, a parameter of the flow and the model that declares both cannot disagree."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest
import typer
from prefect_imagen.cli.app import app
from prefect_imagen.cli.flags import Given
from prefect_imagen.cli.typed import read_request
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.request import Option, Options, RunRequest, options_of
from prefect_imagen.core.store_options import StoreOptions
from prefect_imagen.flows import imagen_pipeline

COMMANDS: Any = typer.main.get_command(app)
OPTIONS = {option.written: option for option in options_of(RunRequest) if option.has_flag}

OF_THE_RUN_COMMAND = {
    *(
        "--to",
        "--catalog",
        "--api",
        "--base-url",
        "--models",
        "--yes",
        "--prefect",
        "--json",
        "--verbose",
        "--help-all",
    ),
    *(option.written for option in options_of(StoreOptions) if option.has_flag),
}
SCRIPTS_USE = {
    *("--prompt-column", "--template", "--no-variants", "--wildcards", "--exclude", "--per-row", "--limit", "--sample"),
    *("--sample-seed", "--max-prompts", "--skip-invalid", "--rewrite", "--rewrites", "--brief", "--rewrite-fallback"),
    *("--rewrite-price", "--model", "--aspect-ratio", "--num-images", "--seed", "--set", "--matrix", "--fallback"),
    *("--lenient", "--edition", "--repeat", "--budget-usd", "--unknown", "--retry-refused", "--trust-unbilled-5xx"),
    *("--concurrency", "--requests-per-minute", "--offline", "--shared-concurrency", "--chunk-size", "--patience"),
    *("--endpoint-url", "--sse", "--kms-key-id", "--storage-class", "--object-tag", "--tag-objects", "--role-arn"),
    *("--external-id", "--to", "--catalog", "--base-url", "--models", "--yes", "--json", "--verbose"),
    *("--drain-seconds", "--spool-max-bytes", "--on-incomplete", "--tag", "--key-template", "--adopt-ledger"),
}
"""Flags that stay as they are, whatever becomes of the models."""


def flags(command: str) -> dict[str, Any]:
    return {
        parameter.opts[0]: parameter
        for parameter in COMMANDS.commands[command].load().params
        if parameter.opts[0].startswith("--") and parameter.opts[0] != "--help"
    }


def test_every_option_is_a_flag_of_run_and_every_flag_an_option() -> None:
    assert flags("run").keys() - OF_THE_RUN_COMMAND == OPTIONS.keys()
    assert flags("run").keys() >= SCRIPTS_USE


@pytest.mark.parametrize("command", ["run", "plan", "repair"])
def test_a_flag_says_what_the_model_says(command: str) -> None:
    shared = flags(command).keys() & OPTIONS.keys()
    for name in shared:
        flag, option = flags(command)[name], OPTIONS[name]
        assert (option.flag.help or option.field.description) in flag.help
        assert flag.metavar == option.flag.metavar
        assert flag.rich_help_panel == option.section
        assert flag.required is False
        if not option.flag.off and not isinstance(option.default, dict | tuple):
            assert flag.default == (option.default or flag.default)
    # Whatever decides what is bought can be asked for in advance.
    assert command != "plan" or {name for name, option in OPTIONS.items() if option.decides_items} <= shared


def test_the_flow_takes_the_same_options() -> None:
    function: Any = imagen_pipeline.fn
    parameters = inspect.signature(function).parameters
    own = {"prompts", "store", "credentials", "catalog"}
    short_forms = {"concurrency": RunRequest().limits.concurrency}
    assert set(parameters) == own | set(RunRequest.model_fields) | set(short_forms)
    assert len(parameters) <= 18
    hints = get_type_hints(function)
    for name, field in RunRequest.model_fields.items():
        assert (parameters[name].default or None) == (field.get_default(call_default_factory=True) or None)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            assert hints[name] is field.annotation


def values(option: Option) -> list[str]:
    """Values that are out of bounds, as they are typed."""
    wrong = {"ge": lambda bound: bound - 1, "gt": lambda bound: bound, "le": lambda bound: bound + 1}
    return [
        str(beyond(bound))
        for note in option.field.metadata
        for name, beyond in wrong.items()
        if (bound := getattr(note, name, None)) is not None
    ]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, option in OPTIONS.items() for value in values(option)]
)
def test_a_value_out_of_bounds_is_one_sentence_that_names_the_flag(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect_imagen.cli import main

    extra = ["--rewrite", "gpt-4o-mini"] if name == "--rewrites" else []
    assert main(["run", "x.txt", "--to", "x", *extra, f"{name}={value}"]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert len(said.splitlines()) == 1


def test_what_is_typed_becomes_one_request(tmp_path: Any) -> None:
    (tmp_path / "brief.md").write_text("calm")
    typed = {
        "no_variants": True,
        "tag": ["team=spring"],
        "set": ["enhance_prompt=false"],
        "matrix": ["aspect_ratio=1:1,16:9"],
        "fallback": ["a/b,c/d", "e/f"],
        "rewrite": "gpt-4o-mini",
        "brief": f"@{tmp_path / 'brief.md'}",
        "chunk_size": "5",
        "offline": True,
    }
    given = tuple(option for option in OPTIONS.values() if option.name in typed)
    request = read_request(Given(typed, given))
    assert request.select.variants is False
    assert request.tags == {"team": "spring"}
    assert request.image.parameters == {"enhance_prompt": False}
    assert request.image.matrix == {"aspect_ratio": ["1:1", "16:9"]}
    assert request.image.fallback == ("a/b", "c/d", "e/f")
    assert request.rewrite is not None
    assert (request.rewrite.model, request.rewrite.brief) == ("gpt-4o-mini", "calm")
    assert (request.limits.chunk_size, request.policy.ask_catalogue) == (5, False)
    assert read_request(Given({}, ())) == RunRequest()


def test_the_day_of_an_edition_begins_in_a_time_zone() -> None:
    edition, zone = OPTIONS["--edition"], OPTIONS["--edition-timezone"]
    east, west = (
        read_request(Given({"edition": "{scheduled_date}", "edition_timezone": name}, (edition, zone))).edition
        for name in ("Etc/GMT-14", "Etc/GMT+12")
    )
    assert east > west, "26 hours apart: never the same day"
    with pytest.raises(BadInput, match="'Mars' is not a time zone"):
        read_request(Given({"edition": "{scheduled_date}", "edition_timezone": "Mars"}, (edition, zone)))
