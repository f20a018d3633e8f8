"""What every object store can do, whatever is behind it."""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from ..files import Fetched
from .errors import StoreNotUsable

PROBE_KEY = ".prefect-imagen-probe"
"""The one object that `preflight` overwrites. It stays in S3, where a run need not have the right to delete."""

_PLAIN = re.compile(r"(?:[!-$&-~]+(?: [!-$&-~]+)*)?")


def header_value(text: str) -> str:
    """Metadata as a header can carry it: percent-encoded, unless it is plain ASCII that no server trims.

    Example:
        >>> header_value("a fox, red"), header_value("50 % Käse")
        ('a fox, red', '50 %25 K%C3%A4se')
    """
    return text if _PLAIN.fullmatch(text) else quote(text, safe=" !#$&'()*+,/:;=?@[]")


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is confirmed to hold the content it was asked to hold.

    Attributes:
        key: As given to `put`.
        uri: Its full address.
        size: Bytes.
        sha256: Hex digits.
        etag: The store's own version tag; empty where it has none.
        created: False where the same content was there before.
    """

    key: str
    uri: str
    size: int
    sha256: str
    etag: str
    created: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """The result of deleting keys.

    Attributes:
        keys: Those at which nothing is any more, also where nothing was.
        marked: Those of them whose older versions the store keeps (a bucket with versions only hides them).
        failed: The others, with the store's reason.
    """

    keys: tuple[str, ...]
    marked: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it.

    Attributes:
        key: As given to `head`.
        size: Bytes.
        sha256: Hex digits, or None where the store does not know.
        content_type: As stored (S3) or told from the extension (folder); empty if unknown.
        metadata: User metadata, without the `sha256` that `put` adds. In a folder: the ids of an image.
    """

    key: str
    size: int
    sha256: str | None
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(ABC):
    """A place for objects under one prefix. Thread-safe.

    Keys are relative to the prefix; one that already begins with the prefix is not prefixed again. Beside what the
    methods list, each may raise `StoreUnavailable` (no answer now), `StoreNotUsable` (no right, no bucket) and
    `BadInput` (a key that is not acceptable, see `keys.check_key`).
    """

    signs_addresses: ClassVar[bool] = False
    """Whether others can be given an address to read an object at."""

    @property
    @abstractmethod
    def destination(self) -> str:
        """The canonical URI of the place, without a final slash: `s3://bucket/prefix`, `file:///folder`."""

    @abstractmethod
    def uri(self, key: str) -> str:
        """The address of the object at `key`, which need not exist."""

    @abstractmethod
    def put(
        self,
        key: str,
        source: Path | bytes,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        run_tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> Stored:
        """Store bytes unchanged, unless the key exists.

        Args:
            key: The object's key.
            source: A file, or the bytes.
            sha256: Hex digits of its SHA-256; the store checks the bytes it received against it.
            content_type: Media type.
            metadata: Names of `a-z0-9-`; values beyond printable ASCII are percent-encoded. Kept by S3 only.
            run_tags: Tags of the run, for stores that are told to keep them with objects.
            overwrite: Replace what is there; for what is not an image.

        Returns:
            The object, `created=False` where the key already held the same content.

        Raises:
            KeyTaken: The key holds other content.
            ChecksumMismatch: The bytes are not what `sha256` says; nothing was stored.
            OSError: The file cannot be read.
        """

    def copy(self, source: ObjectStore, source_key: str, key: str, *, sha256: str, content_type: str) -> Stored:
        """Store a copy of an object of another store, unless the key exists. `put` says what it returns and raises.

        The bytes go through this machine, except between two buckets of one server.

        Raises:
            ObjectMissing: Nothing is at `source_key`.
        """
        with tempfile.TemporaryDirectory(prefix="imagen-copy-") as folder:
            path = Path(folder, "object")
            source.get(source_key, path)
            return self.put(key, path, sha256=sha256, content_type=content_type)

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """What is at `key`, or None."""

    def signed_address(self, key: str, seconds: int) -> str:
        """An address at which anybody may read an object for a time: a secret. Asks nothing of the store.

        Raises:
            StoreNotUsable: The store has no such addresses; or there are no credentials.
        """
        raise StoreNotUsable(f"{self.destination}: there are no signed addresses of what is there")

    @abstractmethod
    def list(self, below: str = "") -> Iterator[ObjectInfo]:
        """Everything below the prefix, by key and size alone; what is not ours is among it.

        Args:
            below: Beginning of the keys.
        """

    @abstractmethod
    def get(self, key: str, dest: Path) -> Fetched:
        """Copy an object to a file, which appears whole or not at all.

        Raises:
            ObjectMissing: Nothing is at `key`.
            ChecksumMismatch: The bytes differ from the hash the store has.
            SpoolUnavailable: `dest` cannot be written.
        """

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> Deleted:
        """Delete objects, for good as far as the store keeps no versions. What is not there is deleted already."""

    @abstractmethod
    def read_text(self, key: str, max_bytes: int = 65_536) -> str | None:
        """The UTF-8 text at `key`, or None where nothing is.

        Raises:
            StoreNotUsable: It is longer than `max_bytes` or is not UTF-8.
        """

    @abstractmethod
    def create_text(self, key: str, text: str) -> bool:
        """Write `text` unless `key` exists; False if it does.

        A connection that breaks right after the write can make this False for one's own text: compare what is there.
        """

    @abstractmethod
    def write_text(self, key: str, text: str) -> None:
        """Write `text`, replacing what is there."""

    @abstractmethod
    def check(self) -> None:
        """Ask once, quickly and without repeating, whether the store answers; meant to be polled.

        Raises:
            StoreUnavailable: It does not.
        """

    @abstractmethod
    def preflight(self, run_tags: Mapping[str, str] | None = None) -> None:
        """Find out, before money is spent, whether everything a run needs is allowed; overwrites `PROBE_KEY`.

        Args:
            run_tags: Tags of the run, as its images may get them.

        Raises:
            BadInput: Tags that the store does not accept.
            StoreNotUsable: Something is missing; the message says what.
            StoreUnavailable: No answer.
        """
