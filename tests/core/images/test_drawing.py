"""The processes that draw, and the budget that they share."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.images import DecoderUnavailable, NotAnImage, drawing, inspect, thumbnail
from prefect_imagen.core.images.drawing import BUDGET_VARIABLE, close_decoders, decoding_budget
from prefect_imagen.core.images.signature import JPEG, WEBP
from prefect_imagen.core.memory import Budget

from ...waiting import until


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(out, kind, **options)
    return out.getvalue()


def decoders() -> list[int]:
    return [decoder._process.pid for decoder in drawing._idle._waiting.get("", [])]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    close_decoders()
    decoding_budget.cache_clear()
    yield
    close_decoders()
    decoding_budget.cache_clear()


def test_a_process_is_kept_for_the_next_picture() -> None:
    inspect(picture())
    first = decoders()
    inspect(picture("WEBP"))
    assert decoders() == first
    assert len(first) == 1
    close_decoders()
    assert not Path(f"/proc/{first[0]}").exists()


def test_no_more_processes_than_are_of_use() -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(inspect, [picture("WEBP", (600, 400))] * 64))
    assert 1 <= len(decoders()) <= 4


def test_a_decoder_knows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", "s3cret")
    inspect(picture())
    (pid,) = decoders()
    assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_decoder_that_dies_is_an_answer_and_the_next_picture_gets_another() -> None:
    inspect(picture())
    (pid,) = decoders()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(NotAnImage, match="its decoder did not survive it"):
        inspect(picture())
    assert inspect(picture()).width == 64


def test_time_of_the_processor_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "CPU_SECONDS", 0)
    data = picture(size=(2000, 2000), progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    endless = data[:last] + data[last:end] * 2000 + b"\xff\xd9"  # not what `inspect` would have drawn
    with pytest.raises(NotAnImage, match="not decoded within 0 s of processor time"):
        drawing.draw(JPEG, endless, need=200 * 2**20, pixels=4_000_000)


def test_time_by_the_clock_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    inspect(picture())
    (pid,) = decoders()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(drawing, "_DEADLINE", 0.2)
    with pytest.raises(NotAnImage, match="its decoder did not survive it"):
        inspect(picture())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is one of Linux")
def test_memory_is_limited() -> None:
    """Were a decoder to take more than is known of it, it would not get it."""
    data = picture("WEBP", (3000, 3000), lossless=True)
    answer = drawing.draw(WEBP, data, need=20 * 2**20, pixels=9_000_000)
    assert "error" in answer
    assert "error" not in drawing.draw(WEBP, data, need=200 * 2**20, pixels=9_000_000)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("side", [100, 1000])
def test_what_is_reserved_is_enough(kind: str, side: int) -> None:
    image = Image.effect_noise((side, side), 90).convert("P" if kind == "GIF" else "RGB")
    out = io.BytesIO()
    image.save(out, kind)
    assert inspect(out.getvalue()).damage is None


def test_a_picture_beyond_the_budget_is_kept_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUDGET_VARIABLE, str(64 * 2**20))
    facts = inspect(picture("WEBP", (3000, 3000), lossless=True))
    assert (facts.width, facts.checked) == (3000, False)
    assert facts.damage is not None
    assert facts.damage.startswith("not checked: drawing it takes ")
    assert decoders() == []


@pytest.mark.parametrize("text", ["a lot", "-1", "1e9", "1000", "9" * 30])
def test_a_budget_that_is_none_is_bad_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(BUDGET_VARIABLE, text)
    with pytest.raises(BadInput, match=BUDGET_VARIABLE):
        decoding_budget()


def test_no_more_than_the_budget_is_held_at_once() -> None:
    budget = Budget(100)
    held, most, lock = 0, 0, threading.Lock()

    def hold(amount: int) -> None:
        nonlocal held, most
        with budget.holding(amount):
            with lock:
                held += min(amount, 100)
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= min(amount, 100)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hold, [7, 40, 60, 100, 3, 900, 55, 1] * 6))
    assert (held, most) == (0, 100)


def test_a_system_that_starts_no_process_is_not_the_picture_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing.sys, "executable", "/nowhere/python")
    with pytest.raises(DecoderUnavailable, match="No such file"):
        inspect(picture())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_draws_by_itself() -> None:
    inspect(picture())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if inspect(picture()).width == 64 else 2
            close_decoders()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert inspect(picture()).width == 64


def test_thumbnails() -> None:
    small = thumbnail(picture("WEBP", (640, 480)), 64)
    assert small is not None
    assert (small.size, small.mode) == ((64, 48), "RGB")
    assert all(abs(got - wanted) < 12 for got, wanted in zip(small.getpixel((5, 5)), (200, 100, 50), strict=True))  # type: ignore[arg-type]
    for none in (b"<html>", b"<svg>", picture()[:300], picture("WEBP", (6000, 6000), lossless=True, method=0)):
        assert thumbnail(none, 64) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes are looked at in /proc")
def test_no_decoder_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    code = (
        "import sys, time; from pathlib import Path; from prefect_imagen.core.images import drawing, inspect;"
        'inspect(Path(sys.argv[1])); print(drawing._idle._waiting[""][0]._process.pid, flush=True); time.sleep(60)'
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "a.jpg")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        process.kill()
        status = Path(f"/proc/{pid}/status")
        until(lambda: not status.exists() or "zombie" in status.read_text(), "the decoder to end")


def test_a_large_file_after_a_small_one_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a process: what one may take does not bound the other. Nor does a profile spoil a picture."""
    small = picture()
    segments = b"".join(b"\xff\xe1" + (65_535).to_bytes(2) + b"A" * 65_533 for _ in range(400))
    profiled = picture("WEBP", icc_profile=bytes(20_000_000))
    for data in (small, small[:2] + segments + small[2:], small, profiled):
        facts = inspect(data)
        assert (facts.width, facts.height, facts.damage, facts.checked) == (64, 48, None, True)
