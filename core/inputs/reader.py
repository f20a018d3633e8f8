"""Finding pictures by what stands in a row: a path, an address in S3 or the web, data, an image of the catalog."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import BadInput, ImagenError, Unavailable
from ..files import check_stays_inside
from ..http.errors import FetchError, FetchTransient
from ..http.exchange import user_agent
from ..http.urls import redact_url
from ..images import Fetcher
from ..ledger import Ledger, VerdictValue, image_key
from ..storage import ObjectMissing, ObjectStore, StoreNotUsable
from ..storage.sources import Sources
from .pictures import LARGEST, InputRefused, Picture, look_at

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_DATA = re.compile(r"data:[^,;]*(;[^,;]*)*?(?P<base64>;base64)?,", re.IGNORECASE)
_CATALOG = "catalog:"
_TRIES = 3
_SHOWN = 80


class InputReader:
    """Reads and checks pictures, each place and each content once. Thread-safe.

    Args:
        ledger: Opens the ledger that `catalog:` means; None where there is none. An attribute, too.
        store: A destination that is reached with options of its own.
        sources: How other buckets are reached.
        trusted: Origins on this machine that may be read from.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger] | None = None,
        store: ObjectStore | None = None,
        sources: Sources | None = None,
        trusted: tuple[str, ...] = (),
    ) -> None:
        self.ledger = ledger
        self._store = store
        self._sources = sources or Sources()
        self._fetcher = Fetcher(trusted, user_agent=user_agent(), max_bytes=LARGEST)
        self._lock = threading.Lock()
        self._found: dict[str, tuple[str, Picture | InputRefused]] = {}
        self._by_content: dict[str, Picture | InputRefused] = {}

    def look(self, place: str) -> Picture:
        """The picture at a place, which `resolve` has made of what stands in a row.

        Raises:
            InputRefused: There is none that can be used; the reason says why.
            Unavailable: A store does not answer.
        """
        key = _short(place)
        with self._lock:
            _, found = self._found.get(key, (place, None))
        if found is None:
            try:
                found = self._look(self.read(place))
            except InputRefused as error:
                found = error
            with self._lock:
                self._found[key] = place, found
        if isinstance(found, InputRefused):
            raise found
        return found

    def pictures(self) -> list[tuple[str, Picture]]:
        """The pictures that were found so far, each content once, with a place where it is."""
        with self._lock:
            found = {one.sha256: (place, one) for place, one in self._found.values() if isinstance(one, Picture)}
        return list(found.values())

    def _look(self, data: bytes) -> Picture:
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            known = self._by_content.get(digest)
        if known is None:
            try:
                known = look_at(data)
            except InputRefused as error:
                known = error
            with self._lock:
                self._by_content[digest] = known
        if isinstance(known, InputRefused):
            raise known
        return known

    def read(self, place: str) -> bytes:
        """The bytes at a place.

        Raises:
            InputRefused: They cannot be had.
            Unavailable: A store does not answer.
        """
        try:
            return self._read(place)
        except BadInput as error:
            raise InputRefused(f"{redact_url(place)}: {error}") from None

    def _read(self, place: str) -> bytes:
        if place[:5].lower() == "data:":
            return _of_data(place)
        if place.startswith(_CATALOG):
            return self._of_catalog(place.removeprefix(_CATALOG))
        if place.startswith("s3://"):
            return self._of_store(place)
        if place.startswith(("http://", "https://")):
            return self._of_web(place)
        return _of_file(Path(place))

    def _of_web(self, url: str) -> bytes:
        with _temporary() as path:
            for left in reversed(range(_TRIES)):
                try:
                    data = self._fetcher.fetch(url, path, in_memory=LARGEST).data
                    return data if data is not None else path.read_bytes()
                except FetchTransient as error:
                    if not left:
                        raise InputRefused(f"{redact_url(url)}: {error}") from None
                except FetchError as error:
                    raise InputRefused(f"{redact_url(url)}: {error.reason}") from None
        raise AssertionError("a loop that returns or raises")

    def _of_store(self, uri: str) -> bytes:
        store, key = self._sources.open(uri)
        if self._store is not None and uri.startswith(f"{self._store.destination}/"):
            store, key = self._store, uri.removeprefix(f"{self._store.destination}/")
        try:
            info = store.head(key)
            if info is None:
                raise InputRefused(f"{uri}: there is no such object")
            if info.size > LARGEST:
                raise InputRefused(f"{uri}: {info.size:,} bytes; at most {LARGEST:,} are taken")
            with _temporary() as path:
                found = store.get(key, path).source
                return found if isinstance(found, bytes) else found.read_bytes()
        except ObjectMissing:
            raise InputRefused(f"{uri}: there is no such object") from None
        except StoreNotUsable as error:
            raise InputRefused(str(error)) from None

    def _of_catalog(self, image_id: str) -> bytes:
        name = f"{_CATALOG}{image_id}"
        if self.ledger is None:
            raise InputRefused(f"{name}: there is no ledger here to look into")
        try:
            image_key(image_id)
            (row,) = self.ledger().review.rows([image_id], columns=("image_id", "state", "uri", "verdict", "sha256"))
        except Unavailable:
            raise
        except (ImagenError, ValueError):
            raise InputRefused(f"{name}: the catalog has no such image") from None
        if row["state"] != "stored" or row["uri"] is None:
            raise InputRefused(f"{name}: the image is {row['state']}, not stored")
        if row["verdict"] == VerdictValue.REJECTED:
            raise InputRefused(f"{name}: the image was rejected")
        uri = str(row["uri"])
        data = _of_file(Path(urllib.parse.unquote(uri[7:]))) if uri.startswith("file://") else self._of_store(uri)
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise InputRefused(f"{name}: the object is not the picture that was bought")
        return data


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="imagen-input-") as folder:
        yield Path(folder, "picture")


