"""How objects are written, and as whom: encryption, storage class, tags, parts, roles.

SeaweedFS is real for SSE-S3, tags, parts and deletion. It has no KMS and no STS: there moto, a second server that
speaks AWS's protocol, keeps what is sent. What AWS itself does with it is not shown here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.storage import (
    ChecksumMismatch,
    KeyTaken,
    LocalStore,
    ObjectStore,
    S3Store,
    StoreNotUsable,
    open_store,
    s3_multipart,
)
from prefect_imagen.core.storage.s3_client import working_client
from prefect_imagen.sandbox.local_s3 import LocalS3

FileOf = Callable[[bytes], tuple[Path, str]]
PNG = b"\x89PNG picture"
MIB = 1024 * 1024
LARGE = os.urandom(1024) * (11 * 1024)
ROLE = "arn:aws:iam::123456789012:role/pictures"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Address of a moto server; its account has every right unless a test says otherwise."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def cloud(aws: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Store]:
    """Opens stores in a bucket of that server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws)

    def opened(**options: Any) -> S3Store:
        store = open_store("s3://company/images", endpoint_url=aws, region="us-east-1", **options)
        assert isinstance(store, S3Store)
        return store

    client = working_client(opened().options)
    if not client.list_buckets()["Buckets"]:
        client.create_bucket(Bucket="company")
    return opened


def put(store: ObjectStore, file: tuple[Path, str], key: str = "k/1-0.png", **more: Any) -> Any:
    return store.put(key, file[0], sha256=file[1], content_type="image/png", **more)


def head(store: S3Store, key: str = "k/1-0.png") -> dict[str, Any]:
    return dict(working_client(store.options).head_object(Bucket=store.bucket, Key=f"{store.prefix}/{key}"))


def tags(store: S3Store, key: str = "k/1-0.png") -> dict[str, str]:
    found = working_client(store.options).get_object_tagging(Bucket=store.bucket, Key=f"{store.prefix}/{key}")
    return {tag["Key"]: tag["Value"] for tag in found["TagSet"]}


def with_options(s3: S3Store, server: LocalS3, **more: Any) -> S3Store:
    store = open_store(s3.destination, **server.options, **more)
    assert isinstance(store, S3Store)
    return store


# --- on SeaweedFS -----------------------------------------------------------------------------------------------------


def test_sse_s3_is_asked_for_and_every_object_is_encrypted(
    s3: S3Store, s3_server: LocalS3, file_of: FileOf, tmp_path: Path
) -> None:
    store = with_options(s3, s3_server, sse="AES256")
    store.preflight()
    put(store, file_of(PNG))
    store.write_text("note.txt", "hello")
    assert {head(store, key)["ServerSideEncryption"] for key in ("k/1-0.png", "note.txt")} == {"AES256"}
    assert store.get("k/1-0.png", tmp_path / "back").sha256 == hashlib.sha256(PNG).hexdigest()
    assert put(store, file_of(PNG)).created is False


def test_tags_of_store_and_run_go_onto_images_if_told(s3: S3Store, s3_server: LocalS3, file_of: FileOf) -> None:
    run_tags = {"team": "spring", "client": "acme + co"}
    put(with_options(s3, s3_server), file_of(PNG), "a", run_tags=run_tags)
    put(with_options(s3, s3_server, object_tags={"cost": "42"}), file_of(PNG), "b", run_tags=run_tags)
    both = with_options(s3, s3_server, object_tags={"cost": "42", "team": "none"}, run_tags=True)
    put(both, file_of(PNG), "c", run_tags=run_tags)
    assert (tags(s3, "a"), tags(s3, "b")) == ({}, {"cost": "42"})
    assert tags(s3, "c") == {"cost": "42", **run_tags}


def test_a_storage_class_goes_with_the_image(s3: S3Store, s3_server: LocalS3, file_of: FileOf) -> None:
    store = with_options(s3, s3_server, storage_class="STANDARD_IA")
    store.preflight()
    put(store, file_of(PNG))
    assert head(store)["StorageClass"] == "STANDARD_IA"


