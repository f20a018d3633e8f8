"""From what was typed to a request, and the small languages of flags: `NAME=VALUE`, `NAME=V1,V2`, `@FILE`."""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import BadInput
from ..core.files import check_stays_inside
from ..core.request import DEFAULT_MODEL, ImageChoice, Options, RunRequest
from .flags import Given

if TYPE_CHECKING:
    from ..core.providers import Endpoint, ResolvedModel

M = TypeVar("M", bound=Options)
_SUFFIXES = {"tsv-quoted": "tsv"}
"""Of files of a format, where it is not the format's name."""
_SUFFIX = re.compile(r"\.(txt|csv|tsv|jsonl|ndjson|json|parquet|xlsx|gz)$", re.IGNORECASE)
_OWN_FLAGS = ("aspect_ratio", "num_images", "seed")
"""Fields of a model that have a flag of their own."""


def endpoint_of(given: Given, api: str | None, base_url: str | None) -> Endpoint:
    """Where the flags of a run say that it buys.

    Raises:
        BadInput: They contradict each other.
    """
    from ..core.providers import Endpoint

    return Endpoint.find(api=api, base_url=base_url, model=given.values.get("model"))


def read_prompts(arguments: Sequence[str], format_: str | None) -> str | list[str]:
    """Read what stands where prompts are given: one file or address, the prompts themselves, or - for standard input.

    Args:
        arguments: As they were typed; at least one.
        format_: Of standard input; None for a prompt a line.

    Returns:
        A path or address, or prompts.

    Raises:
        BadInput: A file among prompts.
    """
    if list(arguments) == ["-"]:
        return _standard_input(format_)
    if len(arguments) == 1:
        (one,) = arguments
        return [one] if _is_prompt(one) else one
    if files := [one for one in arguments if one == "-" or not _is_prompt(one)]:
        raise BadInput(
            f"{files[0]} is no prompt: where there are several arguments, each is a prompt of several words in quotes. "
            "Name one file, or put all prompts into one"
        )
    return list(arguments)


def _is_prompt(argument: str) -> bool:
    """Whether an argument can only be a prompt: several words, and no file or address."""
    words = len(argument.split()) > 1
    named = "://" in argument or argument.startswith("catalog:")
    return words and not named and not _SUFFIX.search(argument) and not Path(argument).exists()


def _standard_input(format_: str | None) -> str:
    """Keep standard input in a file until the program ends: prompts are read more than once."""
    folder = tempfile.TemporaryDirectory(prefix="imagen-stdin-")
    atexit.register(folder.cleanup)
    kind = format_ or "txt"
    path = Path(folder.name, f"stdin.{_SUFFIXES.get(kind, kind)}")
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return str(path)


def read_request(given: Given, prompts: str | list[str] | None = None, endpoint: Endpoint | None = None) -> RunRequest:
    """Read a request; `{scheduled_date}` is today.

    Args:
        given: Flags of a `RunRequest`.
        prompts: As `read_prompts` returns them; None for a command that has no prompts.
        endpoint: Whose model is asked for; None for a command that names none.

    Raises:
        BadInput: A value that is not allowed or cannot be read; a plan file, and a flag that would change it.
    """
    from ..core.plan import open_plan
    from ..core.providers import load_registry

    deciding = [option.written for option in given.options if option.decides_items]
    if deciding and isinstance(prompts, str) and open_plan(prompts) is not None:
        raise BadInput(f"{prompts} is a plan and says itself what is bought; leave out {', '.join(deciding)}")
    values = dict(given.values)
    for option in given.options:
        if option.flag.file:
            values[option.name] = read_text(values[option.name], option.written)
    if "tag" in values:
        values["tag"] = read_pairs(values["tag"], "--tag")
    fields = read_pairs(values.get("set"), "--set")
    for name in fields.keys() & {name for name in _OWN_FLAGS if name in values}:
        raise BadInput(f"--set: {name!r} is given by --{name.replace('_', '-')} already")
    if "set" in values or "matrix" in values:
        # A model that is withdrawn is read, too: another may be used instead, and if there is none, that is said later.
        name = values.get("model", DEFAULT_MODEL)
        model = load_registry().resolve(endpoint.choose(name) if endpoint else name, allow_withdrawn=True)
        values["set"] = _read_fields(model, fields)
        values["matrix"] = _read_matrix(values.get("matrix"), model)
    return RunRequest.by_flag(values).scheduled(datetime.now(UTC))


def read_choice(given: Given) -> ImageChoice:
    """Read which images are meant.

    Raises:
        BadInput: A value that is not allowed or cannot be read.
    """
    return read_options(given, ImageChoice)


def read_options(given: Given, model: type[M]) -> M:
    """Read the flags of a group of options.

    Raises:
        BadInput: A value that is not allowed or cannot be read.
    """
    values = {option.path[-1]: given.values[option.name] for option in given.options}
    if "tags" in values:
        values["tags"] = read_pairs(values["tags"], "--tag")
    return model.read(values)


def read_store(given: Given) -> dict[str, Any]:
    """Read the options of a store, as `open_store` takes them.

    A server that is not AWS is asked with the bucket in the path: few have a name for each bucket.

    Raises:
        BadInput: A tag that cannot be read.
    """
    options = {option.path[-1]: given.values[option.name] for option in given.options}
    if "object_tags" in options:
        options["object_tags"] = read_pairs(options["object_tags"], "--object-tag")
    if "endpoint_url" in options:
        options["addressing_style"] = "path"
    return options


def read_pairs(texts: Iterable[str] | None, flag: str) -> dict[str, str]:
    """Read values of the form `NAME=VALUE`.

    Raises:
        BadInput: Another form, or a name given twice.
    """
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or not name:
            raise BadInput(f"{flag}: {text!r} is not of the form NAME=VALUE")
        if name in pairs:
            raise BadInput(f"{flag}: {name!r} is given twice")
        pairs[name] = value
    return pairs


def _read_fields(model: ResolvedModel, texts: dict[str, str]) -> dict[str, Any]:
    from ..core.plan import read_parameters

    return read_parameters(model, texts)


def _read_matrix(texts: Iterable[str] | None, model: ResolvedModel) -> dict[str, list[Any]]:
    """Read values of the form `NAME=V1,V2`.

    Raises:
        BadInput: Another form, a name given twice, an empty value.
    """
    matrix: dict[str, list[Any]] = {}
    for name, text in read_pairs(texts, "--matrix").items():
        values = [value.strip() for value in text.split(",")]
        if not all(values):
            raise BadInput(f"--matrix: {name}={text} has an empty value; write {name}=V1,V2")
        matrix[name] = [_read_fields(model, {name: value})[name] for value in values]
    return matrix


def read_text(text: str, flag: str) -> str:
    """A text, or with `@` before it the text in that file.

    Raises:
        BadInput: The file cannot be read.
    """
    if not text.startswith("@"):
        return text
    path = Path(text[1:]).expanduser()
    check_stays_inside(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{flag}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{flag}: {path} is not UTF-8 text") from None
