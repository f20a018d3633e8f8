"""Objects in S3 and in what speaks its protocol."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, FlexibleChecksumError

from ..errors import BadInput
from ..files import Fetched, HashedFile
from ..store_options import ObjectOptions, S3Options
from .errors import ChecksumMismatch, KeyTaken, ObjectMissing, StoreNotUsable, StoreUnavailable
from .keys import check_key, join_prefix
from .s3_client import direct_requests, probe_client, signing_client, working_client
from .s3_direct import in_base64
from .s3_errors import code_of, status_of, translated
from .s3_multipart import put_in_parts
from .store import PROBE_KEY, Deleted, ObjectInfo, ObjectStore, Stored, header_value

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client
    from urllib3 import BaseHTTPResponse

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_METADATA_NAME = re.compile(r"[a-z0-9-]{1,64}")
_MAX_METADATA = 2048  # bytes, names and values together: "Working with object metadata", Amazon S3 user guide
_EACH = frozenset({"ContentType", "Metadata"})
_TEXT = "text/plain; charset=utf-8"
_CHUNK = 256 * 1024
_DELETED_AT_ONCE = 1000
_ROUNDS = 3
_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_CONFLICT = frozenset({409, 412})
_BAD_CHECKSUM = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest"})


class S3Store(ObjectStore):
    """Objects of one bucket under one prefix.

    Every object is written with `If-None-Match: *`, so that nothing is ever overwritten, and with its SHA-256, which
    the server compares with what it received; from `multipart_bytes` on in parts. One call takes at most two attempts
    of 20 s without a byte; a put of bytes one more, past boto3 (see `s3_direct`).

    Args:
        bucket: Its name.
        prefix: Goes before every key; slashes around it do not matter.
        options: Endpoint, region, credentials and role; the AWS chain for what is left out.
        how: How objects are written: encryption, storage class, tags.

    Raises:
        BadInput: Bucket or prefix is not valid.
    """

    signs_addresses = True

    def __init__(
        self, bucket: str, prefix: str = "", options: S3Options | None = None, how: ObjectOptions | None = None
    ) -> None:
        if "@" in bucket:
            raise BadInput("the address of a bucket holds a login; keys come from where AWS tools look")
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            raise BadInput(f"{bucket!r} is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens")
        prefix = prefix.strip("/")
        self.bucket = bucket
        self.prefix = check_key(prefix) if prefix else ""
        self.options = options or S3Options()
        self.how = how or ObjectOptions()

    def __repr__(self) -> str:
        return f"S3Store({self.destination!r}, {self.options!r})"

    @property
    def destination(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{join_prefix(self.prefix, key)}"

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
        uri, full = self.uri(key), join_prefix(self.prefix, key)
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        sha256 = sha256.lower()
        place = {"Bucket": self.bucket, "Key": full}
        writing: dict[str, Any] = {
            "ContentType": content_type,
            "Metadata": _metadata({**(metadata or {}), "sha256": sha256}),
            **self.how.arguments(run_tags),
        }
        need = "s3:PutObject and s3:PutObjectTagging" if "Tagging" in writing else "s3:PutObject"
        for _ in range(_ROUNDS):
            with translated(uri, need):
                try:
                    if size >= self.how.multipart_bytes:
                        etag = self._put_in_parts(key, source, place, sha256, writing, only_new=not overwrite)
                    else:
                        etag = self._put_whole(source, place, sha256, writing, only_new=not overwrite)
                    if etag is not None:
                        return Stored(key, uri, size, sha256, etag, True)
                except ClientError as error:
                    if code_of(error) in _BAD_CHECKSUM:
                        raise ChecksumMismatch(uri) from None
                    if status_of(error) not in _CONFLICT:
                        raise
            # The key is taken: by our own first attempt, whose answer was lost, by an earlier run, or by a stranger.
            there = self._same_content(key, size, sha256)
            if there is not None:
                return Stored(key, uri, size, sha256, there, False)
        raise StoreUnavailable(f"{uri}: other writes to this key keep getting in the way")

    def copy(self, source: ObjectStore, source_key: str, key: str, *, sha256: str, content_type: str) -> Stored:
        if not isinstance(source, S3Store) or source.options != self.options:
            return super().copy(source, source_key, key, sha256=sha256, content_type=content_type)
        there, here = source.head(source_key), self.head(key)
        if there is None:
            raise ObjectMissing(source.uri(source_key))
        # The server vouches for the hash of what it copies, or the bytes are looked at here.
        if here is not None or there.sha256 is None or there.size >= self.how.multipart_bytes:
            return super().copy(source, source_key, key, sha256=sha256, content_type=content_type)
        if there.sha256 != sha256:
            raise ChecksumMismatch(source.uri(source_key))
        uri, full, writing = self.uri(key), join_prefix(self.prefix, key), self.how.arguments()
        if "Tagging" in writing:
            writing["TaggingDirective"] = "REPLACE"
        with translated(uri, "s3:GetObject and s3:PutObject"):
            self._client().copy_object(
                Bucket=self.bucket,
                Key=full,
                CopySource={"Bucket": source.bucket, "Key": join_prefix(source.prefix, source_key)},
                MetadataDirective="REPLACE",
                ContentType=content_type,
                Metadata=_metadata({"sha256": sha256}),
                ChecksumAlgorithm="SHA256",
                **writing,
            )
        etag = self._same_content(key, there.size, sha256)
        if etag is None:
            raise StoreUnavailable(f"{uri} is not there although the server has said that it copied it")
        return Stored(key, uri, there.size, sha256, etag, True)

    def _put_whole(
        self, source: Path | bytes, place: dict[str, Any], sha256: str, writing: dict[str, Any], *, only_new: bool
    ) -> str:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_new else {}
        direct = direct_requests(self.options)
        # All but what is each object's own.
        kind = (self.bucket, *sorted((name, value) for name, value in writing.items() if name not in _EACH))
        if isinstance(source, bytes):
            etag = direct.put(
                kind,
                place["Key"],
                source,
                sha256=sha256,
                content_type=writing["ContentType"],
                metadata=writing["Metadata"],
                only_new=only_new,
            )
            if etag is not None:
                return etag
        with _body(source) as body, direct.learning(kind, place["Key"]):
            answer = self._client().put_object(
                **place, **writing, **condition, ChecksumSHA256=in_base64(sha256), Body=body
            )
        return answer.get("ETag", "").strip('"')

    def _put_in_parts(
        self,
        key: str,
        source: Path | bytes,
        place: dict[str, Any],
        sha256: str,
        writing: dict[str, Any],
        *,
        only_new: bool,
    ) -> str | None:
        """The ETag, or None where the key is taken: not every server looks at the condition of a completion."""
        if only_new and self._head(key) is not None:
            return None
        uri, client = self.uri(key), self._client()
        return put_in_parts(client, uri, source, place=place, sha256=sha256, writing=writing, only_new=only_new)

    def _same_content(self, key: str, size: int, sha256: str) -> str | None:
        """The ETag of the object if it holds this content, None if it is not there (a 409 can mean that, too)."""
        answer = self._head(key)
        if answer is None:
            return None
        uri = self.uri(key)
        if answer["ContentLength"] != size:
            raise KeyTaken(uri)
        found = _hash_of(answer)
        if found is None:
            digest = hashlib.sha256()
            for chunk in self._read(key):
                digest.update(chunk)
            found = digest.hexdigest()
        if found != sha256:
            raise KeyTaken(uri)
        etag: str = answer.get("ETag", "").strip('"')
        return etag

    def head(self, key: str) -> ObjectInfo | None:
        answer = self._head(key)
        if answer is None:
            return None
        metadata = {name: value for name, value in answer.get("Metadata", {}).items() if name != "sha256"}
        return ObjectInfo(key, answer["ContentLength"], _hash_of(answer), answer.get("ContentType", ""), metadata)

    def signed_address(self, key: str, seconds: int) -> str:
        place = {"Bucket": self.bucket, "Key": join_prefix(self.prefix, key)}
        with translated(self.uri(key), "s3:GetObject"):
            signed: str = signing_client(self.options).generate_presigned_url("get_object", place, seconds)
            return signed

    def list(self, below: str = "") -> Iterator[ObjectInfo]:
        root = f"{self.prefix}/" if self.prefix else ""
        with translated(self.destination, "s3:ListBucket"):
            pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root + below)
            for page in pages:
                for entry in page.get("Contents", []):
                    yield ObjectInfo(entry["Key"].removeprefix(root), entry["Size"], None, "")

    def get(self, key: str, dest: Path) -> Fetched:
        with HashedFile(dest) as out:
            answer = self._answer(key)
            for chunk in self._chunks(answer, self.uri(key)):
                out.write(chunk)
            if _hash_of(answer) not in (None, out.sha256):
                raise ChecksumMismatch(self.uri(key))
            return out.fetched(answer.get("ContentType") or None)

    def delete(self, keys: Sequence[str]) -> Deleted:
        gone: list[str] = []
        marked: list[str] = []
        failed: dict[str, str] = {}
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            batch = {join_prefix(self.prefix, key): key for key in keys[start : start + _DELETED_AT_ONCE]}
            with translated(self.destination, "s3:DeleteObject"):
                answer = self._client().delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": full} for full in batch]}
                )
            failed |= {
                batch[str(error["Key"])]: f"{error.get('Code', '')} {error.get('Message', '')}".strip()
                for error in answer.get("Errors", [])
                if error.get("Code") not in _MISSING
            }
            gone += [key for key in batch.values() if key not in failed]
            marked += [batch[str(item["Key"])] for item in answer.get("Deleted", []) if item.get("DeleteMarker")]
        return Deleted(tuple(gone), tuple(marked), failed)

    def read_text(self, key: str, max_bytes: int = 65_536) -> str | None:
        found = b""
        try:
            for chunk in self._read(key):
                found += chunk
                if len(found) > max_bytes:
                    raise StoreNotUsable(f"{self.uri(key)} is longer than {max_bytes:,} bytes")
            return found.decode()
        except ObjectMissing:
            return None
        except UnicodeDecodeError:
            raise StoreNotUsable(f"{self.uri(key)} is not UTF-8 text") from None

    def create_text(self, key: str, text: str) -> bool:
        with translated(self.uri(key), "s3:PutObject"):
            try:
                self._put_text(key, text, only_new=True)
            except ClientError as error:
                if status_of(error) in _CONFLICT:
                    return False
                raise
        return True

    def write_text(self, key: str, text: str) -> None:
        with translated(self.uri(key), "s3:PutObject"):
            self._put_text(key, text, only_new=False)

    def check(self) -> None:
        with translated(self.destination, "s3:ListBucket"):
            probe_client(self.options).head_bucket(Bucket=self.bucket)

    def preflight(self, run_tags: Mapping[str, str] | None = None) -> None:
        writing = self.how.arguments(run_tags)
        uri = self.uri(PROBE_KEY)
        # A put first, not a HEAD of the bucket: only answers with a body tell a wrong secret from a missing right.
        need = "s3:PutObject and s3:PutObjectTagging" if "Tagging" in writing else "s3:PutObject"
        with translated(uri, need):
            client = probe_client(self.options)
            # Written as images are: a key that may not be used or a class that is not there shows now.
            self._put_probe(client, "prefect-imagen was here\n", **writing)
            try:
                self._put_probe(client, "overwritten\n", IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) not in _CONFLICT:
                    raise
            else:
                raise StoreNotUsable(
                    f"{uri}: the server ignores conditional writes (If-None-Match), without which a delivered image "
                    "could be overwritten; use a newer server or a local folder"
                )
        with translated(uri, "s3:GetObject"):
            client.get_object(Bucket=self.bucket, Key=join_prefix(self.prefix, PROBE_KEY))["Body"].close()
        # Without the right to list, S3 answers 403 instead of 404 for every key that is not there.
        with translated(self.destination, "s3:ListBucket"):
            client.list_objects_v2(Bucket=self.bucket, Prefix=join_prefix(self.prefix, PROBE_KEY), MaxKeys=1)

    def _client(self) -> S3Client:
        return working_client(self.options)

    def _put_text(self, key: str, text: str, *, only_new: bool) -> None:
        body, place = text.encode(), {"Bucket": self.bucket, "Key": join_prefix(self.prefix, key)}
        writing = {"ContentType": _TEXT, "Metadata": {}, **self.how.encryption()}
        self._put_whole(body, place, hashlib.sha256(body).hexdigest(), writing, only_new=only_new)

    def _put_probe(self, client: S3Client, text: str, **options: Any) -> None:
        body, key = text.encode(), join_prefix(self.prefix, PROBE_KEY)
        checksum = in_base64(hashlib.sha256(body).hexdigest())
        writing = {**self.how.encryption(), **options}
        client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=_TEXT, ChecksumSHA256=checksum, **writing)

    def _head(self, key: str) -> Any:
        """The HEAD answer with its checksum, or None where there is no such object."""
        full = join_prefix(self.prefix, key)
        with translated(self.uri(key), "s3:GetObject and s3:ListBucket"):
            try:
                return self._client().head_object(Bucket=self.bucket, Key=full, ChecksumMode="ENABLED")
            except ClientError as error:
                # A HEAD has no body: a missing bucket looks the same. `preflight` has told them apart.
                if code_of(error) in _MISSING:
                    return None
                raise

    def _read(self, key: str) -> Iterator[bytes]:
        """The object's bytes in chunks."""
        return self._chunks(self._answer(key), self.uri(key))

    def _answer(self, key: str) -> Any:
        """The answer to a GET, as boto3 gives it, with the body unread."""
        uri, full, direct = self.uri(key), join_prefix(self.prefix, key), direct_requests(self.options)
        with translated(uri, "s3:GetObject and s3:ListBucket"):
            if (answer := direct.get(self.bucket, full)) is not None:
                return answer
            try:
                with direct.learning(self.bucket, full):
                    return self._client().get_object(Bucket=self.bucket, Key=full, ChecksumMode="ENABLED")
            except ClientError as error:
                if code_of(error) in _MISSING:
                    raise ObjectMissing(uri) from None
                raise

    @staticmethod
    def _chunks(answer: Any, uri: str) -> Iterator[bytes]:
        with closing(answer["Body"]) as body:
            while chunk := _read_chunk(body, uri):
                yield chunk


