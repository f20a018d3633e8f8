"""From a paid reply to a confirmed object: against the sandbox's CDN and a folder as store."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from PIL import Image
from prefect_imagen.core.delivery import DeliveryQueue, Downloader, FileState, ImageFile, Spool, Uploader, record
from prefect_imagen.core.delivery.files import most_pixels
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.files import SpoolUnavailable
from prefect_imagen.core.images import Fetcher
from prefect_imagen.core.ledger import ImageState, ImageTask, ItemState, Ledger
from prefect_imagen.core.ledger.schema import deliveries
from prefect_imagen.core.limits import Backoff, HealthGate, StopReason, StopSignal
from prefect_imagen.core.providers import ImageRequest, open_client
from prefect_imagen.core.purchase.decision import classify_reply
from prefect_imagen.core.storage import KeyTemplate, LocalStore, Stored, StoreNotUsable, StoreUnavailable

from ...bill import check_bill

MODEL = "google/imagen4/preview"


class Post:
    """Buys from the sandbox, and everything that delivers."""

    def __init__(self, sandbox: Any, ledger: Ledger, harness: Any, folder: Path, *, trusted: bool = True) -> None:
        self.sandbox, self.ledger, self.harness = sandbox, ledger, harness
        self.client = open_client("key", base_url=sandbox.base_url)
        self.halt = StopSignal()
        self.spool = Spool(folder / "spool", ledger.id)
        self.store = LocalStore(folder / "images")
        self.store.preflight()
        self.fetcher = Fetcher((sandbox.origin,) if trusted else (), user_agent="prefect-imagen/test")
        self.copies: dict[str, LocalStore] = {}

    def close(self) -> None:
        self.client.close()
        self.fetcher.close()

    def buy(self, prompt: str = "a fox", **parameters: Any) -> str:
        """Buy for real; returns the call's id."""
        (item,) = self.harness.plan(1, prefix=prompt)
        call_id = self.harness.send(item)
        raw = self.client.ask(ImageRequest.build(MODEL, prompt, parameters), call_id, seed=7)
        self.spool.replies.save(call_id, raw)
        assert self.ledger.calls.settle(call_id, classify_reply(raw, list_price=1).outcome)
        self.ledger.items.release([item])
        return call_id

    def tasks(self, call_id: str, destination: str | None = None) -> list[ImageTask]:
        item = self.harness.call(call_id).item_id
        return self.ledger.images.to_deliver([item], destination=destination or self.store.destination)

    def downloader(self, **options: Any) -> Downloader:
        return Downloader(
            fetcher=self.fetcher,
            spool=self.spool,
            open_copy=lambda uri: (LocalStore(Path(uri.removeprefix("file://")).parent), uri.rpartition("/")[2]),
            halt=self.halt,
            backoff=Backoff(first=0.001, maximum=0.002),
            **options,
        )

    def uploader(
        self, store: Any = None, *, gate: HealthGate | None = None, patience: float = 30.0, key: str = ""
    ) -> Uploader:
        store = store or self.store
        return Uploader(
            store=store,
            keys=KeyTemplate(key or "{model}/{item_id}/{call}-{index}.{ext}"),
            ledger_id=self.ledger.id,
            spool=self.spool,
            gate=gate or HealthGate(store.check, patience=patience, probe_pause=0.005),
            halt=self.halt,
            patience=patience,
            backoff=Backoff(first=0.005, maximum=0.01),
        )

    def deliver(self, call_id: str, store: Any = None, **options: Any) -> list[ImageFile]:
        """Everything, up to the catalog."""
        store = store or self.store
        files = [self.downloader().download(task) for task in self.tasks(call_id, store.destination)]
        uploader = self.uploader(store, **options)
        record(self.ledger, self.spool, [uploader.upload(file) for file in files])
        return files

    def objects(self) -> list[Path]:
        return sorted(path for path in self.store.root.rglob("*.png") if path.is_file())


