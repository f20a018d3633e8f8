"""The blocks: what Prefect asks of every block, secrets, and how references travel."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_imagen.blocks import (
    AimlApiCredentials,
    ImageCatalog,
    LocalImageStore,
    S3ImageStore,
    SigningCertificate,
)
from prefect_imagen.blocks.references import (
    catalog_block,
    credentials_block,
    image_store_block,
    picture_signer,
    references,
)
from prefect_imagen.blocks.stores import store_block
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.provenance import MarkMode, SigningNotPossible
from prefect_imagen.core.store_options import S3Options
from prefect_imagen.sandbox.signing import make_identity
from pydantic import SecretStr

BLOCKS = [AimlApiCredentials, S3ImageStore, LocalImageStore, ImageCatalog, SigningCertificate]
KEY = "sk-very-secret-key"
STUDIO = make_identity("Studio")
CERTIFICATE = SigningCertificate(certificate=STUDIO.chain.decode(), key=SecretStr(STUDIO.key.decode()))


@pytest.mark.parametrize("block", BLOCKS)
class TestStandards(BlockStandardTestSuite):
    """The suite's offline part: the logo test would download a picture, and these blocks name none."""

    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        block: type[Block] = request.param
        return block

    test_has_a_valid_image = None


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_a_required_field(block: type[Block]) -> None:
    # Else a deployment's {"$ref": {"block_document_slug": …}} would be refused as ambiguous.
    assert block.model_json_schema()["required"]


def test_the_entry_point_names_a_module_that_imports_every_block() -> None:
    from importlib.metadata import entry_points

    (found,) = [point for point in entry_points(group="prefect.collections") if point.name == "prefect_imagen"]
    module = found.load()
    assert {getattr(module, block.__name__) for block in BLOCKS} == set(BLOCKS)


def test_a_saved_key_is_loaded_again_and_shows_nowhere(prefect_api: str) -> None:
    AimlApiCredentials(api_key=SecretStr(KEY), base_url="http://127.0.0.1:9").save("main", overwrite=True)
    loaded = credentials_block("main")
    assert loaded.get_client().base_url == "http://127.0.0.1:9/v1"
    assert credentials_block("aimlapi-credentials/main").api_key.get_secret_value() == KEY
    for shown in (repr(loaded), str(loaded), repr(loaded.get_client()), str(loaded.model_dump())):
        assert KEY not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(loaded.get_client())


def test_the_environment_has_the_key_or_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="AIMLAPI_API_KEY"):
        credentials_block(None)
    monkeypatch.setenv("AIMLAPI_API_KEY", KEY)
    assert credentials_block("env").api_key.get_secret_value() == KEY


def test_an_unknown_name_is_bad_input(prefect_api: str) -> None:
    with pytest.raises(BadInput, match="no AimlApiCredentials block called 'nobody'"):
        credentials_block("nobody")
    with pytest.raises(BadInput, match="no S3ImageStore block called 'nobody'"):
        image_store_block("s3-image-store/nobody")


def test_what_travels_is_a_reference_without_a_secret(prefect_api: str, tmp_path: Path) -> None:
    unsaved = AimlApiCredentials(api_key=SecretStr(KEY))
    store = S3ImageStore(bucket="images", secret_access_key=SecretStr(KEY), access_key_id=SecretStr("id"))
    saved = ImageCatalog(url=SecretStr(str(tmp_path / "ledger.db")))
    saved.save("travel", overwrite=True)
    with references(unsaved, store, saved, None) as refs:
        assert KEY.encode() not in cloudpickle.dumps(refs)
        assert refs[2:] == ["image-catalog/travel", None]
        assert credentials_block(refs[0]) is unsaved
        assert image_store_block(str(refs[1])) is store
        assert catalog_block(refs[2]).url.get_secret_value() == str(tmp_path / "ledger.db")
        with pytest.raises(BadInput, match="AimlApiCredentials are needed here"):
            credentials_block(refs[1])
    with pytest.raises(BadInput, match="save the block and pass its name"):
        credentials_block(refs[0])


