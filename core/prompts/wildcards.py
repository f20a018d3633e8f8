r"""Wildcards: lists of values with names, read from a folder, for `__name__` in a text.

| file | names | values |
|---|---|---|
| `colours.txt` | `colours` | its lines, without blank ones and those that begin with `#`; `\#sale` is `#sale` |
| a mapping in a `.yaml`, `.yml`, `.json` | the keys, joined by `/`: `artists/dutch` | the lists; all else is left out |
| a list in one of these | the file's own name, `any` | its items |

The name of a folder within the folder comes before: `styles/colours.txt` is `styles/colours`. Values are text as it is
written (YAML's `no`, `1990` and `null` are not interpreted) and are read like alternatives: `3::red` has a weight,
`{dark |}red` is two, `__warm__` leads on. White space around a value is dropped; a value that is there twice counts
once. Values keep the order of the file, so that adding one at the end moves none.

In `__name__` a `*` stands for any characters but `/`, `**` for any characters; the names that fit are taken in the
order of the alphabet.

>>> colours = Wildcards({"warm": ["red", "3::gold"], "cold": ["blue"], "any": ["__warm__", "__cold__"]})
>>> from .variants import Resolver, parse
>>> [variant.text for variant in parse("a __any__ hat", Resolver(colours)).expand()]
['a red hat', 'a gold hat', 'a blue hat']
>>> colours.find("*")
('any', 'cold', 'warm')
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from ..files import check_stays_inside
from ..values import unique_keys
from .errors import PromptFileError, VariantError
from .grammar import Alternative, read_weighted
from .stars import StarPattern
from .suggestions import listed

if TYPE_CHECKING:
    from ..storage import S3Options

MAX_FILE_BYTES = 16_000_000
"""Bytes of one file of wildcards; all of them are held in memory."""

MAX_VALUES = 1_000_000
"""Values of all wildcards together."""

_MAX_DEPTH = 20
_MAX_NAMES = 100_000
_EXTENSIONS = (".txt", ".yaml", ".yml", ".json")
_MAPPING = "<wildcards>"
_KINDS = {
    list: "a list",
    yaml.SequenceNode: "a list",
    dict: "a mapping",
    yaml.MappingNode: "a mapping",
    bool: "true or false",
    type(None): "null",
}

# The C reader is ten times as fast; it is missing where PyYAML was built without libyaml.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, slots=True)
class WildcardValue:
    """One value.

    Attributes:
        text: As written, without white space around it.
        line: Its line there; in JSON its place in the list.
    """

    text: str
    source: str
    line: int

    def read(self, spaced: Collection[str] = ()) -> Alternative:
        """The value as an alternative. `spaced`: names of wildcards that have blanks."""
        try:
            return read_weighted(self.text, spaced)
        except VariantError as error:
            raise self.located(error) from None

    def located(self, error: VariantError) -> VariantError:
        """An error in this value, knowing where it stands."""
        return error.located(self.source, self.line, rendered=False)


class Wildcards:
    """Values by name.

    Args:
        problems: Names whose lists are of no use, and why: raised where one is used.
        unread: What is wrong with files of which not even the names are known.

    Raises:
        PromptFileError: A list of values is empty, or holds something that is not text.
    """

    def __init__(
        self,
        values: Mapping[str, Iterable[str | WildcardValue]],
        name: str = _MAPPING,
        problems: Mapping[str, PromptFileError] | None = None,
        unread: Sequence[PromptFileError] = (),
    ) -> None:
        self.name = name
        self.unread = unread
        self._problems = problems or {}
        self._values: dict[str, tuple[WildcardValue, ...]] = {
            one: tuple(_checked(one, values[one], name)) if one in values else ()
            for one in sorted({*values, *self._problems})
        }

    @cached_property
    def spaced(self) -> frozenset[str]:
        """The names that have blanks."""
        return frozenset(name for name in self._values if " " in name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def find(self, pattern: str) -> tuple[str, ...]:
        """The names that a name in a text stands for; several only where it has a `*`.

        >>> Wildcards({"a/b": ["1"], "a/c/d": ["2"], "e": ["3"]}).find("a/*")
        ('a/b',)
        >>> Wildcards({"a/b": ["1"], "a/c/d": ["2"], "e": ["3"]}).find("a/**")
        ('a/b', 'a/c/d')
        """
        if "*" not in pattern:
            return (pattern,) if pattern in self._values else ()
        wanted = StarPattern(pattern, levels=True)
        return tuple(
            name for name in self._values if wanted.fits(name) and not isinstance(self._problems.get(name), _Empty)
        )

    def values(self, names: Iterable[str]) -> Iterator[tuple[str, WildcardValue]]:
        """(name, value) of every value under these names; a text that comes again is left out."""
        seen: set[str] = set()
        for name in names:
            if name in self._problems:
                raise self._problems[name]
            for value in self._values[name]:
                if value.text not in seen:
                    seen.add(value.text)
                    yield name, value


def _checked(name: str, values: Iterable[str | WildcardValue], source: str) -> Iterator[WildcardValue]:
    empty = True
    for place, value in enumerate(values, start=1):
        empty = False
        found = value if isinstance(value, WildcardValue) else WildcardValue(str(value).strip(), source, place)
        if not found.text:
            raise PromptFileError(found.source, found.line, f"an empty value in the wildcard {name!r}; remove it")
        yield found
    if empty:
        raise PromptFileError(source, None, f"the wildcard {name!r} has no values")


def open_wildcards(folder: str | Path, s3: S3Options | None = None) -> Wildcards:
    """Read all wildcards of a folder and the folders in it. Other files are left alone.

    Raises:
        PromptFileError: There is no such folder, no wildcard in it, or a file that cannot be read; two files define
            the same name.
        StoreNotUsable, StoreUnavailable: S3 refuses, or does not answer.
    """
    return read_wildcards(str(folder), wildcard_files(folder, s3))


def wildcard_files(folder: str | Path, s3: S3Options | None = None) -> Iterator[tuple[str, str, bytes]]:
    """(path, path within the folder, content) of every file of wildcards. Raises as `open_wildcards`."""
    name = str(folder)
    if name.startswith("s3://"):
        from .s3 import read_folder

        return read_folder(name, _EXTENSIONS, MAX_FILE_BYTES, s3)
    return _local_files(Path(folder), name)


def read_wildcards(name: str, files: Iterable[tuple[str, str, bytes]]) -> Wildcards:
    """The wildcards in these files, of the folder with this name.

    What is wrong with a file or list that no prompt uses is nobody's problem: folders hold notes and settings, too.
    """
    origins: dict[str, str] = {}
    values: dict[str, list[WildcardValue]] = {}
    problems: dict[str, PromptFileError] = {}
    unread: list[PromptFileError] = []
    total = 0
    for source, relative, data in files:
        try:
            for found, items in _read_file(source, PurePosixPath(relative), data):
                if found in origins:
                    raise PromptFileError(
                        source, None, f"the wildcard {found!r} is also in {origins[found]}; rename one"
                    )
                origins[found] = source
                try:
                    values[found] = _filled(source, found, items)
                except PromptFileError as error:
                    problems[found] = error
                    continue
                total += len(values[found])
                if total > MAX_VALUES:
                    raise PromptFileError(name, None, f"more than {MAX_VALUES:,} values in all wildcards")
        except _Unreadable as error:
            unread.append(PromptFileError(error.source, error.line, error.problem))
    if not values:
        if unread:
            raise unread[0]
        if problems:
            raise next(iter(problems.values()))
        raise PromptFileError(name, None, f"there is no wildcard in it (files ending in {listed(_EXTENSIONS)})")
    return Wildcards(values, name, problems, unread)


class _Empty(PromptFileError):
    """A list without values: an error where it is named, and nothing where it fits a `*`."""


class _Unreadable(PromptFileError):
    """A whole file is of no use."""


def _filled(source: str, name: str, items: Iterable[WildcardValue]) -> list[WildcardValue]:
    values = list(items)
    if not values:
        raise _Empty(source, None, f"the wildcard {name!r} has no values")
    for value in values:
        if not value.text:
            raise PromptFileError(value.source, value.line, f"an empty value in the wildcard {name!r}; remove it")
        if "\n" in value.text and any(line.lstrip().startswith("#") for line in value.text.splitlines()):
            raise PromptFileError(
                value.source,
                value.line,
                f"a value of {name!r} has a line that begins with '#': in a block it is no "
                "remark, but part of the text; move it out",
            )
    return values


def _local_files(folder: Path, name: str) -> Iterator[tuple[str, str, bytes]]:
    """(path, path within the folder, content) of every file of wildcards, in the order of the alphabet."""
    if not folder.is_dir():
        what = "this is a file; name the folder that it is in" if folder.is_file() else "there is no such folder"
        raise PromptFileError(name, None, what)
    try:
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if hidden or path.suffix.lower() not in _EXTENSIONS or not path.is_file():
                continue
            check_stays_inside(path, folder)
            if path.stat().st_size > MAX_FILE_BYTES:
                raise PromptFileError(str(path), None, f"larger than {MAX_FILE_BYTES:,} bytes")
            yield str(path), path.relative_to(folder).as_posix(), path.read_bytes()
    except OSError as error:
        raise PromptFileError(name, None, f"cannot be read: {error.strerror or error}") from error


def _read_file(source: str, relative: PurePosixPath, data: bytes) -> Iterator[tuple[str, Iterable[WildcardValue]]]:
    """(name, values) of every list in a file; the values raise what is wrong with them as they are read."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable(source, line, f"not UTF-8 (byte 0x{data[error.start]:02X}); save it as UTF-8") from error
    own = relative.with_suffix("").as_posix()
    extension = relative.suffix.lower()
    if extension == ".txt":
        yield own, _lines(source, text)
        return
    tree = _json(source, text) if extension == ".json" else _yaml(source, text)
    if isinstance(tree, list | yaml.SequenceNode):
        yield own, _items(source, own, tree)
    elif isinstance(tree, Mapping):
        yield from _lists(source, tree, () if relative.parent.name == "" else relative.parent.parts)
    else:
        raise _Unreadable(source, None, "neither a list of values nor a mapping of names to lists")