@pytest.fixture
def post(sandbox: Any, sqlite: str, open_ledger: Callable[..., Ledger], shop_of: Any, tmp_path: Path) -> Iterator[Post]:
    ledger = open_ledger(sqlite)
    harness = shop_of(ledger)
    opened = Post(sandbox, ledger, harness, tmp_path)
    harness.start(destination=opened.store.destination)
    yield opened
    opened.close()


def left(post: Post) -> list[str]:
    """What is in the spool: files, and replies, whether they have one of their own or not."""
    files = (path.relative_to(post.spool.folder) for path in post.spool.folder.rglob("*") if path.is_file())
    replies = (f"replies/{call_id}" for call_id in post.spool.replies.call_ids())
    return sorted([*(str(path) for path in files if path.parts[0] != "replies"), *replies])


def test_a_reply_becomes_objects_and_rows(post: Post) -> None:
    call_id = post.buy(num_images=2, aspect_ratio="16:9")
    urls = [task.source_url for task in post.tasks(call_id)]
    files = post.deliver(call_id)
    assert [(file.state, file.width, file.height, file.ext) for file in files] == [
        (FileState.READY, 1408, 768, "png")
    ] * 2
    rows = post.ledger.catalog.rows()
    assert [row["state"] for row in rows] == ["stored", "stored"]
    for row, url in zip(rows, urls, strict=True):
        path = Path(row["uri"].removeprefix("file://"))
        assert path.is_relative_to(post.store.root)
        assert path.name == f"{row['image_id']}.png"
        assert path.stat().st_size == row["bytes"]
        assert url is not None
        assert (row["source_url"], "?") == url.partition("?")[:2], "a signature is in the catalog"
        provided = requests.get(url, timeout=10).content
        assert path.read_bytes() == provided, "the provider's bytes were changed"
    assert post.harness.state(rows[0]["item_id"]) is ItemState.DELIVERED
    assert left(post) == []
    assert post.tasks(call_id) == []


def test_base64_replies_need_no_download(post: Post) -> None:
    call_id = post.buy(num_images=2, convert_base64_to_url=False)
    first, second = post.tasks(call_id)
    gets = post.sandbox.stats()["cdn_gets"]
    done = post.uploader().upload(post.downloader().download(first))
    record(post.ledger, post.spool, [done])
    assert left(post) == [f"replies/{call_id}"], "a paid image is in this reply and nowhere else"
    record(post.ledger, post.spool, [post.uploader().upload(post.downloader().download(second))])
    assert (len(post.objects()), left(post)) == (2, [])
    assert post.sandbox.stats()["cdn_gets"] == gets


def test_a_small_image_of_a_reply_is_not_written_a_second_time(post: Post) -> None:
    call_id = post.buy(convert_base64_to_url=False)
    file, data = post.downloader().load(post.tasks(call_id)[0])
    assert left(post) == [f"replies/{call_id}"]
    record(post.ledger, post.spool, [post.uploader().upload(file, data)])
    assert data is not None
    assert ([path.read_bytes() for path in post.objects()], left(post)) == ([data], [])


def test_base64_with_line_breaks_is_base64(post: Post) -> None:
    call_id = post.buy(convert_base64_to_url=False)
    raw = post.spool.replies.load(call_id)
    assert raw is not None
    head, middle, tail = raw.body.partition(b"iVBOR")
    post.spool.replies.save(call_id, dataclasses.replace(raw, body=head + middle + b"\\r\\n" + tail))
    assert post.deliver(call_id)[0].state is FileState.READY


def test_a_reply_on_another_machine_is_waited_for(post: Post) -> None:
    call_id = post.buy(convert_base64_to_url=False)
    (task,) = post.tasks(call_id)
    post.spool.replies.delete(call_id)
    elsewhere = post.downloader().download(dataclasses.replace(task, sent_from="worker-7"))
    assert (elsewhere.state, elsewhere.reason) == (FileState.LATER, "the reply is in the spool of worker-7")
    here = post.downloader().download(task)
    assert here.state is FileState.GONE
    record(post.ledger, post.spool, [post.uploader().upload(here)])
    assert post.harness.image(call_id).state == ImageState.LOST