UNSAVED = [
    AimlApiCredentials(api_key=SecretStr(KEY)),
    S3ImageStore(bucket="images", secret_access_key=SecretStr(KEY), access_key_id=SecretStr("id")),
    S3ImageStore(bucket="images", secret_access_key=SecretStr(KEY), access_key_id=SecretStr("id")).get_store(),
    S3Options(secret_access_key=SecretStr(KEY), access_key_id=SecretStr("id")),
    ImageCatalog(url=SecretStr(f"postgresql://app:{KEY}@db/imagen")),
    ImageCatalog(url=SecretStr(f"postgresql://app@db/imagen?sslpassword={KEY}")),
    SigningCertificate(certificate="", key=SecretStr(KEY)),
]


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("secret", UNSAVED, ids=lambda secret: type(secret).__name__)
def test_what_holds_a_secret_is_not_pickled(secret: object, pickler: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="holds a secret and is not pickled"):
            pickler.dumps([secret], protocol=protocol)


@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_what_holds_none_is(pickler: Any) -> None:
    for block in (S3ImageStore(bucket="images"), LocalImageStore(folder="a"), ImageCatalog(url=SecretStr("/a.db"))):
        assert pickle.loads(pickler.dumps(block)) == block
    assert pickle.loads(pickler.dumps(S3ImageStore(bucket="images").get_store())).destination == "s3://images"


def test_a_saved_block_travels_by_its_name(prefect_api: str) -> None:
    store = S3ImageStore(bucket="images", secret_access_key=SecretStr(KEY), access_key_id=SecretStr("id"))
    catalog = ImageCatalog(url=SecretStr(f"postgresql://app:{KEY}@db/imagen"))
    signing = SigningCertificate(certificate="", key=SecretStr(KEY))
    for block in (AimlApiCredentials(api_key=SecretStr(KEY)), store, catalog, signing):
        block.save("by-name", overwrite=True)
        data = cloudpickle.dumps({"block": block})
        assert KEY.encode() not in data
        assert pickle.loads(data)["block"].model_dump() == block.model_dump()


def test_addresses_become_stores() -> None:
    store = store_block("s3://images/a/b", endpoint_url="http://127.0.0.1:1")
    assert isinstance(store, S3ImageStore)
    assert (store.bucket, store.prefix, store.addressing_style) == ("images", "a/b", "path")
    assert isinstance(store_block("/data/images"), LocalImageStore)
    assert store_block("file:///data/images").get_store().destination == "file:///data/images"
    for bad in ("ftp://x/y", " ", "https://bucket"):
        with pytest.raises(BadInput):
            store_block(bad)
    with pytest.raises(BadInput, match="endpoint"):
        store_block("/data", endpoint_url="http://127.0.0.1:1")


def test_a_catalog_address_with_a_password_is_refused() -> None:
    with pytest.raises(BadInput, match="belongs into an ImageCatalog block") as caught:
        catalog_block("postgresql://app:hunter2@db/imagen")
    assert "hunter2" not in str(caught.value)


def test_a_certificate_signs_by_the_name_of_its_block(prefect_api: str, tmp_path: Path) -> None:
    # As a form's field of one line leaves a text of several.
    in_one = {name: text.decode().replace("\n", "") for name, text in (("chain", STUDIO.chain), ("key", STUDIO.key))}
    SigningCertificate(certificate=in_one["chain"], key=SecretStr(in_one["key"])).save("studio", overwrite=True)
    slug = "picture-signing-certificate/studio"
    for certificate in (slug, CERTIFICATE):
        signer = picture_signer(MarkMode.C2PA, certificate, None, "http://127.0.0.1:9/")
        assert signer is not None
        assert repr(signer) == "PictureSigner()"
    assert picture_signer(MarkMode.XMP, None, None, None) is None
    for mark, certificate, key in (
        (MarkMode.C2PA, None, None),
        (MarkMode.C2PA, None, "key.pem"),
        (MarkMode.C2PA, "chain.pem", None),
        (MarkMode.C2PA, slug, "key.pem"),
        (MarkMode.XMP, slug, None),
    ):
        with pytest.raises(BadInput, match="the mark c2pa"):
            picture_signer(mark, certificate, key, None)
    with pytest.raises(BadInput, match="no SigningCertificate block called 'nobody'"):
        picture_signer(MarkMode.C2PA, "picture-signing-certificate/nobody", None, None)
    other = SigningCertificate(certificate=CERTIFICATE.certificate, key=SecretStr(make_identity("Other").key.decode()))
    with pytest.raises(SigningNotPossible, match="the key does not belong to the certificate"):
        picture_signer(MarkMode.C2PA, other, None, None)