def _lines(source: str, text: str) -> Iterator[WildcardValue]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        value = line.strip()
        if value and not value.startswith("#"):
            yield WildcardValue(value[1:] if value.startswith("\\#") else value, source, number)


def _lists(
    source: str, tree: Mapping[Any, Any], above: tuple[str, ...]
) -> Iterator[tuple[str, Iterable[WildcardValue]]]:
    if len(above) > _MAX_DEPTH:
        raise _Unreadable(source, None, f"names nest deeper than {_MAX_DEPTH} levels")
    for key, below in tree.items():
        path = (*above, str(key))
        if isinstance(below, Mapping):
            yield from _lists(source, below, path)
        elif isinstance(below, list | yaml.SequenceNode):
            name = "/".join(path)
            yield name, _items(source, name, below)


def _items(source: str, name: str, items: list[Any] | yaml.SequenceNode) -> Iterator[WildcardValue]:
    for place, item in enumerate(items.value if isinstance(items, yaml.SequenceNode) else items, start=1):
        if isinstance(item, yaml.ScalarNode):
            yield WildcardValue(item.value.strip(), source, item.start_mark.line + 1)
        elif isinstance(item, str | int | float) and not isinstance(item, bool):
            # In JSON a number is written the way it is meant.
            yield WildcardValue(str(item).strip(), source, place)
        else:
            kind = _KINDS.get(type(item), "an object")
            raise PromptFileError(source, None, f"value {place} of {name!r} is not text but {kind}")


