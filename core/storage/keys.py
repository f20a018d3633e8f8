"""Object keys: how they are made from a template, which ones are accepted, how a prefix goes before them."""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence

from ..errors import BadInput
from ..request import DEFAULT_KEY_TEMPLATE

_FIELDS = ("model", "item_id", "call", "index", "ext", "edition", "date", "sha256")
_MAX_KEY = 1024  # bytes of UTF-8: "Creating object key names", Amazon S3 user guide
_MAX_SEGMENT = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9._=@+-]+")
_NUMBERS = ("call", "index", "line", "stars", "revision")
_COLUMN = re.compile(r"row\[([^\]]+)\]")
_NUMBER_FORMAT = re.compile(r"(0?[1-9])?d?")


def check_key(key: str) -> str:
    """Return `key` if it is one that every store and file system takes literally.

    Raises:
        BadInput: It is empty, starts or ends with `/`, has an empty, `.` or `..` segment, control or invisible
            direction characters, a backslash, or more than 1,024 bytes.
    """
    problem = _problem(key)
    if problem:
        raise BadInput(f"object key {key[:80]!r} {problem}")
    return key


def _problem(key: str) -> str | None:
    if any(segment in ("", ".", "..") for segment in key.split("/")):
        return "is empty, starts or ends with '/', or has an empty, '.' or '..' segment"
    if "\\" in key or not ((key.isascii() and key.isprintable()) or _is_visible(key)):
        return "holds a backslash, a control or an invisible character"
    if len(key.encode()) > _MAX_KEY:
        return f"is longer than {_MAX_KEY} bytes"
    return None


def _is_visible(key: str) -> bool:
    return all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in key)


def join_prefix(prefix: str, key: str) -> str:
    """Put `prefix` before `key`, once: joining what is already joined changes nothing.

    Example:
        >>> join_prefix("runs/may", "a.png"), join_prefix("runs/may", "runs/may/a.png")
        ('runs/may/a.png', 'runs/may/a.png')
    """
    prefix = prefix.strip("/")
    if not prefix or key.startswith(f"{prefix}/"):
        return check_key(key)
    return check_key(f"{prefix}/{key}")


def safe_segment(text: str) -> str:
    """One path segment that is safe everywhere: ASCII letters, digits and `._=@+-`, not starting with a dot.

    Everything else becomes `_`. Long texts are cut to 100 characters that end in a hash of the whole.

    Example:
        >>> safe_segment("../évil name")
        '_._e_vil_name'
    """
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFKD", text))
    if safe.startswith(".") or not safe:
        safe = f"_{safe[1:]}"
    if len(safe) > _MAX_SEGMENT:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        safe = f"{safe[: _MAX_SEGMENT - 13]}-{digest}"
    return safe


class KeyTemplate:
    """Makes object keys, for instance `google/imagen4/preview/<item id>/1-0.png`.

    Fields: `model` (its slashes make folders), `item_id`, `call` (names the paid call; a mere number within the item
    must stand beside `item_id`), `index` (of the image within the reply), `ext`, `edition`, `date`, `sha256` (of the
    image). `call` and `index` may be padded (`{index:02d}`). Literal text may hold slashes.

    Args:
        template: As in `str.format`, without conversions or attributes.
        fields: The fields that are known. `row` stands for `{row[COLUMN]}`.
        unique: Refuse a template that would give two images the same key.

    Raises:
        BadInput: Unknown field, malformed template, or keys that two images could share: it needs `sha256`, or
            `index` together with `item_id` or `call`.
    """

    def __init__(
        self, template: str = DEFAULT_KEY_TEMPLATE, fields: Sequence[str] = _FIELDS, *, unique: bool = True
    ) -> None:
        self.template = template
        self._fields = fields
        self._parts: list[tuple[str, str | None, str]] = []
        try:
            parsed = list(string.Formatter().parse(template))
        except ValueError as error:
            raise BadInput(f"key template {template!r}: {error}") from error
        for literal, name, spec, conversion in parsed:
            if name is not None:
                self._check_field(name, spec or "", conversion)
            self._parts.append((literal, name, spec or ""))
        names = {name for _, name, _ in self._parts}
        if unique and "sha256" not in names and not ("index" in names and names & {"item_id", "call"}):
            raise BadInput(
                f"key template {template!r} would give two images the same key: "
                "use {sha256}, or {index} together with {item_id} or {call}"
            )
        # The literal parts alone must make a key; whatever stands in the fields is made safe.
        check_key("".join(literal + ("x" if name else "") for literal, name, _ in self._parts))

    def _check_field(self, name: str, spec: str, conversion: str | None) -> None:
        if name not in self._fields and not ("row" in self._fields and _COLUMN.fullmatch(name)):
            known = ", ".join(f"{{{field}}}" if field != "row" else "{row[COLUMN]}" for field in self._fields)
            raise BadInput(f"key template {self.template!r}: unknown field {{{name}}}; known are {known}")
        numeric = name in _NUMBERS
        if conversion or (spec and not (numeric and _NUMBER_FORMAT.fullmatch(spec))):
            raise BadInput(
                f"key template {self.template!r}: {{{name}}} takes no format"
                + (" but a width such as {index:02d}" if numeric else "")
            )

    def key(self, **values: object) -> str:
        """The key for one image.

        Args:
            values: At least the fields the template names; others are ignored. `call` and `index` may be int or str.

        Raises:
            BadInput: A field has no value, or the key is longer than 1,024 bytes.
        """
        made: list[str] = []
        for literal, name, spec in self._parts:
            made.append(literal)
            if name is not None:
                made.append(self._value(name, spec, self._given(name, values)))
        return check_key("".join(made))

    @staticmethod
    def _given(name: str, values: Mapping[str, object]) -> object:
        column, row = _COLUMN.fullmatch(name), values.get("row")
        return row.get(column[1]) if column is not None and isinstance(row, Mapping) else values.get(name)

    def _value(self, name: str, spec: str, value: object) -> str:
        text = format(value, spec) if isinstance(value, int) else str(value) if value is not None else ""
        if not text:
            raise BadInput(f"key template {self.template!r}: no value for {{{name}}}")
        if name == "model":
            return "/".join(safe_segment(segment) for segment in text.split("/") if segment) or "_"
        return safe_segment(text)

    def __repr__(self) -> str:
        return f"KeyTemplate({self.template!r})"