def test_a_large_image_goes_in_parts_with_a_checksum_each(
    s3: S3Store, s3_server: LocalS3, file_of: FileOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_multipart, "_USUAL", 5 * MIB)
    store = with_options(s3, s3_server, multipart_bytes=5 * MIB, sse="AES256", object_tags={"size": "large"})
    sent: list[tuple[str, Any]] = []
    working_client(store.options).meta.events.register(
        "before-parameter-build.s3", lambda params, model, **_: sent.append((model.name, dict(params)))
    )
    file = file_of(LARGE)
    stored = put(store, file, metadata={"item-id": "7"})
    assert [name for name, _ in sent if name != "HeadObject"] == [
        "CreateMultipartUpload",
        *["UploadPart"] * 3,
        "CompleteMultipartUpload",
    ]
    assert all("ChecksumSHA256" in params for name, params in sent if name == "UploadPart")
    assert sent[-1][1]["IfNoneMatch"] == "*"
    assert (stored.created, stored.sha256, stored.size) == (True, file[1], len(LARGE))
    info = store.head("k/1-0.png")
    assert info is not None
    assert (info.sha256, info.size, info.metadata) == (file[1], len(LARGE), {"item-id": "7"})
    assert store.get("k/1-0.png", tmp_path / "back").sha256 == file[1]
    assert tags(store) == {"size": "large"}
    # The same again is there already; other content never replaces it.
    assert put(store, file).created is False
    with pytest.raises(KeyTaken):
        put(store, file_of(LARGE[::-1]))


def test_parts_that_are_not_what_was_promised_leave_nothing(s3: S3Store, s3_server: LocalS3, file_of: FileOf) -> None:
    store = with_options(s3, s3_server, multipart_bytes=5 * MIB)
    path, _ = file_of(LARGE)
    with pytest.raises(ChecksumMismatch):
        put(store, (path, "0" * 64))
    assert store.head("k/1-0.png") is None
    client = working_client(store.options)
    uploads = client.list_multipart_uploads(Bucket=store.bucket, Prefix=store.prefix).get("Uploads", [])
    assert uploads == []


def test_deleting(store: ObjectStore, file_of: FileOf) -> None:
    for key in ("a/1.png", "a/2.png", "b/1.png"):
        put(store, file_of(PNG), key)
    done = store.delete(["a/1.png", "b/1.png", "never/there.png"])
    assert (set(done.keys), done.marked, dict(done.failed)) == ({"a/1.png", "b/1.png", "never/there.png"}, (), {})
    assert (store.head("a/1.png"), store.head("b/1.png")) == (None, None)
    assert store.head("a/2.png") is not None


def test_a_folder_loses_the_folders_that_a_key_made_and_no_others(folder: LocalStore, file_of: FileOf) -> None:
    put(folder, file_of(PNG), "a/b/1.png")
    put(folder, file_of(PNG), "a/2.png")
    folder.delete(["a/b/1.png"])
    assert not (folder.root / "a" / "b").exists()
    assert (folder.root / "a" / "2.png").exists()
    folder.delete(["a/2.png"])
    assert folder.root.is_dir()


# --- on moto: what is sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sse", ["aws:kms", "aws:kms:dsse"])
def test_kms_and_its_key_are_said_with_each_object(cloud: Callable[..., S3Store], file_of: FileOf, sse: str) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    store = cloud(sse=sse, kms_key_id=key, role_session_name=f"kms-{len(sse)}")
    sent: list[dict[str, Any]] = []
    working_client(store.options).meta.events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: sent.append(dict(params))
    )
    store.preflight()
    name = f"{sse.replace(':', '-')}.png"
    put(store, file_of(PNG), name)
    assert [(params["ServerSideEncryption"], params["SSEKMSKeyId"]) for params in sent] == [(sse, key)]
    assert head(store, name)["ServerSideEncryption"] == sse


