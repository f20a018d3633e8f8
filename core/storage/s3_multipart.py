"""Large objects in parts, each with its own checksum.

S3 keeps no SHA-256 of a whole object that came in parts, only one of its parts' hashes (`…-N`, type COMPOSITE). So each
part is compared by the server when it arrives, and named with its checksum when the parts are put together; the hash of
the whole is compared here and stands in the object's metadata.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ChecksumMismatch
from .s3_direct import in_base64

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_MIB = 1024 * 1024
_USUAL = 16 * _MIB
_MOST_PARTS = 10_000


def part_size(size: int) -> int:
    """Bytes a part, so that there are at most 10,000 of them.

    Example:
        >>> part_size(100 * 1024**2) // 1024**2, part_size(1024**4) // 1024**2
        (16, 105)
    """
    return max(_USUAL, math.ceil(size / _MOST_PARTS / _MIB) * _MIB)


def put_in_parts(
    client: S3Client,
    uri: str,
    source: Path | bytes,
    *,
    place: dict[str, Any],
    sha256: str,
    writing: dict[str, Any],
    only_new: bool,
) -> str:
    """Send a file, or bytes, in parts and return the object's ETag; what fails leaves no parts, if the store answers.

    Args:
        client: Of S3.
        uri: For messages.
        source: The file, or its bytes.
        place: `Bucket` and `Key`.
        sha256: Of the whole, in hexadecimal.
        writing: Content type, metadata, encryption and so on.
        only_new: Complete only if nothing is at the key.

    Raises:
        ChecksumMismatch: The file is not what `sha256` says, or the store received other parts than were sent.
        ClientError: As the store answers.
    """
    upload = client.create_multipart_upload(**place, **writing, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        parts = _send(client, uri, source, {**place, "UploadId": upload}, sha256)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_new else {}
        done = client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        with contextlib.suppress(Exception):  # the bucket's rule for unfinished uploads is the second line
            client.abort_multipart_upload(**place, UploadId=upload)
        raise
    return str(done.get("ETag", "")).strip('"')


def _send(
    client: S3Client, uri: str, source: Path | bytes, upload: dict[str, Any], sha256: str
) -> list[CompletedPartTypeDef]:
    whole = hashlib.sha256()
    sent: list[CompletedPartTypeDef] = []
    for number, part in enumerate(_parts(source), 1):
        whole.update(part)
        checksum = in_base64(hashlib.sha256(part).hexdigest())
        answer = client.upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=checksum)
        if answer.get("ChecksumSHA256", checksum) != checksum:
            raise ChecksumMismatch(uri)
        sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
    if whole.hexdigest() != sha256:
        raise ChecksumMismatch(uri)
    return sent


def _parts(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        size = part_size(len(source))
        yield from (source[start : start + size] for start in range(0, len(source), size))
        return
    size = part_size(source.stat().st_size)
    with source.open("rb") as file:
        while part := file.read(size):
            yield part
