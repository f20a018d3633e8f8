"""How objects are written to S3: encryption, storage class, tags, parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from ..errors import BadInput

SSE = Literal["AES256", "aws:kms", "aws:kms:dsse"]
StorageClass = Literal[
    "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"
]

_CLASSES = ("STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY")
_FROZEN = ("GLACIER", "DEEP_ARCHIVE")
_KMS = ("aws:kms", "aws:kms:dsse")
_MIB = 1024 * 1024
# "Categorizing your objects using tags", Amazon S3 user guide: 10 tags, keys of 128 and values of 256 characters;
# letters, digits and spaces of any script, and + - = . _ : / @.
_MAX_TAGS = 10
_TAG = re.compile(r"[\w +\-=.:/@]*")


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """What is said with each object that is written.

    Attributes:
        sse: Encryption by the server: `AES256` (SSE-S3), `aws:kms` or `aws:kms:dsse`; None for the bucket's default.
        kms_key_id: Key, alias or ARN, with KMS; None for the account's own key for S3.
        storage_class: None for the store's default.
        object_tags: Go onto every image.
        run_tags: Whether the tags of the run go onto its images as well; a run's tag wins.
        multipart_bytes: From this size on an object is sent in parts.

    Raises:
        BadInput: What S3 would refuse, or could not read back.
    """

    sse: SSE | None = None
    kms_key_id: str | None = None
    storage_class: StorageClass | None = None
    object_tags: Mapping[str, str] = field(default_factory=dict)
    run_tags: bool = False
    multipart_bytes: int = 64 * _MIB

    def __post_init__(self) -> None:
        if self.sse not in (None, "AES256", *_KMS):
            raise BadInput(f"sse {self.sse!r}: use AES256, aws:kms or aws:kms:dsse")
        if self.kms_key_id and self.sse not in _KMS:
            raise BadInput("kms_key_id goes with sse aws:kms or aws:kms:dsse")
        if self.storage_class in _FROZEN:
            raise BadInput(
                f"storage_class {self.storage_class}: such an object cannot be read back, so that nothing could be "
                "verified, shown or copied; use GLACIER_IR, or move objects later by a lifecycle rule of the bucket"
            )
        if self.storage_class is not None and self.storage_class not in _CLASSES:
            raise BadInput(f"storage_class {self.storage_class!r}: use {', '.join(_CLASSES)}")
        if not 5 * _MIB <= self.multipart_bytes <= 5 * 1024 * _MIB:
            raise BadInput("multipart_bytes: from 5 MiB to 5 GiB")
        self.tagging(self.object_tags)

    def encryption(self) -> dict[str, Any]:
        """Arguments of `put_object` and `create_multipart_upload` about encryption."""
        wanted = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.kms_key_id}
        return {name: value for name, value in wanted.items() if value}

    def arguments(self, run_tags: Mapping[str, str] | None = None) -> dict[str, Any]:
        """All arguments for an image of a run with these tags.

        Raises:
            BadInput: Together they are not tags that S3 accepts.
        """
        tagging = self.tagging({**self.object_tags, **((run_tags or {}) if self.run_tags else {})})
        return {
            **self.encryption(),
            **({"StorageClass": self.storage_class} if self.storage_class else {}),
            **({"Tagging": tagging} if tagging else {}),
        }

    @staticmethod
    def tagging(tags: Mapping[str, str]) -> str:
        """Tags as the header has them.

        Raises:
            BadInput: More than S3 allows, or other characters.
        """
        if len(tags) > _MAX_TAGS:
            raise BadInput(f"object tags: S3 takes at most {_MAX_TAGS} an object, here are {len(tags)}")
        for name, value in tags.items():
            if not 1 <= len(name) <= 128 or len(value) > 256:
                raise BadInput(f"object tag {name[:40]!r}: a name has 1 to 128 characters, a value at most 256")
            if not _TAG.fullmatch(name) or not _TAG.fullmatch(value) or name.lower().startswith("aws:"):
                raise BadInput(
                    f"object tag {name[:40]!r}: letters, digits, spaces and + - = . _ : / @, and no name of aws:…"
                )
        return urlencode(tags)
