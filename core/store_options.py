"""Options of a store in S3: how to reach it, and what is said with each object. A leaf, as `core.request` is.

The fields of the store block, the flags of the command line and what the store itself takes are made from these models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlencode

from pydantic import Field, SecretStr, model_validator

from .errors import BadInput
from .request import NO_FLAG, Flag, Options

AddressingStyle = Literal["auto", "path", "virtual"]
SSE = Literal["AES256", "aws:kms", "aws:kms:dsse"]
StorageClass = Literal[
    "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"
]

_CLASSES = get_args(StorageClass)
_FROZEN = ("GLACIER", "DEEP_ARCHIVE")
_KMS = ("aws:kms", "aws:kms:dsse")
_MIB = 1024 * 1024
# "Categorizing your objects using tags", Amazon S3 user guide: 10 tags, keys of 128 and values of 256 characters;
# letters, digits and spaces of any script, and + - = . _ : / @.
_MAX_TAGS = 10
_TAG = re.compile(r"[\w +\-=.:/@]*")


class S3Access(Options):
    """How to reach a store. Without key and secret the AWS chain decides: environment, profile, role."""

    section: ClassVar[str] = "S3"

    endpoint_url: Annotated[
        str | None,
        Field(title="Endpoint URL", description="Address of an S3 server that is not AWS."),
        Flag(metavar="URL"),
    ] = None
    region: Annotated[
        str | None, Field(description="Region; else from the environment or the profile."), Flag(metavar="REGION")
    ] = None
    addressing_style: Annotated[
        AddressingStyle,
        Field(description="How the bucket stands in the URL; `path` for most servers that are not AWS."),
        NO_FLAG,
    ] = "auto"
    access_key_id: Annotated[
        SecretStr | None,
        Field(title="Access key id", description="For servers that are not AWS; else the AWS chain is used."),
        NO_FLAG,
    ] = None
    secret_access_key: Annotated[
        SecretStr | None, Field(title="Secret access key", description="Belongs to the access key id."), NO_FLAG
    ] = None
    session_token: Annotated[SecretStr | None, Field(description="For temporary keys."), NO_FLAG] = None
    profile: Annotated[str | None, Field(description="A profile of the AWS configuration files."), NO_FLAG] = None
    role_arn: Annotated[
        str | None,
        Field(title="Role ARN", description="A role to assume; renewed as long as a run takes."),
        Flag(metavar="ARN"),
    ] = None
    external_id: Annotated[
        str | None, Field(description="If the role asks for one.", repr=False), Flag(metavar="ID")
    ] = None

    @property
    def holds_key(self) -> bool:
        """Whether a key of its own is in it."""
        return any(isinstance(getattr(self, name), SecretStr) for name in S3Access.model_fields)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Keys do not travel by value: what is pickled ends up in queues, caches and logs.

        Raises:
            TypeError: There is a key.
        """
        if self.holds_key:
            raise TypeError(
                f"this {type(self).__name__} holds a secret and is not pickled; save an S3ImageStore block and pass "
                "its name"
            )
        return super().__reduce_ex__(protocol)


class ObjectWriting(Options):
    """What is said with each object that is written."""

    section: ClassVar[str] = "S3"

    sse: Annotated[
        SSE | None,
        Field(
            title="Server-side encryption",
            description="AES256 (SSE-S3) or KMS, said with each object; else the bucket's default.",
        ),
        Flag(metavar="AES256|aws:kms|aws:kms:dsse"),
    ] = None
    kms_key_id: Annotated[
        str | None, Field(title="KMS key", description="Key id, alias or ARN; with KMS only."), Flag(metavar="KEY")
    ] = None
    storage_class: Annotated[
        StorageClass | None, Field(description="Of the images; else the bucket's default."), Flag(metavar="CLASS")
    ] = None
    object_tags: Annotated[
        dict[str, str],
        Field(description="Tags of every image; S3 takes at most 10."),
        Flag("--object-tag", metavar="NAME=VALUE"),
    ] = Field(default_factory=dict)
    run_tags: Annotated[
        bool, Field(description="Put the tags of a run onto its images, too."), Flag("--tag-objects")
    ] = False
    multipart_bytes: Annotated[
        int,
        Field(description="Objects of this size or more are sent in parts, each with a checksum."),
        NO_FLAG,
    ] = 64 * _MIB


class StoreOptions(ObjectWriting, S3Access):
    """All options of a store in S3 but bucket and prefix. What fits together is checked by the two parts below."""


class S3Options(S3Access):
    """How to reach a store, checked.

    Raises:
        BadInput: An unknown style, half a key pair, an endpoint that is more than scheme, host and port, or a role that
            is none.
    """

    role_session_name: Annotated[
        str, Field(description="How the use of the role is called in its owner's logs."), NO_FLAG
    ] = "prefect-imagen"

    @model_validator(mode="before")
    @classmethod
    def _check_style(cls, given: Any) -> Any:
        style = given.get("addressing_style", "auto")
        if style not in ("auto", "path", "virtual"):
            raise BadInput(f"addressing_style {style!r}: use 'auto', 'path' or 'virtual'")
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise BadInput("access_key_id and secret_access_key belong together: give both or none")
        if self.session_token and not self.access_key_id:
            raise BadInput("session_token needs access_key_id and secret_access_key")
        if self.endpoint_url and not re.fullmatch(r"https?://[^/@?#\s]+/?", self.endpoint_url):
            raise BadInput("endpoint_url must be http:// or https:// with host and port, without path or credentials")
        if self.role_arn and not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}", self.role_arn):
            raise BadInput(f"role_arn {self.role_arn[:100]!r}: a role is arn:aws:iam::ACCOUNT:role/NAME")
        if self.external_id and not self.role_arn:
            raise BadInput("external_id goes with role_arn")
        if self.external_id and not re.fullmatch(r"[\w+=,.@:/-]{2,1224}", self.external_id):
            raise BadInput("external_id: 2 to 1,224 letters, digits and + = , . @ : / -")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", self.role_session_name):
            raise BadInput("role_session_name: 2 to 64 letters, digits and + = , . @ -")
        return self


class ObjectOptions(ObjectWriting):
    """What is said with each object that is written, checked.

    Raises:
        BadInput: What S3 would refuse, or could not read back.
    """

    @model_validator(mode="before")
    @classmethod
    def _check_words(cls, given: Any) -> Any:
        sse, storage_class = given.get("sse"), given.get("storage_class")
        if sse not in (None, "AES256", *_KMS):
            raise BadInput(f"sse {sse!r}: use AES256, aws:kms or aws:kms:dsse")
        if storage_class in _FROZEN:
            raise BadInput(
                f"storage_class {storage_class}: such an object cannot be read back, so that nothing could be "
                "verified, shown or copied; use GLACIER_IR, or move objects later by a lifecycle rule of the bucket"
            )
        if storage_class not in (None, *_CLASSES):
            raise BadInput(f"storage_class {storage_class!r}: use {', '.join(_CLASSES)}")
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kms_key_id and self.sse not in _KMS:
            raise BadInput("kms_key_id goes with sse aws:kms or aws:kms:dsse")
        if not 5 * _MIB <= self.multipart_bytes <= 5 * 1024 * _MIB:
            raise BadInput("multipart_bytes: from 5 MiB to 5 GiB")
        self.tagging(self.object_tags)
        return self

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