@pytest.mark.parametrize(("fault", "asked"), [("html_download", 4), ("corrupt_image", 2)])
def test_what_is_no_image_is_quarantined_and_kept(post: Post, fault: str, asked: int) -> None:
    """A damaged picture is asked for twice; a page in its place may go away, as an error status may."""
    post.sandbox.set_faults([{"fault": fault, "first_attempts": None}])
    call_id = post.buy()
    gets = post.sandbox.stats()["cdn_gets"]
    (file,) = post.deliver(call_id)
    assert file.state is FileState.BAD
    assert post.sandbox.stats()["cdn_gets"] == gets + asked
    assert left(post) == [f"quarantine/{call_id}-0"]
    image = post.harness.image(call_id)
    assert image.state == ImageState.QUARANTINED
    assert "kept as" in image.reason
    assert post.harness.state(image.item_id) is ItemState.LOST
    assert post.objects() == []
    assert post.ledger.costs.of().lost.calls == 1


def _picture(kind: str, cut: int = 0) -> bytes:
    out = io.BytesIO()
    noise = Random(1).randbytes(64 * 48 * 3)
    Image.frombytes("RGB", (64, 48), noise).save(out, kind)
    return out.getvalue()[: len(out.getvalue()) - cut]


SVG = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(400)


@pytest.mark.parametrize(
    ("data", "ext", "content_type", "damage", "gets"),
    [
        (_picture("AVIF"), "avif", "image/avif", None, 1),
        (_picture("GIF"), "gif", "image/gif", None, 1),
        (_picture("BMP"), "bmp", "image/bmp", None, 1),
        (_picture("TIFF"), "tiff", "image/tiff", None, 1),
        (HEIC, "heic", "image/heic", "not checked: HEIC is not decoded here", 1),
        (SVG, "svg", "image/svg+xml", "not checked: SVG is not decoded here", 1),
        (_picture("JPEG", cut=2), "jpg", "image/jpeg", "its end is missing", 2),
        (_picture("PNG", cut=12), "png", "image/png", "its end is missing", 2),
    ],
    ids=["AVIF", "GIF", "BMP", "TIFF", "HEIC", "SVG", "JPEG without its end", "PNG without its end"],
)
def test_what_can_be_shown_is_stored_as_it_is_and_what_is_wrong_is_said(
    post: Post, data: bytes, ext: str, content_type: str, damage: str | None, gets: int
) -> None:
    encoded = base64.b64encode(data).decode()
    post.sandbox.set_faults([{"fault": "other_bytes", "data": encoded, "first_attempts": None}])
    call_id = post.buy()
    before = post.sandbox.stats()["cdn_gets"]
    post.deliver(call_id)
    assert post.sandbox.stats()["cdn_gets"] == before + gets, "what came damaged is asked for once more"
    (row,) = post.ledger.catalog.rows()
    assert (row["state"], row["content_type"], row["damage"]) == ("stored", content_type, damage)
    path = Path(row["uri"].removeprefix("file://"))
    assert (path.suffix, path.read_bytes()) == (f".{ext}", data)
    assert post.ledger.images.count_damaged(row["run_id"]) == (damage is not None)
    assert post.harness.state(row["item_id"]) is ItemState.DELIVERED
    assert left(post) == []


