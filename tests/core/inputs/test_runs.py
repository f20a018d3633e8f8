"""Runs over pictures: what is bought, what is owned, what is refused before a cent is spent."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect_imagen.core.erase import erase
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.inputs import RowInputs
from prefect_imagen.core.ledger import Selection, Verdict, VerdictValue
from prefect_imagen.core.plan import InvalidPrompts, PlanWriter, make_plan, open_batch
from prefect_imagen.core.provenance import source_type_of
from prefect_imagen.core.providers import InvalidRequest
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.review.regenerate import Regeneration, ask
from prefect_imagen.core.values import content_references
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import MODEL, Desk, encoded, moving, picture


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.long)])
def test_what_was_bought_is_known_by_the_content_of_its_pictures(desk: Desk, s3: LocalS3, count: int) -> None:
    bucket, client = f"references-{count}", s3.client()
    s3.create_bucket(bucket)
    options = dict(s3.options)
    rows = []
    for number in range(count):
        if number % 2:
            client.put_object(Bucket=bucket, Key=f"in/{number}.png", Body=picture(number))
            rows.append((f"a mug, {number}", f"s3://{bucket}/in/{number}.png"))
        else:
            rows.append((f"a mug, {number}", desk.put(f"in/{number}.png", picture(number))))
    how: dict[str, Any] = {"to": f"s3://{bucket}", "s3": options}
    assert desk.run(desk.table(*rows), **how)["states"] == {"delivered": count}
    assert desk.bought == count
    assert desk.run(desk.table(*rows), **how)["states"] == {"delivered": count}
    assert desk.bought == count

    (desk.folder / "in/4.png").rename(desk.folder / "in/renamed.png")
    rows[4] = (rows[4][0], "in/renamed.png")
    client.copy_object(Bucket=bucket, Key="elsewhere.png", CopySource={"Bucket": bucket, "Key": "in/5.png"})
    rows[5] = (rows[5][0], f"s3://{bucket}/elsewhere.png")
    desk.run(desk.table(*rows), **how)
    assert desk.bought == count
    desk.put("in/6.png", picture(60_000))
    desk.run(desk.table(*rows), **how)
    assert desk.bought == count + 1

    (changed,) = [row for row in desk.ledger.catalog.rows() if row["prompt"] == "a mug, 6"][1:]
    digest = sha256(picture(60_000))
    assert json.loads(changed["inputs"]) == [{"field": "image_urls", "sha256": digest}]
    assert source_type_of(json.loads(changed["parameters"])) == "compositeWithTrainedAlgorithmicMedia"
    kept = client.get_object(Bucket=bucket, Key=f"inputs/{digest}")["Body"].read()
    assert kept == picture(60_000)
    made = client.get_object(Bucket=bucket, Key=changed["object_key"])["Body"].read()
    with Image.open(io.BytesIO(made)) as image:
        assert image.info["Inputs"] == f"image_urls={digest}"


def problems(desk: Desk, *values: str, mask: str | None = None, **options: Any) -> list[str]:
    """What is wrong with rows of these values, none of which may be bought."""
    rows = [(f"a mug, {number}", value) for number, value in enumerate(values)]
    with pytest.raises(InvalidPrompts) as caught:
        desk.run(desk.table(*rows), **options)
    assert desk.bought == 0
    assert [one.line for one in caught.value.problems] == list(range(2, len(values) + 2))
    return [one.problem for one in caught.value.problems]


def test_what_cannot_go_in_is_said_by_row(desk: Desk) -> None:
    noise = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "PNG")
    bad = {
        "none.png": "none.png: No such file or directory",
        desk.put("empty.png", b""): "empty file",
        desk.put("page.png", b"<html><body>no</body></html>"): "instead of an image",
        desk.put("cut.png", noise[: len(noise) // 2]): "truncated PNG",
        desk.put("moving.gif", moving("GIF")): "animated: 2 frames",
        desk.put("moving.png", moving("PNG")): "animated: 2 frames",
        desk.put("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"): "SVG is not decoded here",
        desk.put("long.png", picture(1, (2000, 10))): "the model takes sides of up to 16 to 1",
        "in": "it is no file",
        "ftp://example.com/a.png": "a picture is a path, s3://…, https://…, data:… or catalog:IMAGE_ID",
        "http://169.254.169.254/a.png": "link-local",
        "https://10.0.0.1/a.png?key=secret": "https://10.0.0.1/a.png?…: 10.0.0.1 leads to 10.0.0.1, a private",
        f"{desk.sandbox.base_url}/none.png": "404",
        "data:image/png;base64,%%": "its base64 cannot be read",
        "data:nothing": "it is no data URI",
        "s3:///a.png": "s3:///a.png: '' is not a bucket name",
        "catalog:nobody-0": "the catalog has no such image",
        "catalog:rubbish": "the catalog has no such image",
        "": "no picture in picture",
        " | ".join(["in/1.png"] * 11): "images: 11 given; a list, 1 to 10 long",
    }
    desk.put("in/1.png", picture(1))
    found = problems(desk, *bad)
    for said, wanted in zip(found, bad.values(), strict=True):
        assert wanted in said
        assert "secret" not in said
    left = desk.run(desk.table(("a", "none.png"), ("b", "in/1.png")), skip_invalid=True)
    assert (left["states"], desk.bought) == ({"delivered": 1}, 1)


def test_a_model_without_pictures_and_a_column_that_is_not_there(desk: Desk) -> None:
    source = desk.table(("a mug", desk.put("a.png", picture(1))))
    with pytest.raises(InvalidRequest, match=r"images: a picture is not allowed \(this model takes no images\)"):
        desk.run(source, model="google/imagen4/preview")
    with pytest.raises(InvalidRequest, match=r"image_urls: it is not given .*--image-column"):
        desk.run(source, image_column=None)
    with pytest.raises(InvalidRequest, match="this model takes no mask"):
        desk.run(source, mask_column="mask")
    with pytest.raises(InvalidPrompts, match="there is no column 'photo'; there are prompt, picture"):
        desk.run(source, image_column=["photo"])
    assert desk.bought == 0


def test_pictures_of_the_catalog_go_in_unless_they_were_rejected(desk: Desk) -> None:
    desk.run(desk.table(("a mug", desk.put("a.png", picture(1)))))
    (first,) = desk.ledger.catalog.rows()
    source = desk.table(("the same in winter", f"catalog:{first['image_id']}"))
    desk.run(source)
    (row,) = [row for row in desk.ledger.catalog.rows() if row["image_id"] != first["image_id"]]
    assert json.loads(row["inputs"]) == [{"field": "image_urls", "sha256": first["sha256"]}]
    # The same bytes from the folder are the same purchase.
    desk.run(desk.table(("the same in winter", first["uri"].removeprefix("file://")), name="other.csv"))
    assert desk.bought == 2
    desk.ledger.verdicts.record([Verdict(first["image_id"], "ann", VerdictValue.REJECTED)])
    with pytest.raises(InvalidPrompts, match="the image was rejected"):
        desk.run(source)


def test_several_pictures_of_a_row_and_those_for_all_rows_go_in_in_order(desk: Desk) -> None:
    for number in range(4):
        desk.put(f"{number}.png", picture(number))
    data = f"data:image/png;base64,{base64.b64encode(picture(4)).decode()}"
    source = desk.table(("a", "0.png | 1.png", "2.png"), head="prompt,picture,more")
    desk.run(source, image_column=["picture", "more"], image=[str(desk.folder / "3.png"), data])
    (row,) = desk.ledger.catalog.rows()
    assert [one["sha256"] for one in json.loads(row["inputs"])] == [sha256(picture(number)) for number in range(5)]


def test_a_picture_that_was_changed_or_is_gone_after_the_plan_buys_nothing(desk: Desk) -> None:
    source = desk.table(("a", desk.put("a.png", picture(1))))
    plan = desk.folder / "plan.jsonl"
    batch = open_batch(source, RunRequest.by_flag({"model": MODEL, "image_column": ["picture"]}))
    with PlanWriter(plan, batch) as writer:  # type: ignore[arg-type]
        for row in batch.run_items():
            writer.add(row)
        writer.finish(items=1)
    planned = {"model": None, "image_column": None}
    desk.put("a.png", picture(2))
    with pytest.raises(BadInput, match="a picture that goes in was changed"):
        desk.run(str(plan), **planned)
    (desk.folder / "a.png").unlink()
    with pytest.raises(BadInput, match="No such file"):
        desk.run(str(plan), **planned)
    assert desk.bought == 0
    desk.put("a.png", picture(1))
    assert desk.run(str(plan), **planned)["states"] == {"delivered": 1}
    desk.run(source)
    assert desk.bought == 1


def test_without_a_copy_at_the_destination_they_are_kept_on_this_machine(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_IMAGEN_HOME", str(tmp_path / "home"))
    desk.run(desk.table(("a", desk.put("a.png", picture(1)))), no_keep_inputs=True)
    assert desk.bought == 1
    assert not (tmp_path / "images/inputs").exists()
    assert (tmp_path / "home/inputs" / sha256(picture(1))).read_bytes() == picture(1)


def test_a_folder_is_a_source_of_pictures(desk: Desk) -> None:
    for name in ("in/mug.png", "in/deep/lamp.jpg", "in/.hidden/no.png"):
        desk.put(name, picture(len(name)))
    desk.put("in/mug.txt", b"\xef\xbb\xbfa mug, says the file beside it\n")
    desk.put("in/notes.md", b"no picture")
    folder = str(desk.folder / "in")
    with pytest.raises(BadInput, match="line 1"):
        desk.run(folder, image_column=None)
    how = {"image_column": None, "template": "{{ name }} in winter{% if text %}: {{ text }}{% endif %}"}
    assert desk.run(folder, **how)["states"] == {"delivered": 2}
    found = {row["prompt"]: json.loads(row["inputs"]) for row in desk.ledger.catalog.rows()}
    assert found == {
        "lamp in winter": [{"field": "image_urls", "sha256": sha256(picture(len("in/deep/lamp.jpg")))}],
        "mug in winter: a mug, says the file beside it": [
            {"field": "image_urls", "sha256": sha256(picture(len("in/mug.png")))}
        ],
    }
    # A pattern takes some of them: they are owned.
    assert desk.run(str(desk.folder / "in/**/*.jpg"), **how)["states"] == {"delivered": 1}
    assert desk.bought == 2
    with pytest.raises(BadInput, match="no pictures are there"):
        desk.run(str(desk.folder / "in/*.gif"), **how)


def test_a_link_that_leads_elsewhere_is_not_followed(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    private = tmp_path_factory.mktemp("private") / "me.png"
    private.write_bytes(picture(1))
    (desk.folder / "a.png").symlink_to(private)
    (said,) = problems(desk, "a.png")
    assert "links are followed within the folder" in said
    with pytest.raises(BadInput, match="links are followed within the folder"):
        desk.run(str(desk.folder / "*.png"), image_column=None, template="{{ name }}")
    assert desk.bought == 0


_PRICED = """\
version: 1
models:
  - id: beeble/switchx-image-to-image
    price: {usd: "0.05", usd_high: "0.06", as_of: now, source: the sandbox}
