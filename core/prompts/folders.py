"""Pictures as a source: a row for each picture of a folder, a pattern or a prefix in S3.

| column | |
|---|---|
| `picture` | where it is; goes into the request unless another column is named |
| `name` | its name without extension |
| `folder` | where it lies, below the folder that was named; empty for those at its top |
| `text` | what the file of the same name with `.txt` says, if there is one: the prompt, unless a template makes one |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..files import check_stays_inside
from .errors import PromptFileError
from .sources import PromptSource, Row

if TYPE_CHECKING:
    from ..storage import S3Options

COLUMN = "picture"
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp")
_TEXT = ".txt"
_LONGEST = 100_000
_PATTERN = re.compile(r"[*?\[]")


def is_pictures(source: object) -> bool:
    """Whether a source is a folder, a pattern, or a prefix in S3 (with a slash at its end): not a file of prompts."""
    if not isinstance(source, str | Path):
        return False
    name = str(source)
    if name.startswith("s3://"):
        return name.endswith("/")
    path = Path(name)
    return "://" not in name and (path.is_dir() or (bool(_PATTERN.search(name)) and not path.exists()))


class PictureSource(PromptSource):
    """The pictures of a place, in the order of their paths. Hidden files and folders are left out.

    Raises:
        PromptFileError: There is none.
    """

    def __init__(self, name: str, s3: S3Options | None = None) -> None:
        self.name = name
        self._found = list(_in_s3(name, s3) if name.startswith("s3://") else _in_files(name))
        if not self._found:
            raise PromptFileError(
                name,
                None,
                f"no pictures are there ({', '.join(EXTENSIONS)}); name those, or the file with the prompts in it",
            )

    def columns(self) -> tuple[str, ...]:
        return ("name", "folder", "text", COLUMN)

    def _rows(self) -> Iterator[Row]:
        for line, (below, place, text) in enumerate(self._found, start=1):
            parent = str(below.parent)
            folder = "" if parent == "." else parent
            try:
                said = text()
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no UTF-8"
                raise PromptFileError(self.name, line, f"the text beside {below}: {reason}") from None
            yield Row(line, {"name": below.stem, "folder": folder, "text": said, COLUMN: place})


_Found = tuple[PurePosixPath, str, Callable[[], str]]
"""The path below the place, where the picture is, and its text."""


def _in_files(name: str) -> Iterator[_Found]:
    top, paths = _paths(name)
    for path in sorted(paths):
        below = PurePosixPath(path.relative_to(top).as_posix())
        if path.suffix.lower() not in EXTENSIONS or any(part.startswith(".") for part in below.parts):
            continue
        if path.is_file():
            check_stays_inside(path, top)
            yield below, str(path.absolute()), _reader(path.with_suffix(_TEXT), top)


def _paths(name: str) -> tuple[Path, Sequence[Path]]:
    if Path(name).is_dir():
        return Path(name), list(Path(name).rglob("*"))
    parts = Path(name).parts
    first = next(place for place, part in enumerate(parts) if _PATTERN.search(part))
    top = Path(*parts[:first])
    return top, list(top.glob(str(PurePosixPath(*parts[first:]))))


def _reader(path: Path, top: Path) -> Callable[[], str]:
    def read() -> str:
        if not path.is_file():
            return ""
        check_stays_inside(path, top)
        with path.open(encoding="utf-8-sig") as file:
            return file.read(_LONGEST).strip()

    return read


def _in_s3(name: str, s3: S3Options | None) -> Iterator[_Found]:
    from .s3 import S3Object, keys_below

    found = keys_below(name, s3)
    texts = {key for key in found if key.endswith(_TEXT)}
    for key in sorted(found):
        below = PurePosixPath(key)
        if below.suffix.lower() not in EXTENSIONS or any(part.startswith(".") for part in below.parts):
            continue
        beside = str(below.with_suffix(_TEXT))

        def read(beside: str = beside) -> str:
            if beside not in texts:
                return ""
            return S3Object(name + beside, s3).read(0, _LONGEST).decode("utf-8-sig").strip()

        yield below, name + key, read
