"""The free checks: what each flags, what it leaves alone, and how well they find images that look alike."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ImageFilter as Which
from prefect_imagen.core.ledger import ImageOrder
from prefect_imagen.core.request import CheckOptions
from prefect_imagen.core.review.checks import check_images, found_in
from prefect_imagen.core.review.duplicates import alike, counts, dhash
from prefect_imagen.core.storage.sources import Sources

from .conftest import Place, Shelf


def scene(seed: int, size: tuple[int, int] = (512, 384)) -> Image.Image:
    """A picture with shapes, shades and edges, another for each seed."""
    draw = random.Random(seed)
    image = Image.new("RGB", size, tuple(draw.randrange(256) for _ in range(3)))
    brush = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = draw.randrange(-60, size[0]), draw.randrange(-60, size[1])
        box = (x, y, x + draw.randrange(30, 260), y + draw.randrange(30, 200))
        shape = draw.choice((brush.ellipse, brush.rectangle))
        shape(box, fill=tuple(draw.randrange(256) for _ in range(3)))
    return image


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


BLACK = (0, 0, 0)


@pytest.mark.parametrize(
    ("picture", "parameters", "flags"),
    [
        (scene(1), {}, set()),
        (Image.new("RGB", (300, 200), (7, 8, 9)), {}, {"blank"}),
        (ImageOps.expand(scene(1), 30, BLACK), {}, {"border"}),
        (ImageOps.expand(scene(1), (0, 40), (200, 20, 20)), {}, {"border"}),
        (ImageOps.expand(scene(1), (40, 0, 0, 0), BLACK), {}, set()),
        (scene(1).filter(ImageFilter.GaussianBlur(9)), {}, {"blur"}),
        (scene(1), {"aspect_ratio": "4:3"}, set()),
        (scene(1), {"aspect_ratio": "16:9"}, {"ratio"}),
        (scene(1, (1408, 768)), {"aspect_ratio": "16:9"}, set()),
        (scene(1), {"size": "512x384"}, set()),
        (scene(1), {"size": "1024x1024"}, {"size"}),
        (scene(1), {"image_size": {"width": 512, "height": 512}}, {"size"}),
        (scene(1), {"width": 512, "height": 384}, set()),
        (scene(1), {"aspect_ratio": "0:0", "style": "4:3 film"}, set()),
        (scene(2, (12, 12)), {}, set()),
        (Image.new("RGB", (1, 1)), {}, {"blank"}),
    ],
)
def test_what_is_found_in_one_picture(picture: Image.Image, parameters: dict[str, Any], flags: set[str]) -> None:
    found = found_in(picture, {"parameters": json.dumps(parameters)}, CheckOptions())
    assert set(found) == flags, found


def test_near_duplicates_precision_and_recall() -> None:
    """60 pictures: of each, copies that must be found, and others that must not."""
    originals = {seed: scene(seed) for seed in range(60)}
    hashes = {seed: int(dhash(image), 16) for seed, image in originals.items()}
    kinds: dict[str, Callable[[Image.Image], Image.Image]] = {
        "resized": lambda image: image.resize((200, 150)),
        "recompressed": lambda image: recompressed(image, 30),
        "cropped": lambda image: image.crop((5, 4, image.width - 5, image.height - 4)),
        "brighter": lambda image: image.point(lambda value: min(255, int(value * 1.1))),
        "mirrored": ImageOps.mirror,
    }
    found = {
        kind: sum((int(dhash(change(image)), 16) ^ hashes[seed]).bit_count() <= 6 for seed, image in originals.items())
        for kind, change in kinds.items()
    }
    wrong = sum((a ^ b).bit_count() <= 6 for seed, a in hashes.items() for other, b in hashes.items() if other > seed)
    recall = sum(found[kind] for kind in ("resized", "recompressed", "cropped", "brighter")) / 240
    precision = sum(found.values()) / (sum(found.values()) + wrong)
    print(f"found of 60 each: {found}; pairs of different pictures taken for alike: {wrong} of 1770")
    assert recall >= 0.95
    assert precision >= 0.99
    assert found["mirrored"] == 0, "a mirrored picture is another picture"


def test_every_pair_within_the_distance_is_found() -> None:
    draw = random.Random(4)
    hashes = [draw.getrandbits(64) for _ in range(300)]
    for hash_ in hashes[:100]:
        for bits in range(1, 9):
            changed = hash_
            for bit in draw.sample(range(64), bits):
                changed ^= 1 << bit
            hashes.append(changed)
    known = {hash_: [place] for place, hash_ in enumerate(dict.fromkeys(hashes))}
    for distance in (0, 1, 6, 7):
        expected = {frozenset((a, b)) for a in known for b in known if a < b and (a ^ b).bit_count() <= distance}
        assert {frozenset(pair) for pair in alike(known, distance)} == expected


def test_hashes_of_empty_pictures_do_not_count() -> None:
    assert not counts(int(dhash(Image.new("RGB", (64, 64))), 16))
    assert not counts((1 << 64) - 1)
    assert not counts(0b111)
    assert counts(int(dhash(scene(1)), 16))


def sources(place: Place) -> Sources:
    return Sources.of(place.options)


def flags(shelf: Shelf, image_id: str) -> list[str]:
    return list(json.loads(shelf.row(image_id, "flags")["flags"] or "[]"))


def test_images_of_a_store_are_flagged_once_and_grouped(shelf: Shelf, place: Place) -> None:
    blank = png(Image.new("RGB", (64, 64), "white"))
    first, second, exact, near, white, white_too = shelf.add(
        png(scene(1)), png(scene(2)), png(scene(1)), png(scene(1).resize((256, 192))), blank, blank
    )
    report = check_images(shelf.ledger, Which(), sources=sources(place))
    assert (report.images, report.checked, report.flagged, report.groups) == (6, 6, 4, 2)
    assert report.flags == {"duplicate": 2, "near-duplicate": 1, "blank": 2}
    assert [flags(shelf, image) for image in (first, second, exact, near, white, white_too)] == [
        [],
        [],
        ["duplicate"],
        ["near-duplicate"],
        ["blank"],
        ["blank", "duplicate"],
    ]
    assert {shelf.row(image, "duplicate_group")["duplicate_group"] for image in (first, exact, near)} == {first}
    assert shelf.row(second, "duplicate_group")["duplicate_group"] is None
    assert shelf.row(near, "run_duplicate_group")["run_duplicate_group"] == first
    again = check_images(shelf.ledger, Which(), sources=sources(place))
    assert (again.checked, again.groups) == (0, 2)
    assert check_images(shelf.ledger, Which(), CheckOptions(blur_below=1), sources=sources(place)).checked == 6
    page = shelf.ledger.review.page(Which(), columns=["image_id"], order=ImageOrder.FLAGS)
    assert page[0]["image_id"] == white_too
    assert shelf.ledger.review.counts(Which(duplicates=True)).images == 5
    assert [row["image_id"] for row in shelf.ledger.review.all(Which(flags=("near-duplicate",)), columns=())] == [near]


def test_groups_of_a_run_and_of_the_catalog(shelf: Shelf, place: Place) -> None:
    (first,) = shelf.add(png(scene(1)))
    shelf.harness.start("second")
    shelf.harness.count = 0
    second, third = shelf.add(png(scene(1)), png(scene(1).resize((256, 192))), prefix="wolf")
    check_images(shelf.ledger, Which(), CheckOptions(within="run"), sources=sources(place))
    assert [flags(shelf, image) for image in (first, second, third)] == [[], [], ["near-duplicate"]]
    columns = ("duplicate_group", "run_duplicate_group")
    assert [tuple(shelf.row(image, *columns).values()) for image in (first, second, third)] == [
        (first, None),
        (first, second),
        (first, second),
    ]
    check_images(shelf.ledger, Which(), sources=sources(place))
    assert [flags(shelf, image) for image in (second, third)] == [["duplicate"], ["near-duplicate"]]


def test_what_is_gone_or_no_picture_any_more_is_flagged(shelf: Shelf, place: Place) -> None:
    gone, changed, fine = shelf.add(png(scene(1)), png(scene(2)), png(scene(3)))
    shelf.store.delete([str(shelf.row(gone, "object_key")["object_key"])])
    shelf.store.write_text(str(shelf.row(changed, "object_key")["object_key"]), "no picture")
    report = check_images(shelf.ledger, Which(), sources=sources(place))
    assert report.flags == {"unreadable": 2}
    assert (flags(shelf, gone), flags(shelf, changed), flags(shelf, fine)) == (["unreadable"], ["unreadable"], [])
    assert "does not exist" in shelf.row(gone, "flag_details")["flag_details"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "myownchecks.py").write_text(
        "def too_red(picture, row):\n    return 'red ' + row['prompt'] if row['prompt'].endswith('1') else None\n"
        "def several(picture, row):\n    return {'wide': True, 'tall': 'no'}\n"
        "def breaks(picture, row):\n    raise RuntimeError('no model here')\n"
        "def bad(picture, row):\n    return {'Not A Flag': 1}\n"
        "NUMBER = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own")
def test_checks_of_ones_own(shelf: Shelf, place: Place) -> None:
    one, other = shelf.add(png(scene(1)), png(scene(2)))
    options = CheckOptions(own=("myownchecks:too_red", "myownchecks:several"))
    check_images(shelf.ledger, Which(), options, sources=sources(place))
    assert (flags(shelf, one), flags(shelf, other)) == (["tall", "wide"], ["tall", "too-red", "wide"])
    for name, named in (("breaks", "RuntimeError: no model here"), ("bad", "'Not A Flag' is no name of a flag")):
        report = check_images(shelf.ledger, Which(), CheckOptions(own=(f"myownchecks:{name}",)), sources=sources(place))
        assert (report.checked, len(report.problems)) == (0, 1)
        assert named in report.problems[0]
    assert flags(shelf, one) == ["tall", "wide"], "what was found before is kept"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("myownchecks", "module:function"),
        ("nowhere:check", "cannot be imported"),
        ("myownchecks:gone", "has no function gone"),
        ("myownchecks:NUMBER", "has no function NUMBER"),
    ],
)
def test_a_check_that_cannot_be_found_is_refused(sqlite: str, open_ledger: Any, name: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        check_images(open_ledger(sqlite), Which(), CheckOptions(own=(name,)))


def test_details_are_plain_text(shelf: Shelf, place: Place) -> None:
    (image,) = shelf.add(png(Image.new("RGB", (64, 64), (1, 2, 3))))
    check_images(shelf.ledger, Which(), sources=sources(place))
    details: Mapping[str, Any] = shelf.row(image, "flag_details")
    assert "#010203" in details["flag_details"]