def _json(source: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise _Unreadable(source, error.lineno, f"not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _Unreadable(source, None, f"not valid JSON: {error}") from error


def _yaml(source: str, text: str) -> Any:
    try:
        # A base loader: every scalar is the text that is written, and no tag makes an object.
        node = yaml.compose(text, Loader=_Loader)
        _no_repeated_keys(source, node)
        return _tree(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _Unreadable(source, mark.line + 1 if mark else None, f"not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise _Unreadable(source, None, f"not valid YAML: {str(error) or 'it nests too deeply'}") from error


def _tree(node: yaml.Node | None) -> Any:
    """Mappings as such, lists as their nodes, which know their lines; aliases stay what they point to."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: _tree(below) for key, below in node.value}
    return node if isinstance(node, yaml.SequenceNode) else None


def _no_repeated_keys(source: str, root: yaml.Node | None) -> None:
    """The loader would silently keep the last of two lists with the same name. Also ends aliases that go in circles."""
    pending = [(root, 0)]
    visited = 0
    while pending:
        node, depth = pending.pop()
        visited += 1
        if depth > _MAX_DEPTH or visited > _MAX_NAMES:
            raise _Unreadable(source, None, f"more than {_MAX_DEPTH} levels or {_MAX_NAMES:,} names")
        if not isinstance(node, yaml.MappingNode):
            continue
        keys: set[str] = set()
        for key, below in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Unreadable(source, key.start_mark.line + 1, "a name has to be text")
            if key.value in keys:
                raise _Unreadable(source, key.start_mark.line + 1, f"the name {key.value!r} appears twice")
            keys.add(key.value)
            pending.append((below, depth + 1))
