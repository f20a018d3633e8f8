"""Pictures that are sent as signed addresses of a bucket: fetched from there, and their signatures nowhere."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect_imagen.core.erase import erase
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.export import export_catalog
from prefect_imagen.core.http.urls import without_sent_addresses
from prefect_imagen.core.inputs import InputShelf, look_at
from prefect_imagen.core.ledger import Selection
from prefect_imagen.core.providers import load_registry
from prefect_imagen.core.providers.spec import InputLimits, ResolvedModel
from prefect_imagen.core.storage import S3Store, open_store
from prefect_imagen.core.values import content_reference
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import MODEL, Desk, encoded, picture

LONG = 3600


@pytest.fixture
def bucket(s3: LocalS3, request: pytest.FixtureRequest) -> str:
    name = f"addresses-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    s3.create_bucket(name)
    return name


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Every address that is signed from now on, with a life of so many seconds in turn."""
    found: list[str] = []
    lives: list[int] = []
    real = S3Store.signed_address

    def sign(store: S3Store, key: str, seconds: int) -> str:
        assert seconds == LONG
        found.append(real(store, key, lives.pop(0) if lives else seconds))
        return found[-1]

    def begin(*seconds: int) -> list[str]:
        found.clear()
        lives[:] = seconds
        return found

    monkeypatch.setattr(S3Store, "signed_address", sign)
    return begin