def test_a_bucket_with_versions_says_that_a_deleted_image_is_only_hidden(
    cloud: Callable[..., S3Store], file_of: FileOf
) -> None:
    store = cloud()
    client = working_client(store.options)
    client.create_bucket(Bucket="versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    versioned = S3Store("versions", "x", store.options)
    put(versioned, file_of(PNG))
    done = versioned.delete(["k/1-0.png"])
    assert (done.keys, done.marked) == (("k/1-0.png",), ("k/1-0.png",))
    assert versioned.head("k/1-0.png") is None


def test_a_role_is_assumed_with_its_external_id_and_again_before_it_ends(
    cloud: Callable[..., S3Store], file_of: FileOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    from botocore.client import BaseClient

    original = BaseClient._make_api_call

    def spy(self: Any, name: str, params: dict[str, Any]) -> Any:
        answer = original(self, name, params)
        if name == "AssumeRole":
            asked.append(params)
            if len(asked) == 1:  # the first one ends in a minute: before the next request it has to be renewed
                answer["Credentials"]["Expiration"] = datetime.now(UTC) + timedelta(seconds=60)
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", spy)
    store = cloud(role_arn=ROLE, external_id="acme-4711", role_session_name="nightly")
    put(store, file_of(PNG), "role.png")
    wanted = {"RoleArn": ROLE, "RoleSessionName": "nightly", "ExternalId": "acme-4711"}
    assert asked[0] == wanted
    store.check()
    put(store, file_of(PNG), "again.png")
    # Two clients (work and probe) assume it, and the one whose credentials run out does so again.
    assert len(asked) == 3
    assert all(params == wanted for params in asked)


def test_a_role_that_may_not_be_assumed_is_named(
    cloud: Callable[..., S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    original = BaseClient._make_api_call

    def deny(self: Any, name: str, params: dict[str, Any]) -> Any:
        if name == "AssumeRole":
            answer: Any = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, name)
        return original(self, name, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", deny)
    with pytest.raises(StoreNotUsable, match=r"role may not be assumed.*sts:AssumeRole.*external_id"):
        cloud(role_arn=ROLE, role_session_name="denied").preflight()


# --- before anything is sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sse": "rot13"}, "sse 'rot13': use AES256, aws:kms"),
        ({"kms_key_id": "alias/x"}, "kms_key_id goes with sse aws:kms"),
        ({"kms_key_id": "alias/x", "sse": "AES256"}, "kms_key_id goes with sse aws:kms"),
        ({"storage_class": "DEEP_ARCHIVE"}, "cannot be read back.*lifecycle rule"),
        ({"storage_class": "COLD"}, "use STANDARD, STANDARD_IA"),
        ({"object_tags": {f"t{n}": "" for n in range(11)}}, "at most 10 an object, here are 11"),
        ({"object_tags": {"a": "50%"}}, "object tag 'a': letters, digits"),
        ({"object_tags": {"aws:x": "y"}}, "no name of aws:"),
        ({"object_tags": {"": "y"}}, "1 to 128 characters"),
        ({"object_tags": {"a": "y" * 257}}, "at most 256"),
        ({"multipart_bytes": 1024}, "from 5 MiB"),
        ({"role_arn": "pictures"}, "a role is arn:aws:iam::ACCOUNT:role/NAME"),
        ({"external_id": "x1"}, "external_id goes with role_arn"),
        ({"role_arn": ROLE, "external_id": "a b"}, "external_id: 2 to 1,224"),
        ({"role_arn": ROLE, "role_session_name": "a b"}, "role_session_name"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_what_s3_would_refuse_is_refused_before(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        open_store("s3://company/images", **options)


def test_tags_of_a_run_that_s3_would_refuse_are_found_before_the_run(s3: S3Store, s3_server: LocalS3) -> None:
    told = with_options(s3, s3_server, run_tags=True)
    with pytest.raises(BadInput, match="object tag 'team'"):
        told.preflight({"team": "50%"})
    with_options(s3, s3_server).preflight({"team": "50%"})


def test_neither_key_nor_external_id_is_shown() -> None:
    store = open_store(
        "s3://company", access_key_id="AKIA", secret_access_key="sEcret", role_arn=ROLE, external_id="xi77"
    )
    assert "sEcret" not in repr(store)
    assert "xi77" not in repr(store)