def _read_chunk(body: StreamingBody | BaseHTTPResponse, uri: str) -> bytes:
    # Apart from what reads it: what a consumer raises between two chunks must not be taken for the store's.
    with translated(uri, "s3:GetObject"):
        try:
            return body.read(_CHUNK)
        except FlexibleChecksumError:
            raise ChecksumMismatch(uri) from None


def _body(source: Path | bytes) -> AbstractContextManager[Any]:
    """What boto3 sends. Bytes go out at once; for a file it asks first (`Expect: 100-continue`)."""
    return nullcontext(source) if isinstance(source, bytes) else source.open("rb")


def _hash_of(answer: Mapping[str, Any]) -> str | None:
    """The SHA-256 of the whole object, as the server computed it or as its writer noted it."""
    checksum = str(answer.get("ChecksumSHA256") or "")
    # A multipart upload's checksum ("…-2") is a hash of hashes and says nothing of the content.
    if checksum and "-" not in checksum and answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        return base64.b64decode(checksum).hex()
    noted = str(answer.get("Metadata", {}).get("sha256", "")).lower()
    return noted if re.fullmatch(r"[0-9a-f]{64}", noted) else None


def _metadata(values: Mapping[str, str]) -> dict[str, str]:
    """Metadata as headers can carry it.

    Raises:
        BadInput: A name is not of `a-z0-9-`, or all together exceed 2,048 bytes.
    """
    safe: dict[str, str] = {}
    for name, value in values.items():
        if not _METADATA_NAME.fullmatch(name):
            raise BadInput(f"metadata name {name[:80]!r} must be of a-z, 0-9 and '-'")
        safe[name] = header_value(value)
    if sum(len(name) + len(value) for name, value in safe.items()) > _MAX_METADATA:
        raise BadInput(f"object metadata exceeds the {_MAX_METADATA:,} bytes that S3 allows")
    return safe
