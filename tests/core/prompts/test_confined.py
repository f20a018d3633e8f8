"""What goes too far is ended from outside, and nothing else is."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_imagen.core.processes import IdleProcesses
from prefect_imagen.core.prompts import PromptFileError, PromptSpec, TemplateError, confined

from tests.waiting import until

SLOW_NAMES = 2000

Processes = IdleProcesses[confined._Process]


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Processes of this test alone."""
    ours = Processes(most=2)
    monkeypatch.setattr(confined, "_idle", ours)
    yield ours
    ours.end()


@pytest.fixture
def slow(tmp_path: Path) -> tuple[Path, Path]:
    """Prompts whose second row takes minutes, each step of it within its bounds, and wildcards for it."""
    folder = tmp_path / "wildcards"
    folder.mkdir()
    names = [f"{'x' * 200}{n:05}" for n in range(SLOW_NAMES)]
    (folder / "many.yaml").write_text("".join(f"{name}: [a]\n" for name in names))
    row = "|".join(f"__*{name[-5:]}__" for name in names)
    path = tmp_path / "p.txt"
    path.write_text(f"a {{red|blue}} cat\n{{{row}}}\na dog\n")
    return path, folder


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_processor_time_is_limited_and_the_row_is_named(
    slow: tuple[Path, Path], idle: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined, "SECONDS", 1)
    path, folder = slow
    prompts = PromptSpec(path, wildcards=folder).prompts()
    with pytest.raises(PromptFileError, match=r"p.txt, line 2: the prompt takes more than 1 s of processor time"):
        list(prompts)
    assert [one.text for one in PromptSpec(path, wildcards=folder, limit=2).prompts()] == ["a red cat", "a blue cat"]


def test_memory_is_limited_and_the_row_is_named(
    tmp_path: Path, idle: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined, "MEMORY", 30_000_000)
    path = tmp_path / "p.txt"
    path.write_text("a dog\na {cat|fox}\n" + "{a|b}" * 60_000 + "\n")
    with pytest.raises(PromptFileError, match=r"p.txt, line 3: the prompt takes more than 30 MB of memory"):
        PromptSpec(path).count()
    assert PromptSpec(["{a|b}"]).count() == 2


def test_many_rows_within_the_limit_are_too_much_together(
    slow: tuple[Path, Path], idle: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined, "SECONDS", 1)
    path, folder = slow
    names = path.read_text().splitlines()[1][1:-1].split("|")
    path.write_text("".join("{" + "|".join(names[at : at + 10]) + "}\n" for at in range(0, len(names), 10)))
    with pytest.raises(PromptFileError, match=r"takes more than 1 s of processor time") as caught:
        PromptSpec(path, wildcards=folder).count()
    assert 1 < (caught.value.line or 0) <= SLOW_NAMES // 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_parent(slow: tuple[Path, Path], number: int) -> None:
    path, folder = slow
    code = (
        "import sys; from prefect_imagen.core.prompts import PromptSpec;"
        "PromptSpec(sys.argv[1], wildcards=sys.argv[2]).count()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path), str(folder)]) as parent:
        process = psutil.Process(parent.pid)
        (child,) = until(process.children, "the confined process")
        until(lambda: child.cpu_times().user > 1, "the work to begin")
        parent.send_signal(number)
        assert parent.wait(timeout=60) == -number
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the confined process to end")


def test_plain_prompts_start_no_process(idle: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "_Process", None)
    spec = PromptSpec(["a cat", "50% of $5", "snake_case"] * 100, sample=5)
    assert spec.total() == 300
    assert len(list(spec.prompts())) == 5
    assert [one.text for one in PromptSpec(["{a|b}"], variants=False).prompts()] == ["{a|b}"]


def test_one_process_serves_one_reading_after_the_other(idle: Processes) -> None:
    before = len(children())
    for n in range(5):
        assert PromptSpec([f"{{a|b}} {n}"]).count() == 2
        with pytest.raises(TemplateError):
            PromptSpec(["a"], template="{{ nothing }}").prompts()
        assert len(children()) == before + 1


def test_an_abandoned_reading_leaves_no_process(idle: Processes) -> None:
    before = len(children())
    prompts = PromptSpec(["{0|1|2|3|4|5|6|7|8|9}" * 12]).prompts()
    assert next(prompts).text == "0" * 12
    del prompts
    assert len(children()) == before


def test_no_secret_is_in_its_environment(idle: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", "a-secret-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    before = children()
    assert PromptSpec(["{a|b}"]).count() == 2
    (child,) = children() - before
    assert {"AIMLAPI_API_KEY", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(psutil.Process(child).environ())
    assert os.environ["AIMLAPI_API_KEY"]


def test_readings_at_the_same_time(idle: Processes) -> None:
    found: dict[int, list[str]] = {}

    def read(number: int) -> None:
        found[number] = [one.text for one in PromptSpec([f"{number} {{a|b}}"] * 300).prompts()]

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [f"{n} a", f"{n} b"] * 300 for n in range(4)}


def test_what_is_wrong_with_a_row_shows_when_its_turn_comes(tmp_path: Path, idle: Processes) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt\n{a|b}\nc\nd,e\n")
    prompts = PromptSpec(path).prompts()
    assert [next(prompts).text for _ in range(3)] == ["a", "b", "c"]
    with pytest.raises(PromptFileError, match="line 4: 2 cells"):
        next(prompts)


def test_a_reading_that_is_dropped_within_a_cycle_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector finalizes a cycle in any order: the process's files must not come before who closes them."""
    begun: list[Any] = []
    begin = confined.Confined.__init__

    def noted(self: confined.Confined, *arguments: Any) -> None:
        begun.append(arguments)
        begin(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(confined.Confined, "__init__", noted)
        assert list(PromptSpec(["{a|b} x"]).prompts())
    reading: Any = confined.Confined(*begun[0])
    process = reading._process._process
    reading.itself = reading
    del reading
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gc.collect()
    assert process.poll() is not None
    assert not [one for one in said if issubclass(one.category, ResourceWarning)]