"""


def test_a_mask_goes_with_its_picture(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put("a.png", picture(1))
    desk.put("mask.png", picture(2))
    desk.put("small.png", picture(3, (20, 20)))
    monkeypatch.setenv("PREFECT_IMAGEN_MODELS", str(desk.folder / desk.put("models.yaml", _PRICED.encode())))
    head = "prompt,picture,mask"
    how: dict[str, Any] = {"model": "beeble/switchx-image-to-image", "mask_column": "mask"}
    how["set"] = {"alpha_mode": "custom"}
    with pytest.raises(InvalidPrompts, match="the mask has 20 x 20 pixels, and the image 48 x 40"):
        desk.run(desk.table(("a", "a.png", "small.png"), head=head), **how)
    with pytest.raises(InvalidPrompts, match="2 masks; a request has one"):
        desk.run(desk.table(("a", "a.png", "mask.png|mask.png"), head=head), **how)
    assert desk.bought == 0
    desk.run(desk.table(("a", "a.png", "mask.png"), head=head), **how)
    (row,) = desk.ledger.catalog.rows()
    assert [(one["field"], one["sha256"]) for one in json.loads(row["inputs"])] == [
        ("image_url", sha256(picture(1))),
        ("alpha_url", sha256(picture(2))),
    ]
    # Without the mask it is another purchase, and with both in each other's place, too.
    desk.run(desk.table(("a", "mask.png", "a.png"), head=head), **how)
    assert desk.bought == 2


def test_what_is_too_large_is_refused_where_no_copy_is_wanted(desk: Desk) -> None:
    desk.put("large.png", encoded(Image.new("RGB", (5000, 400), "teal"), "PNG"))
    (said,) = problems(desk, "large.png", strict_images=True)
    assert "large.png: 5,000 x 400 pixels; the model takes 4,096 along its longer side" in said
    desk.run(desk.table(("a", "large.png")))
    (row,) = desk.ledger.catalog.rows()
    (kept,) = json.loads(row["inputs"])
    assert kept["sha256"] == sha256((desk.folder / "large.png").read_bytes())
    with Image.open(row["uri"].removeprefix("file://")) as image:
        assert kept["sha256"] not in image.info["Inputs"]


def test_images_of_the_catalog_are_a_source(desk: Desk) -> None:
    rows = [(f"a mug, {number}", desk.put(f"{number}.png", picture(number)), f"size {number}") for number in range(3)]
    first = desk.run(desk.table(*rows, head="prompt,picture,size"), edition="may")
    images = {row["prompt"]: row["image_id"] for row in desk.ledger.catalog.rows()}
    desk.ledger.verdicts.record(
        [
            Verdict(images["a mug, 0"], "ann", VerdictValue.APPROVED),
            Verdict(images["a mug, 1"], "ann", VerdictValue.REJECTED),
        ]
    )
    how = {"image_column": None, "template": "{{ prompt }}, {{ size }}, in winter"}
    winter = desk.run("catalog:verdict=approved,edition=may", **how)
    assert winter["states"] == {"delivered": 1}
    desk.run(f"catalog:run={first['run']}", **how)
    assert desk.bought == 5
    made = {row["prompt"]: json.loads(row["inputs"])[0]["sha256"] for row in desk.ledger.catalog.rows()}
    hashes = {row["image_id"]: row["sha256"] for row in desk.ledger.catalog.rows()}
    assert made["a mug, 0, size 0, in winter"] == hashes[images["a mug, 0"]]
    assert made["a mug, 2, size 2, in winter"] == hashes[images["a mug, 2"]]
    for source, message in (
        ("catalog:edition=june", "no image of the catalog matches"),
        ("catalog:approved", "'approved' is no criterion"),
        ("catalog:colour=red", "colour"),
        ("catalog:run=nothing", "no run"),
    ):
        with pytest.raises(BadInput, match=message):
            desk.run(source, **how)
    assert desk.bought == 5


def test_the_ledger_keeps_neither_pictures_nor_signatures(desk: Desk) -> None:
    data = f"data:image/png;base64,{base64.b64encode(picture(1)).decode()}"
    desk.run(desk.table(("a", f"{data} | {desk.put('b.png', picture(2))}")))
    (row,) = desk.ledger.catalog.rows()
    assert json.loads(row["source_row"]) == {"prompt": "a", "picture": "data:… | b.png"}
    inputs = RowInputs({}, ("picture",))
    signed = {"prompt": "a", "picture": ["https://cdn.example/a.png?sig=secret", "b.png"]}
    assert inputs.without_secrets(signed) == {**signed, "picture": ["https://cdn.example/a.png?…", "b.png"]}


def test_what_is_erased_takes_its_pictures_along(desk: Desk) -> None:
    both, alone = desk.put("both.png", picture(1)), desk.put("alone.png", picture(2))
    desk.run(desk.table(("a", both), ("b", f"{both}|{alone}")), edition="may")
    desk.run(desk.table(("c", both)), edition="june")
    kept = desk.folder / "images/inputs"
    assert {path.name for path in kept.iterdir()} == {sha256(picture(1)), sha256(picture(2))}
    done = erase(desk.ledger, Selection(edition="may"))
    assert (done.items, done.failed) == (2, {})
    assert {path.name for path in kept.iterdir()} == {sha256(picture(1))}
    assert {row["inputs"] for row in desk.ledger.catalog.rows() if row["edition"] == "may"} == {None}
    erase(desk.ledger, Selection(edition="june"))
    assert not kept.exists()


def test_an_image_that_is_made_anew_starts_from_the_same_picture(desk: Desk) -> None:
    desk.run(desk.table(("a", desk.put("a.png", picture(1)))))
    (row,) = desk.ledger.catalog.rows()
    (revision,) = ask(desk.ledger, [Regeneration(row["image_id"], "ann")])
    assert content_references(revision.parameters) == {"image_urls": (sha256(picture(1)),)}


def test_a_plan_says_what_goes_in(desk: Desk) -> None:
    desk.put("large.png", encoded(Image.new("RGB", (5000, 400), "teal"), "PNG"))
    source = desk.table(("a", desk.put("a.png", picture(1))), ("b", "a.png"), ("c", "large.png"), ("d", "none.png"))
    plan = make_plan(open_batch(source, RunRequest.by_flag({"model": MODEL, "image_column": ["picture"]})))
    assert plan.inputs is not None
    assert (plan.items, plan.inputs.pictures, len(plan.inputs.copies), len(plan.invalid)) == (3, 2, 1, 1)
    assert "the model takes 4,096 along its longer side" in plan.inputs.copies[0]
