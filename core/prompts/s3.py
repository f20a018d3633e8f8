"""Reading from S3 in pieces: prompts from objects of any size, wildcards from a prefix.

An object is read by ranges, so that nothing larger than a piece is in memory, no connection has to stay open while
prompts are worked on, and a piece that fails is fetched again by itself. The first look at an object pins its ETag: if
it is replaced while it is being read, the next piece is refused instead of being glued to the old ones.

Reading needs `s3:GetObject`, and `s3:ListBucket` for wildcards.
"""

from __future__ import annotations

import io
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ..http.urls import redact_url
from ..storage import S3Options
from ..storage.s3_client import working_client
from ..storage.s3_errors import code_of, status_of, translated
from .errors import PromptFileError
from .seekable import SeekableFile

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PIECE = 4 * 1024 * 1024
"""Bytes fetched at a time."""

_first_pieces: OrderedDict[tuple[int, str, str, str], bytes] = OrderedDict()
_FIRST_PIECES = 4
"""First pieces that are kept: most sources are no larger, and are looked at several times before a run begins."""

_URI = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<key>.*)", re.DOTALL)
_MAX_FILES = 10_000


class S3Object:
    """One object, found once and read any number of times.

    Raises:
        PromptFileError: There is no such object, or the URI is not one of an object.
        StoreNotUsable, StoreUnavailable: S3 refuses, or does not answer.
    """

    def __init__(self, uri: str, options: S3Options | None = None) -> None:
        self.uri = uri
        self._bucket, self._key = _split(uri)
        if not self._key or self._key.endswith("/"):
            raise PromptFileError(uri, None, "this is a bucket or a folder; name the object with the prompts in it")
        self._client = working_client(options or S3Options())
        with translated(uri, "s3:GetObject"):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._key)
            except ClientError as error:
                if status_of(error) == 404:
                    raise PromptFileError(uri, None, "there is no such object, or no such bucket") from None
                raise
        self.size = int(head["ContentLength"])
        self._etag = head["ETag"]

    def open(self) -> io.RawIOBase:
        """A stream from its beginning; it can seek."""
        return _Stream(self)

    def read(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on."""
        end = min(start + length, self.size) - 1
        if end < start:
            return b""
        if start or length != PIECE:
            return self._fetch(start, end)
        # The same ETag is the same content.
        place = (id(self._client), self._bucket, self._key, self._etag)
        piece = _first_pieces.get(place)
        if piece is None:
            piece = _first_pieces[place] = self._fetch(start, end)
            while len(_first_pieces) > _FIRST_PIECES:
                _first_pieces.popitem(last=False)
        return piece

    def _fetch(self, start: int, end: int) -> bytes:
        with translated(self.uri, "s3:GetObject"):
            try:
                reply = self._client.get_object(
                    Bucket=self._bucket, Key=self._key, Range=f"bytes={start}-{end}", IfMatch=self._etag
                )
                return reply["Body"].read()
            except ClientError as error:
                if status_of(error) in (404, 412, 416) or code_of(error) == "PreconditionFailed":
                    raise PromptFileError(self.uri, None, "the object changed while it was being read") from None
                raise


class _Stream(SeekableFile):
    """`S3Object` as a binary file, one piece in memory."""

    def __init__(self, found: S3Object) -> None:
        super().__init__(found.size)
        self._object = found
        self._piece = b""
        self._piece_start = 0

    def bytes_at(self, position: int, count: int) -> bytes:
        at = position - self._piece_start
        if not 0 <= at < len(self._piece):
            self._piece = self._object.read(position, PIECE)
            self._piece_start, at = position, 0
        return self._piece[at : at + count]


def read_folder(
    uri: str, extensions: Sequence[str], largest: int, options: S3Options | None = None
) -> Iterator[tuple[str, str, bytes]]:
    """(URI, key below the prefix, content) of the objects with one of these extensions, in the order of their keys.

    Args:
        largest: Bytes that an object may have.
    """
    bucket, key = _split(uri)
    prefix = f"{key.rstrip('/')}/" if key.rstrip("/") else ""
    client = working_client(options or S3Options())
    with translated(uri, "s3:ListBucket"):
        wanted = [key for key in _keys(client, bucket, prefix, uri) if key.lower().endswith(tuple(extensions))]
    for found in sorted(wanted):
        place = f"s3://{bucket}/{found}"
        one = S3Object(place, options)
        if one.size > largest:
            raise PromptFileError(place, None, f"larger than {largest:,} bytes")
        yield place, found.removeprefix(prefix), one.read(0, one.size)


def keys_below(uri: str, options: S3Options | None = None) -> list[str]:
    """The keys of all objects below a prefix that ends with a slash, without it."""
    bucket, prefix = _split(uri)
    with translated(uri, "s3:ListBucket"):
        found = list(_keys(working_client(options or S3Options()), bucket, prefix, uri))
    return [key.removeprefix(prefix) for key in found]


def _keys(client: S3Client, bucket: str, prefix: str, uri: str) -> Iterator[str]:
    seen = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            seen += 1
            if seen > _MAX_FILES:
                raise PromptFileError(
                    uri, None, f"more than {_MAX_FILES:,} objects; give wildcards a prefix of their own"
                )
            yield entry["Key"]


def _split(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise PromptFileError(uri, None, "not a place in S3, s3://bucket/key")
    if "@" in match["bucket"]:
        raise PromptFileError(redact_url(uri), None, "its address holds a login; keys come from where AWS tools look")
    return match["bucket"], match["key"]
