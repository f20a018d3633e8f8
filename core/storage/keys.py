"""Object keys: how they are made from a template, which ones are accepted, how a prefix goes before them."""

from __future__ import annotations

import difflib
import hashlib
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence

from ..errors import BadInput
from ..request import DEFAULT_KEY_TEMPLATE
from ..values import slug

_FIELDS = ("model", "item_id", "call", "index", "ext", "edition", "date", "sha256", "slug", "line", "row")
_MAX_KEY = 1024  # bytes of UTF-8: "Creating object key names", Amazon S3 user guide
_MAX_SEGMENT = 100
_MAX_SLUG = 60
_SHORT_ID = 10
_NOTHING = "none"
_UNSAFE = re.compile(r"[^A-Za-z0-9._=@+-]+")
_NUMBERS = ("call", "index", "line", "stars", "revision")
_COLUMN = re.compile(r"row\[([^\]]+)\]")
_PLAIN = re.compile(r"[^\W\d][^\[\].:!{}]*")
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


def short_slug(text: str) -> str:
    """The first words of a text, in small ASCII letters; empty where it has none, as in another script.

    Example:
        >>> short_slug("A red fox, in the snow — crème brûlée!")
        'a-red-fox-in-the-snow-creme-brulee'
    """
    words = slug(text).encode("ascii", "ignore").decode().strip("-")
    return words if len(words) <= _MAX_SLUG else words[: _MAX_SLUG + 1].rpartition("-")[0] or words[:_MAX_SLUG]


class KeyTemplate:
    """Makes object keys, for instance `google/imagen4/preview/<item id>/1-0.png`.

    Fields: `model` (its slashes make folders), `item_id`, `call` (names the paid call; a mere number within the item
    must stand beside `item_id`), `index` (of the image within the reply), `ext`, `edition`, `date`, `sha256` (of the
    image), `slug` (of the prompt), `line` (of the source that asked for it). `call`, `index` and `line` may be padded
    (`{index:02d}`). `{row[COLUMN]}` is a column of the source. Literal text may hold slashes.

    Args:
        template: As in `str.format`, without conversions or attributes.
        fields: The fields that are known. `row` stands for `{row[COLUMN]}`.
        unique: Give each image a key of its own: where the fields do not tell images apart, a short id goes before the
            extension. Any other field is then taken for a column, `{COLUMN}`, and what has no value is `none`.

    Raises:
        BadInput: Unknown field, malformed template.

    Example:
        >>> keys = KeyTemplate("{product}-{index}.{ext}")
        >>> keys.key(row={"product": "Mug"}, call="c", item_id="i", index=0, ext="png")
        'Mug-0-4adf21adf4.png'
    """

    def __init__(
        self, template: str = DEFAULT_KEY_TEMPLATE, fields: Sequence[str] = _FIELDS, *, unique: bool = True
    ) -> None:
        self.template = template
        self._fields = fields
        self._unique = unique
        self._parts: list[tuple[str, str | None, str]] = []
        try:
            parsed = list(string.Formatter().parse(template))
        except ValueError as error:
            raise BadInput(f"key template {template!r}: {error}") from error
        for literal, name, spec, conversion in parsed:
            if name is not None:
                self._check_field(name, spec or "", conversion)
            self._parts.append((literal, name, spec or ""))
        names = {name for _, name, _ in self._parts if name is not None}
        self.columns = frozenset(column for name in names if (column := self._column(name)) is not None)
        """Columns of the source that the keys are made of."""
        self.needs_row = bool(self.columns) or "line" in names
        """Whether the row that asked for an image must be known."""
        told_apart = "sha256" in names or ("index" in names and names & {"item_id", "call"})
        self._add_id = unique and not told_apart
        # The literal parts alone must make a key; whatever stands in the fields is made safe.
        check_key("".join(literal + ("x" if name else "") for literal, name, _ in self._parts))

    def _column(self, name: str) -> str | None:
        """The column that a field stands for; None for a field of our own."""
        if "row" in self._fields and (found := _COLUMN.fullmatch(name)) is not None:
            return found[1]
        return name if self._unique and name not in self._fields and _PLAIN.fullmatch(name) else None

    def check_columns(self, columns: Sequence[str]) -> None:
        """Check that the source has the columns that keys are made of.

        Raises:
            BadInput: It has not.
        """
        if unknown := sorted(self.columns - set(columns)):
            close = difflib.get_close_matches(unknown[0], [*columns, *self._fields], 1)
            hint = f"; did you mean {{{close[0]}}}?" if close else ";"
            known = ", ".join(f"{{{name}}}" for name in (*self._fields, *columns) if name != "row")
            raise BadInput(f"key template {self.template!r}: unknown field {{{unknown[0]}}}{hint} known are {known}")

    def _check_field(self, name: str, spec: str, conversion: str | None) -> None:
        if name == "row" or (name not in self._fields and self._column(name) is None):
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
            values: At least the fields the template names; others are ignored. `call` and `index` may be int or str,
                `row` has the values of the columns.

        Raises:
            BadInput: A field has no value, or the key is longer than 1,024 bytes.
        """
        made: list[str] = []
        for literal, name, spec in self._parts:
            made.append(literal)
            if name is not None:
                made.append(self._value(name, spec, self._given(name, values)))
        key = "".join(made)
        if self._add_id:
            told = "/".join(str(values.get(name, "")) for name in ("item_id", "call", "index"))
            short = hashlib.sha256(told.encode()).hexdigest()[:_SHORT_ID]
            end = f".{made[-1]}" if self.template.endswith(".{ext}") else ""
            key = f"{key.removesuffix(end)}-{short}{end}"
        return check_key(key)

    def _given(self, name: str, values: Mapping[str, object]) -> object:
        column, row = self._column(name), values.get("row")
        if column is not None:
            return row.get(column) if isinstance(row, Mapping) else None
        return values.get(name)

    def _value(self, name: str, spec: str, value: object) -> str:
        text = format(value, spec) if isinstance(value, int) else str(value) if value is not None else ""
        if name == "slug":
            text = short_slug(text)
        if not text and self._unique and (name in ("slug", "line") or self._column(name) is not None):
            return _NOTHING
        if not text:
            raise BadInput(f"key template {self.template!r}: no value for {{{name}}}")
        if name == "model":
            return "/".join(safe_segment(segment) for segment in text.split("/") if segment) or "_"
        return safe_segment(text)

    def __repr__(self) -> str:
        return f"KeyTemplate({self.template!r})"