def everything(folder: Path) -> bytes:
    """All that a run has left on this machine."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def signatures(addresses: list[str]) -> list[str]:
    found = [address.partition("X-Amz-Signature=")[2] for address in addresses]
    assert all(len(one) == 64 for one in found)
    return found


def test_pictures_are_fetched_where_they_are_and_nothing_keeps_a_signature(
    desk: Desk,
    s3: LocalS3,
    bucket: str,
    signed: Callable[..., list[str]],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("DEBUG", "prefect_imagen")
    addresses, client = signed(), s3.client()
    client.put_object(Bucket=bucket, Key="in/a.png", Body=picture(1))
    large = encoded(Image.new("RGB", (5000, 400), "teal"), "PNG")
    rows = [
        ("a", f"s3://{bucket}/in/a.png"),
        ("b", desk.put("b.png", picture(2))),
        ("c", f"b.png|{desk.put('large.png', large)}"),
    ]
    how: dict[str, Any] = {"to": f"s3://{bucket}", "s3": dict(s3.options), "sign_inputs_above": 0}
    source = desk.table(*rows)
    assert desk.run(source, **how)["states"] == {"delivered": 3}
    assert len(addresses) == 4
    assert all(f"/{bucket}/inputs/" in one and f"X-Amz-Expires={LONG}&" in one for one in addresses)

    # The sandbox has fetched them, and shows them.
    received = [call["inputs"] for call in desk.sandbox.calls()]
    kept = {row["prompt"]: json.loads(row["inputs"]) for row in desk.ledger.catalog.rows()}
    assert kept["c"] == [
        {"field": "image_urls", "sha256": hashlib.sha256(data).hexdigest()} for data in (picture(2), large)
    ]
    given = {one["sha256"] for inputs in kept.values() for one in inputs}
    (copy,) = [sent for call in received for sent in call if sent not in given]
    stored = client.get_object(Bucket=bucket, Key=f"inputs/{kept['c'][1]['sha256']}-{copy[:16]}")
    with Image.open(io.BytesIO(stored["Body"].read())) as image:
        assert (image.size, stored["ContentType"]) == ((4096, 328), "image/png")
    (row,) = [row for row in desk.ledger.catalog.rows() if row["prompt"] == "a"]
    made = client.get_object(Bucket=bucket, Key=row["object_key"])
    with Image.open(io.BytesIO(made["Body"].read())) as image:
        assert image.info["Inputs"] == f"image_urls={kept['a'][0]['sha256']}"

    # The same by data is the same purchase.
    assert desk.run(source, **{**how, "sign_inputs_above": None})["states"] == {"delivered": 3}
    assert (desk.bought, len(addresses)) == (3, 4)

    export_catalog(desk.ledger, str(desk.folder / "export.jsonl"))
    told = capfd.readouterr()
    written = everything(desk.folder) + caplog.text.encode() + told.out.encode() + told.err.encode()
    written += json.dumps([desk.sandbox.calls(), desk.sandbox.bill(), desk.ledger.catalog.rows()], default=str).encode()
    for signature in signatures(addresses):
        assert signature.encode() not in written
    assert b"X-Amz-" not in written


def test_what_is_erased_takes_the_copies_along(desk: Desk, s3: LocalS3, bucket: str) -> None:
    desk.put("large.png", encoded(Image.new("RGB", (5000, 400), "teal"), "PNG"))
    how: dict[str, Any] = {"to": f"s3://{bucket}", "s3": dict(s3.options), "sign_inputs_above": 0, "edition": "may"}
    desk.run(desk.table(("a", "large.png")), **how)
    store = open_store(f"s3://{bucket}", **s3.options)
    assert len(list(store.list("inputs/"))) == 2
    erase(desk.ledger, Selection(edition="may"), store_options=dict(s3.options))
    assert list(store.list("inputs/")) == []


def test_small_pictures_are_sent_by_data_and_large_ones_by_address(
    desk: Desk, s3: LocalS3, bucket: str, signed: Callable[..., list[str]]
) -> None:
    addresses = signed()
    noise = encoded(Image.effect_noise((200, 120), 90).convert("RGB"), "PNG")
    assert len(noise) > 50_000 > len(picture(1))
    rows = [("a", desk.put("a.png", picture(1))), ("b", desk.put("noise.png", noise))]
    desk.run(desk.table(*rows), to=f"s3://{bucket}", s3=dict(s3.options), sign_inputs_above=0.05)
    assert [hashlib.sha256(noise).hexdigest() in one for one in addresses] == [True]
    assert desk.bought == 2


def test_an_address_that_ended_before_the_picture_was_fetched_costs_nothing(
    desk: Desk, s3: LocalS3, bucket: str, signed: Callable[..., list[str]]
) -> None:
    addresses = signed(1)
    source = desk.table(("a", desk.put("a.png", picture(1))))
    how: dict[str, Any] = {"to": f"s3://{bucket}", "s3": dict(s3.options), "sign_inputs_above": 0}
    desk.sandbox.set_faults([{"fault": "slow_reply", "seconds": 3, "times": 1}])
    assert desk.run(source, **how)["states"] == {"refused": 1}
    assert desk.bought == 0
    (call,) = desk.sandbox.calls()
    assert (call["status"], call["inputs"]) == (400, [])
    assert b"Failed to download the image of image_urls" in everything(desk.folder)
    # Asked again, it is the same item under a new signature, which lives longer than the call takes.
    desk.sandbox.set_faults([{"fault": "slow_reply", "seconds": 1, "times": 1}])
    assert desk.run(source, **how, retry_refused=True)["states"] == {"delivered": 1}
    assert (desk.bought, len(set(addresses))) == (1, 2)
    for signature in signatures(addresses):
        assert signature.encode() not in everything(desk.folder)


def test_each_send_is_signed_anew(desk: Desk, s3: LocalS3, bucket: str, signed: Callable[..., list[str]]) -> None:
    # The first address has ended when the call is sent again, after the wait that the API asks for.
    addresses = signed(1)
    desk.sandbox.set_faults([{"fault": "rate_limited", "retry_after": 3, "times": 1}])
    source = desk.table(("a", desk.put("a.png", picture(1))))
    ended = desk.run(source, to=f"s3://{bucket}", s3=dict(s3.options), sign_inputs_above=0)
    assert ended["states"] == {"delivered": 1}
    assert (desk.bought, len(set(addresses))) == (1, 2)


def test_addresses_need_a_bucket_that_has_the_pictures(desk: Desk, s3: LocalS3, bucket: str) -> None:
    source = desk.table(("a", desk.put("a.png", picture(1))))
    with pytest.raises(BadInput, match="--sign-inputs-above: that needs a destination in S3, not file:///"):
        desk.run(source, sign_inputs_above=0)
    there: dict[str, Any] = {"to": f"s3://{bucket}", "s3": dict(s3.options)}
    with pytest.raises(BadInput, match="that cannot go with --no-keep-inputs"):
        desk.run(source, **there, sign_inputs_above=0, no_keep_inputs=True)
    assert desk.bought == 0


def test_a_model_that_takes_addresses_only_gets_them(desk: Desk, s3: LocalS3, bucket: str) -> None:
    store = open_store(f"s3://{bucket}", **s3.options)
    known = load_registry().resolve(MODEL)
    contract = known.contract.model_copy(update={"inputs": InputLimits(by="address")})
    changed = known.spec.model_copy(update={"contracts": {known.contract_name: contract}})
    model = ResolvedModel(changed, known.contract_name)
    one = look_at(picture(1))
    shelf = InputShelf(store)
    shelf.keep(one, picture(1))
    parameters = {"image_urls": [content_reference(one.sha256)]}
    for same_bytes in (False, True):
        (sent,) = shelf.filled(model, parameters, same_bytes=same_bytes)["image_urls"]
        assert f"/inputs/{one.sha256}?X-Amz-Algorithm=AWS4-HMAC-SHA256&" in sent
    # Another one gets data where the request has to be the same each time.
    (sent,) = InputShelf(store, 0).filled(known, parameters, same_bytes=True)["image_urls"]
    assert sent.startswith("data:image/png;base64,")


@pytest.mark.parametrize("slash", ["/", "\\/", "%2F"])
@pytest.mark.parametrize("mark", ["?", "\\u003f", "%3F"])
def test_an_answer_that_repeats_an_address_is_kept_without_its_signature(slash: str, mark: str) -> None:
    key = slash.join(["https:", "", "s3.example", "b", "inputs", "0" * 64 + "-0123456789abcdef"])
    said = f'{{"error": "cannot read {key}{mark}X-Amz-Credential=me&X-Amz-Signature=secret", "images": []}}'
    assert without_sent_addresses(said.encode()).decode() == f'{{"error": "cannot read {key}{mark}...", "images": []}}'
    mine = b'{"url": "https://cdn.example/outputs/1.png?X-Amz-Signature=theirs"}'
    assert without_sent_addresses(mine) == mine