def _short(place: str) -> str:
    """What a place is remembered by."""
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest() if place[:5] == "data:" else place


def resolve(where: str, base: str) -> str:
    """Make of what stands in a row a place that means the same wherever it is read from.

    Args:
        where: As it stands there.
        base: Folder, or `s3://` prefix, in which relative paths begin.

    Raises:
        InputRefused: It is no place of pictures.

    Example:
        >>> resolve("mug.png", "s3://shop/may"), resolve("/a/mug.png", "/b")
        ('s3://shop/may/mug.png', '/a/mug.png')
    """
    scheme = _SCHEME.match(where)
    if scheme is not None and (scheme[2] or scheme[1].lower() in ("data", "catalog")):
        if scheme[1].lower() in ("data", "catalog", "s3", "http", "https"):
            return where
        shown = redact_url(where)[:_SHOWN]
        raise InputRefused(f"{shown}: a picture is a path, s3://…, https://…, data:… or catalog:IMAGE_ID")
    if base.startswith("s3://"):
        # Whoever writes into the bucket has no say over the files of this machine.
        if where.startswith(("/", "~")) or ".." in where.split("/"):
            raise InputRefused(f"{where[:_SHOWN]}: a file in S3 names objects beside it, or addresses")
        return f"{base.rstrip('/')}/{where}"
    try:
        path = Path(base, Path(where).expanduser()).absolute()
        if base and not Path(where).is_absolute():
            # Whoever clones a repository of prompts clones its links, too.
            check_stays_inside(path)
        return str(path)
    except BadInput as error:
        raise InputRefused(str(error)) from None
    except (RuntimeError, ValueError):
        raise InputRefused(f"{where[:_SHOWN]!r} is no path") from None


def _of_data(uri: str) -> bytes:
    head = _DATA.match(uri)
    if head is None:
        raise InputRefused("data:…: it is no data URI (data:image/png;base64,…)")
    body = uri[head.end() :]
    if len(body) > LARGEST * 4:
        raise InputRefused(f"data:…: more than {LARGEST:,} bytes")
    try:
        if head["base64"]:
            return base64.b64decode("".join(body.split()), validate=True)
        return urllib.parse.unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        raise InputRefused("data:…: its base64 cannot be read") from None


def _of_file(path: Path) -> bytes:
    try:
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise InputRefused(f"{path}: it is no file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise InputRefused(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST:
        raise InputRefused(f"{path}: more than {LARGEST:,} bytes")
    return data
