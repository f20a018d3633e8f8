"""The page as files: it opens from a disk or a static host, without a server."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..errors import BadInput
from ..images.signature import AVIF, BMP, GIF, JPEG, PNG, WEBP
from ..ledger import ImageFilter, ImageOrder, Ledger
from ..storage import ObjectStore
from .desk import COLUMNS, PLACE, indexed, shown, stored_picture
from .pictures import CannotBeShown, Pictures, StoredPicture
from .server import page_files
from .thumbnails import Thumbnails

_CHUNK = 250
_AT_ONCE = 8
_MARK = ".prefect-imagen-gallery"
_EXTENSIONS = {kind.content_type: kind.ext for kind in (PNG, JPEG, WEBP, GIF, AVIF, BMP)}
_WANTED = tuple(dict.fromkeys((*COLUMNS[1:], *PLACE)))  # the id comes by itself
_COLUMNS = ("run", "edition", "model", "flags")


@dataclass(slots=True)
class GalleryWritten:
    """A gallery.

    Attributes:
        uri: Of its page.
        images: Number of images in it.
        written: Number of pictures and thumbnails that were not there before.
        failed: Why not, by the id of an image that cannot be shown.
    """

    uri: str
    images: int = 0
    written: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def write_gallery(
    ledger: Ledger,
    store: ObjectStore,
    images: ImageFilter,
    *,
    order: ImageOrder = ImageOrder.TIME,
    pictures: Pictures,
    originals: bool = True,
) -> GalleryWritten:
    """Write images, what is known of them, and the page, to a place.

    What is there of the same gallery is replaced; pictures that are there are not written again.

    Args:
        ledger: Knows the images.
        store: The place.
        images: Which ones.
        order: How they are sorted.
        pictures: Reads them.
        originals: Write the pictures as they were bought; else the thumbnails alone.

    Raises:
        BadInput: Something else is at the place.
    """
    _claim(store, ledger)
    done = GalleryWritten(store.uri("index.html"))
    thumbnails = Thumbnails(pictures)
    writer = _Writer(store, pictures, thumbnails, originals=originals)
    index: list[dict[str, Any]] = []
    prompts: list[str] = []
    values: dict[str, dict[str, int]] = {name: {} for name in _COLUMNS}
    places: dict[str, list[int]] = {name: [] for name in _COLUMNS}
    rows = ledger.review.all(images, columns=_WANTED, order=order)
    try:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gallery") as threads:
            for number, chunk in enumerate(_chunks(rows)):
                for row, (written, problem) in zip(chunk, threads.map(writer.write, chunk), strict=True):
                    done.written += written
                    if problem is not None:
                        done.failed[row["image_id"]] = problem
                found = [_row(row, originals=originals) for row in chunk]
                _put(store, f"data/rows-{number}.js", _script(f"rows-{number}", found))
                index += [{name: row[name] for name in ("image_id", "verdict", "stars")} for row in chunk]
                for row in found:
                    prompts.append(row.get("prompt", ""))
                    of = {"run": row.get("run_id"), "flags": " ".join(row.get("flags", ()))}
                    for name in _COLUMNS:
                        text = str(of.get(name, row.get(name)) or "")
                        places[name].append(values[name].setdefault(text, len(values[name])))
    finally:
        thumbnails.close()
    done.images = len(index)
    columns = {"prompts": prompts, "values": {name: list(values[name]) for name in _COLUMNS}, "of": places}
    _put(store, "data/columns.js", _script("columns", columns))
    title = f"{done.images:,} {'picture' if done.images == 1 else 'pictures'}"
    start = {"ledger": ledger.id, "about": {"title": title}, "chunk": _CHUNK, **indexed(index)}
    _put(store, "data/index.js", f"Imagen.data = {_json(start)};\n".encode())
    for name, content in page_files().items():
        if name != "index.html":
            _put(store, name, content)
    # The page comes last: whoever sees it finds all that it needs.
    _put(store, "index.html", _page())
    return done


def _claim(store: ObjectStore, ledger: Ledger) -> None:
    if store.create_text(_MARK, f"{ledger.id}\n"):
        if store.head("index.html") is None:
            return
        store.delete([_MARK])
        raise BadInput(f"{store.destination} has an index.html of something else: choose another place")
    owner = (store.read_text(_MARK) or "").strip()
    if owner != ledger.id:
        raise BadInput(f"{store.destination} has the gallery of another ledger ({owner[:8]}): choose another place")


class _Writer:
    """Writes pictures and thumbnails. Thread-safe."""

    def __init__(self, store: ObjectStore, pictures: Pictures, thumbnails: Thumbnails, *, originals: bool) -> None:
        self._store = store
        self._pictures = pictures
        self._thumbnails = thumbnails
        self._originals = originals

    def write(self, row: Mapping[str, Any]) -> tuple[int, str | None]:
        """Write what is missing of an image; how many files, and why it cannot be shown."""
        picture = stored_picture(row)
        written = 0
        try:
            small = f"thumbnails/{picture.sha256}.webp"
            if self._store.head(small) is None:
                path = self._thumbnails.ready(picture.sha256) or self._thumbnails.make(picture).result()
                _put(self._store, small, path.read_bytes())
                written += 1
            if self._originals and self._store.head(_file(picture)) is None:
                _put(self._store, _file(picture), self._pictures.read(picture))
                written += 1
        except CannotBeShown as error:
            return written, str(error)
        return written, None


def _file(picture: StoredPicture) -> str:
    return f"pictures/{picture.sha256}.{_EXTENSIONS.get(picture.content_type, 'bin')}"


def _row(row: Mapping[str, Any], *, originals: bool) -> dict[str, Any]:
    found = {name: value for name, value in shown(row).items() if name in COLUMNS}
    return found | ({"file": _file(stored_picture(row))} if originals else {})


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


def _page() -> bytes:
    page = page_files()["index.html"].decode()
    last = '<script src="review.js" defer></script>'
    more = "".join(f'<script src="{name}" defer></script>\n' for name in ("data/index.js", "gallery.js"))
    return page.replace(last, more + last).encode()


def _script(name: str, content: Sequence[Any] | Mapping[str, Any]) -> bytes:
    return f'Imagen.part("{name}", {_json(content)});\n'.encode()


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=True, separators=(",", ":"), default=str)


def _put(store: ObjectStore, key: str, content: bytes) -> None:
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    store.put(key, content, sha256=hashlib.sha256(content).hexdigest(), content_type=kind, overwrite=True)
