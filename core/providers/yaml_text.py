"""Reading YAML without its traps: `16:9` is text, not 969 seconds, and a date is text, not an object."""

from __future__ import annotations

import re
from typing import Any

import yaml


class YamlError(ValueError):
    """It is not YAML. The text says where and why."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+\.[0-9]+([eE][-+]?[0-9]+)?$"), list("-+0123456789")
)


def read_yaml(text: str) -> Any:
    """The document in a text.

    Raises:
        YamlError: It is neither YAML nor JSON.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise YamlError(f"{line}neither YAML nor JSON: {getattr(error, 'problem', None) or error}") from None