@pytest.mark.parametrize(
    ("data", "damage"),
    [
        (_picture("PNG"), None),
        (_picture("JPEG"), None),
        (_picture("WEBP"), None),
        (_picture("PNG", cut=12), "its end is missing"),
    ],
    ids=["PNG", "JPEG", "WebP", "PNG without its end"],
)
def test_a_picture_shorter_than_its_server_announces_is_stored_if_that_is_all_there_is(
    post: Post, data: bytes, damage: str | None
) -> None:
    encoded = base64.b64encode(data).decode()
    post.sandbox.set_faults([{"fault": "other_bytes", "data": encoded, "missing": 77, "first_attempts": None}])
    call_id = post.buy()
    before = post.sandbox.stats()["cdn_gets"]
    post.deliver(call_id)
    assert post.sandbox.stats()["cdn_gets"] == before + 2, "what comes short is asked for once more"
    (row,) = post.ledger.catalog.rows()
    short = f"{len(data):,} bytes of {len(data) + 77:,} came: the body was cut after {len(data):,} bytes"
    assert (row["state"], row["damage"]) == ("stored", f"{short}; {damage}" if damage else short)
    assert Path(row["uri"].removeprefix("file://")).read_bytes() == data
    assert post.harness.state(row["item_id"]) is ItemState.DELIVERED
    assert left(post) == []
    check_bill(post.ledger, post.sandbox, settled=True)


def test_a_picture_that_is_cut_elsewhere_each_time_is_stored_once_it_is_whole(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last time of asking, no more is to be had: then a whole picture is enough, and a damaged one is not."""
    data, fetch = _picture("PNG"), Fetcher.fetch
    cuts = iter([12, 30, 11, 0, 12, 30, 11, 16])

    def cut_elsewhere(fetcher: Fetcher, *args: Any, **options: Any) -> Any:
        encoded = base64.b64encode(data[: len(data) - next(cuts)]).decode()
        post.sandbox.set_faults([{"fault": "other_bytes", "data": encoded, "missing": 77, "first_attempts": None}])
        return fetch(fetcher, *args, **options)

    monkeypatch.setattr(Fetcher, "fetch", cut_elsewhere)
    states = [post.deliver(post.buy(prompt))[0].state for prompt in ("a fox", "an owl")]
    assert states == [FileState.READY, FileState.LATER]


def test_what_was_damaged_on_its_way_is_stored_whole(post: Post) -> None:
    encoded = base64.b64encode(_picture("PNG", cut=12)).decode()
    post.sandbox.set_faults([{"fault": "other_bytes", "data": encoded, "first_attempts": 1}])
    post.deliver(post.buy())
    assert [row["damage"] for row in post.ledger.catalog.rows()] == [None]


def test_the_pixels_that_are_accepted_follow_from_what_was_asked_for(post: Post) -> None:
    (task,) = post.tasks(post.buy())
    assert most_pixels(dataclasses.replace(task, facts={})) == 4096 * 4096
    for parameters, most in (
        ({"resolution": "8K"}, 4 * 8192 * 8192),
        ({"image_size": {"width": 9000, "height": 9000}}, 4 * 9000 * 9000),
        ({"size": "4096x4096"}, 4 * 4096 * 4096),
        ({"image_size": "4K", "aspect_ratio": "16:9"}, 4 * 4096 * 4096),
        ({"aspect_ratio": "16:9"}, 4096 * 4096),
    ):
        assert most_pixels(dataclasses.replace(task, facts={"parameters": json.dumps(parameters)})) == most
    unknown = dataclasses.replace(task, model="nobody/knows", facts={})
    assert most_pixels(unknown) == 64_000_000


@pytest.mark.parametrize(
    "fault", ["html_download", "corrupt_image", "truncated_download", "download_404", "download_500"]
)
def test_what_goes_wrong_once_is_delivered(post: Post, fault: str) -> None:
    post.sandbox.set_faults([{"fault": fault, "first_attempts": 1}])
    call_id = post.buy()
    assert post.deliver(call_id)[0].state is FileState.READY
    assert (len(post.objects()), left(post)) == (1, [])


@pytest.mark.parametrize("fault", ["download_500", "truncated_download"])
def test_what_does_not_answer_now_is_left_for_later(post: Post, fault: str) -> None:
    post.sandbox.set_faults([{"fault": fault, "first_attempts": None}])
    call_id = post.buy()
    assert post.deliver(call_id)[0].state is FileState.LATER
    image = post.harness.image(call_id)
    assert (image.state, image.attempts) == (ImageState.PENDING, 1)
    assert post.harness.state(image.item_id) is ItemState.GENERATED
    post.sandbox.clear_faults()
    post.deliver(call_id)
    assert post.harness.state(image.item_id) is ItemState.DELIVERED
    assert left(post) == []


def test_a_dead_url_is_a_lost_image(post: Post) -> None:
    post.sandbox.set_faults([{"fault": "download_404", "first_attempts": None}])
    call_id = post.buy()
    assert post.deliver(call_id)[0].state is FileState.GONE
    image = post.harness.image(call_id)
    assert image.state == ImageState.LOST
    assert "404" in image.reason
    assert left(post) == []


def test_a_dead_url_of_an_image_that_is_stored_already(post: Post) -> None:
    """A run died between its upload and its catalog; meanwhile the URL expired."""
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    first = post.uploader().upload(post.downloader().download(task))
    assert first.stored is not None
    post.spool.discard(task.image_id)
    post.sandbox.set_faults([{"fault": "download_404", "first_attempts": None}])
    assert post.deliver(call_id)[0].state is FileState.GONE
    image = post.harness.image(call_id)
    assert (image.state, image.sha256, image.uri) == (ImageState.STORED, first.stored.sha256, first.stored.uri)
    assert left(post) == []


def test_a_dead_url_and_a_store_that_is_away_decide_nothing(post: Post) -> None:
    post.sandbox.set_faults([{"fault": "download_404", "first_attempts": None}])
    call_id = post.buy()
    post.deliver(call_id, Away(post.store, times=99))
    assert post.harness.image(call_id).state == ImageState.PENDING


def test_a_url_the_guard_refuses_is_quarantined(post: Post, tmp_path: Path) -> None:
    call_id = post.buy()
    strict = Post(post.sandbox, post.ledger, post.harness, tmp_path, trusted=False)
    strict.deliver(call_id)
    strict.close()
    assert post.harness.image(call_id).state == ImageState.QUARANTINED
    assert post.sandbox.stats()["cdn_gets"] == 0


def test_a_file_that_a_crash_left_is_used_and_not_fetched_again(post: Post) -> None:
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    before = post.downloader().download(task)
    gets = post.sandbox.stats()["cdn_gets"]
    again = post.downloader().download(task)
    assert again == before
    assert post.sandbox.stats()["cdn_gets"] == gets


def test_a_damaged_file_that_a_crash_left_is_fetched_again(post: Post) -> None:
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    post.spool.image(task.image_id).write_bytes(b"\x89PNG\r\n\x1a\n half of it")
    assert post.deliver(call_id)[0].state is FileState.READY


def test_an_upload_that_a_crash_did_not_record_is_found_to_be_the_same(post: Post) -> None:
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    file = post.downloader().download(task)
    first, second = post.uploader().upload(file), post.uploader().upload(file)
    assert first == second
    assert len(post.objects()) == 1


def test_a_key_that_holds_something_else_is_left_alone(post: Post) -> None:
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    file = post.downloader().download(task)
    uploader = post.uploader(key="{item_id}-{index}.{ext}")
    taken = post.store.root / f"{task.item_id}-0.png"
    taken.write_bytes(b"somebody else's")
    result = uploader.upload(file)
    assert (result.state, result.stored) == (ImageState.PENDING, None)
    assert "exists with other content" in str(result.reason)
    assert taken.read_bytes() == b"somebody else's"


def test_an_owned_image_is_copied_to_a_second_place_not_bought(post: Post, tmp_path: Path) -> None:
    call_id = post.buy()
    post.deliver(call_id)
    calls = len(post.sandbox.calls())
    gets = post.sandbox.stats()["cdn_gets"]
    second = LocalStore(tmp_path / "second")
    second.preflight()
    (file,) = post.deliver(call_id, second)
    assert file.task.copy_from is not None
    (copy,) = list(second.root.rglob("*.png"))
    assert copy.read_bytes() == post.objects()[0].read_bytes()
    assert (len(post.sandbox.calls()), post.sandbox.stats()["cdn_gets"]) == (calls, gets)
    assert post.harness.row(deliveries, deliveries.c.destination == second.destination).call_id == call_id
    assert post.tasks(call_id, second.destination) == []
    assert left(post) == []


def test_an_original_that_was_changed_is_not_copied(post: Post, tmp_path: Path) -> None:
    call_id = post.buy("a fox")
    post.deliver(call_id)
    other = post.buy("an owl", aspect_ratio="16:9")
    post.deliver(other)
    one, two = (Path(post.harness.image(call).uri.removeprefix("file://")) for call in (call_id, other))
    one.write_bytes(two.read_bytes())
    second = LocalStore(tmp_path / "second")
    second.preflight()
    (file,) = post.deliver(call_id, second)
    assert file.state is FileState.BAD
    assert "not the catalog's" in file.reason
    assert list(second.root.rglob("*.png")) == []
    assert post.harness.image(call_id).state == ImageState.STORED


def test_an_original_that_is_missing_is_said_so(post: Post, tmp_path: Path) -> None:
    call_id = post.buy()
    post.deliver(call_id)
    post.objects()[0].unlink()
    second = LocalStore(tmp_path / "second")
    second.preflight()
    assert post.deliver(call_id, second)[0].state is FileState.GONE
    assert post.harness.image(call_id).state == ImageState.STORED
    assert post.harness.state(post.harness.call(call_id).item_id) is ItemState.DELIVERED


class Away:
    """A store that is away the first times it is asked."""

    def __init__(
        self, store: LocalStore, *, times: int, error: type[Exception] = StoreUnavailable, probes: bool = False
    ) -> None:
        self._store = store
        self.destination = store.destination
        self.left = times
        self.probes_fail = probes
        self.puts = 0
        self._error = error

    def _ask(self) -> None:
        if self.left > 0:
            self.left -= 1
            raise self._error("the store is away")

    def check(self) -> None:
        if self.probes_fail:
            self._ask()

    def head(self, key: str) -> object:
        self._ask()
        return self._store.head(key)

    def put(self, key: str, path: Path, **more: Any) -> Stored:
        self.puts += 1
        self._ask()
        return self._store.put(key, path, **more)


@pytest.mark.parametrize("probes", [True, False])
def test_a_store_that_comes_back_gets_its_image(post: Post, probes: bool) -> None:
    call_id = post.buy()
    store = Away(post.store, times=4, probes=probes)
    post.deliver(call_id, store)
    assert post.harness.image(call_id).state == ImageState.STORED
    assert store.puts == (1 if probes else 5)


@pytest.mark.parametrize("probes", [True, False])
def test_a_store_that_stays_away_leaves_the_image_in_the_spool(post: Post, probes: bool) -> None:
    call_id = post.buy()
    store = Away(post.store, times=10**9, probes=probes)
    post.deliver(call_id, store, patience=0.1)
    image = post.harness.image(call_id)
    assert (image.state, image.reason) == (ImageState.PENDING, "the store is away")
    assert store.puts < 30, "a tight loop"
    assert left(post) == [f"images/{call_id}-0", f"replies/{call_id}"]
    gets = post.sandbox.stats()["cdn_gets"]
    post.deliver(call_id)
    assert post.sandbox.stats()["cdn_gets"] == gets
    assert left(post) == []


def test_a_failing_upload_closes_the_gate_for_buyers(post: Post) -> None:
    call_id = post.buy()
    store = Away(post.store, times=10**9, probes=True)
    gate = HealthGate(store.check, patience=0.05, probe_pause=0.005)
    gate.record_success()
    post.deliver(call_id, store, gate=gate, patience=0.05)
    assert store.puts == 1
    with pytest.raises(StoreUnavailable):
        gate.wait(lambda: False)


@pytest.mark.parametrize("probes", [True, False])
def test_a_store_that_became_unusable_halts_the_buying(post: Post, probes: bool) -> None:
    call_id = post.buy()
    post.deliver(call_id, Away(post.store, times=99, error=StoreNotUsable, probes=probes))
    assert post.harness.image(call_id).state == ImageState.PENDING
    assert post.halt.reason is StopReason.STORE


def test_stopping_ends_the_waits_and_keeps_everything(post: Post) -> None:
    post.sandbox.set_faults([{"fault": "download_500", "first_attempts": None}])
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    slow = Downloader(
        fetcher=post.fetcher,
        spool=post.spool,
        open_copy=lambda _uri: (post.store, ""),
        halt=post.halt,
        backoff=Backoff(first=600, maximum=600),
    )
    found: list[ImageFile] = []
    thread = threading.Thread(target=lambda: found.append(slow.download(task)))
    thread.start()
    post.halt.set(StopReason.STOPPED, "SIGTERM")
    thread.join(60)
    assert found[0].state is FileState.LATER
    store = Away(post.store, times=10**9, probes=True)
    ready = ImageFile(task, FileState.READY, path=post.spool.image(task.image_id))
    assert post.uploader(store, patience=600).upload(ready).state is ImageState.PENDING


def test_a_full_disk_is_not_an_images_fault(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SpoolUnavailable("No space left on device")

    for parameters in ({}, {"convert_base64_to_url": False}):
        call_id = post.buy(f"a fox {parameters}", **parameters)
        (task,) = post.tasks(call_id)
        with monkeypatch.context() as patch:
            patch.setattr("prefect_imagen.core.files.AtomicFile.__enter__", full)
            with pytest.raises(SpoolUnavailable):
                post.downloader().download(task)
        assert post.harness.image(call_id).state == ImageState.PENDING


def test_nothing_is_forgotten_before_it_is_recorded(post: Post) -> None:
    call_id = post.buy()
    (task,) = post.tasks(call_id)
    result = post.uploader().upload(post.downloader().download(task))
    post.ledger.close()
    from prefect_imagen.core.ledger import LedgerUnavailable

    with pytest.raises(LedgerUnavailable):
        record(post.ledger, post.spool, [result])
    assert left(post) == [f"images/{call_id}-0", f"replies/{call_id}"]


def test_a_file_that_another_run_of_the_process_removes_is_left_for_later(post: Post) -> None:
    """Two runs of one process may deliver the same image: the one that has stored it removes the file."""
    (task,) = post.tasks(post.buy())
    over = threading.Event()

    def remove() -> None:
        while not over.is_set():
            post.spool.discard(task.image_id)

    with ThreadPoolExecutor(1) as threads:
        removing = threads.submit(remove)
        try:
            files = [post.downloader().download(task) for _ in range(20)]
        finally:
            over.set()
        removing.result()
    later = [file.reason for file in files if file.state is FileState.LATER]
    assert set(later) == {"the file left the spool"}
    assert all(file.state is FileState.READY for file in files if not file.reason)
    assert [file.state for file in post.deliver(task.call_id)] == [FileState.READY]


def test_the_spool_of_a_ledger_is_its_own_and_private(tmp_path: Path) -> None:
    one, two = Spool(tmp_path, "one"), Spool(tmp_path, "two")
    one.image("x").write_bytes(b"1")
    assert not two.image("x").exists()
    assert one.images.stat().st_mode & 0o077 == 0
    assert one.move_to_quarantine("not there") is None
    one.discard("not there")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="PREFECT_IMAGEN_HOME"):
        Spool(tmp_path / "file", "three")


def test_manifests_are_small_and_survive_a_pickle(post: Post) -> None:
    import pickle

    call_id = post.buy()
    (file,) = post.deliver(call_id)
    packed = pickle.dumps(file)
    assert len(packed) < 2000
    assert pickle.loads(packed) == file


# --- the queue -----------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(post: Post) -> Iterator[DeliveryQueue]:
    with ThreadPoolExecutor(4) as pool:
        yield DeliveryQueue(post.downloader(), post.uploader(), pool)


def test_what_is_carried_goes_all_the_way_at_once_and_is_collected(post: Post, queue: DeliveryQueue) -> None:
    call_id = post.buy(num_images=2)
    tasks = post.tasks(call_id)
    before = post.sandbox.stats()["cdn_gets"]
    with queue.tracking([tasks[0].item_id]):
        queue.submit(tasks)
        files = queue.download(tasks)
        assert [file.state for file in files] == [FileState.READY] * 2
        results = queue.upload(files)
    assert [result.state for result in results] == [ImageState.STORED] * 2
    assert [file.task for file in files] == tasks
    assert post.sandbox.stats()["cdn_gets"] - before == 2
    assert len(post.objects()) == 2
    assert left(post) == [f"replies/{call_id}"]  # small images never touch the disk on their way
    record(post.ledger, post.spool, results)
    assert post.harness.state(tasks[0].item_id) is ItemState.DELIVERED
    assert left(post) == []


def test_what_is_not_carried_waits_for_its_steps(post: Post, queue: DeliveryQueue) -> None:
    call_id = post.buy()
    tasks = post.tasks(call_id)
    queue.submit(tasks)
    assert post.objects() == []
    files = queue.download(tasks)
    assert post.spool.image(tasks[0].image_id).exists()
    assert post.objects() == []
    assert [result.state for result in queue.upload(files)] == [ImageState.STORED]


def test_a_second_round_does_not_take_the_first_ones_word(post: Post, queue: DeliveryQueue) -> None:
    """A run that was halted goes through its paid items once more: what failed then is tried anew."""
    call_id = post.buy()
    tasks = post.tasks(call_id)
    post.sandbox.set_faults([{"fault": "download_500"}])
    post.halt.set(StopReason.STOPPED, "no time to try again")
    with queue.tracking([tasks[0].item_id]):
        queue.submit(tasks)
        (file,) = queue.download(tasks)
        assert file.state is FileState.LATER
    post.sandbox.clear_faults()
    post.halt = StopSignal()
    with queue.tracking([tasks[0].item_id]):
        (file,) = queue.download(tasks)
        assert file.state is FileState.READY


class _Away(LocalStore):
    """A store that is away for the first put; notes what the spool held at each."""

    def __init__(self, root: Path, spooled: Path) -> None:
        super().__init__(root)
        self.spooled, self.seen = spooled, []  # type: ignore[var-annotated]

    def put(self, key: str, source: Path | bytes, **options: Any) -> Stored:
        self.seen.append((isinstance(source, bytes), self.spooled.exists()))
        if len(self.seen) == 1:
            raise StoreUnavailable("away")
        return super().put(key, source, **options)


def test_an_image_in_memory_is_on_disk_before_a_store_is_waited_for(post: Post) -> None:
    (task,) = post.tasks(post.buy())
    file, data = post.downloader().load(task)
    assert data is not None
    assert not post.spool.image(task.image_id).exists()
    store = _Away(post.store.root, post.spool.image(task.image_id))
    result = post.uploader(store).upload(file, data)
    assert result.state is ImageState.STORED
    assert store.seen == [(True, False), (False, True)]


def test_bytes_that_are_no_image_are_kept_to_be_looked_at(post: Post) -> None:
    (task,) = post.tasks(post.buy())
    post.sandbox.set_faults([{"fault": "corrupt_image", "first_attempts": None}])
    file, data = post.downloader().load(task)
    assert (file.state, data) == (FileState.BAD, None)
    assert (post.spool.quarantine / task.image_id).exists()
