"""Every bad input: exit code 2, one message that says what to do, nothing sent, nothing billed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import Said, Terminal

FILES = {
    "prompts.csv": "prompt,style\na fox,oil\na dog,ink\n",
    "empty.txt": "",
    "blank.txt": "\n \n",
    "open.txt": "a {red fox\n",
    "long.txt": "a fox\n" + "x" * 401 + "\n" + "y" * 500 + "\n",
    "fields.txt": "{{ nothing",
}

BAD: dict[str, tuple[list[str], str]] = {
    "no file": (["nope.csv"], r"nope\.csv: there is no such file"),
    "empty file": (["empty.txt"], r"empty\.txt: .*empty"),
    "blank file": (["blank.txt"], r"blank\.txt: "),
    "unknown column": (["prompts.csv", "--prompt-column", "promt"], r"no column 'promt'; did you mean 'prompt'"),
    "unknown variable": (["prompts.csv", "--template", "{{ stile }}"], r"no column 'stile'; did you mean style"),
    "unclosed brace": (["open.txt"], r"open\.txt, line 1: unclosed '\{'"),
    "broken template": (["prompts.csv", "--template", "@fields.txt"], r"template"),
    "no template file": (["prompts.csv", "--template", "@nope.txt"], r"--template: cannot read nope\.txt"),
    "too long": (["long.txt"], r"2 of 3 prompts(?s:.*)long\.txt:2: .*401.*limit is 400(?s:.*)long\.txt:3: .*500"),
    "unknown model": (["prompts.csv", "--model", "google/imagen4/previw"], r"unknown model.*google/imagen4/preview"),
    "unknown contract": (["prompts.csv", "--model", "imagen4/preview@2020"], r"no contract '2020'.*2025-11"),
    "withdrawn model": (
        ["prompts.csv", "--model", "imagen-4.0-ultra-generate-preview-06-06"],
        r"withdrawn.*2026-03-29.*--model google/imagen-4\.0-ultra-generate-001",
    ),
    "aspect ratio": (["prompts.csv", "--aspect-ratio", "21:9"], r"aspect_ratio: '21:9' is not allowed \(one of 1:1"),
    "num_images": (["prompts.csv", "--num-images", "9"], r"num_images: 9 is not allowed \(an integer, 1 to 4\)"),
    "unknown field": (["prompts.csv", "--set", "enhance_promt=no"], r"did you mean enhance_prompt\?"),
    "field without value": (["prompts.csv", "--set", "seed"], r"--set: 'seed' is not of the form NAME=VALUE"),
    "field twice": (["prompts.csv", "--seed", "1", "--set", "seed=2"], r"--set: 'seed' is given by --seed already"),
    "unknown language model": (
        ["prompts.csv", "--rewrite", "gpt-4o-mni"],
        r"price of the language model 'gpt-4o-mni' is not known; did you mean .*gpt-4o-mini.*--rewrite-price IN,OUT",
    ),
    "price of a language model": (
        ["prompts.csv", "--rewrite", "my/model", "--rewrite-price", "cheap"],
        r"rewrite_price: 'cheap' is not of the form IN,OUT",
    ),
    "rewrites": (["prompts.csv", "--rewrite", "gpt-4o-mini", "--rewrites", "0"], r"'--rewrites'"),
    "brief without a model": (["prompts.csv", "--brief", "calm"], r"brief is about rewriting.*--rewrite"),
    "no brief file": (["prompts.csv", "--rewrite", "gpt-4o-mini", "--brief", "@nope.md"], r"--brief: cannot read nope"),
    "fallback": (["prompts.csv", "--rewrite", "gpt-4o-mini", "--rewrite-fallback", "drop"], r"'--rewrite-fallback'"),
    "budget below text and image": (
        ["prompts.csv", "--rewrite", "gpt-4o-mini", "--budget-usd", "0.0531"],
        r"below the price of one item.*and a rewritten prompt by openai/gpt-4o-mini",
    ),
    "tag": (["prompts.csv", "--tag", "spring"], r"--tag: 'spring' is not of the form"),
    "budget below an item": (["prompts.csv", "--budget-usd", "0.01"], r"budget of \$0\.01 is below .* \$0\.053"),
    "budget no number": (
        ["prompts.csv", "--budget-usd", "nan"],
        r"--budget-usd: nan .* should be a finite number",
    ),
    "budget no text": (["prompts.csv", "--budget-usd", "much"], r"'--budget-usd'.*number.*run --help"),
    "concurrency": (["prompts.csv", "--concurrency", "0"], r"'--concurrency'"),
    "rate": (
        ["prompts.csv", "--requests-per-minute=-1"],
        r"--requests-per-minute: -1\.0 is not allowed",
    ),
    "chunk size": (["prompts.csv", "--chunk-size", "all"], r"--chunk-size: 'all' is not allowed"),
    "chunk size range": (["prompts.csv", "--chunk-size", "0"], r"--chunk-size: '0' is not allowed"),
    "unknown option": (["prompts.csv", "--promt-column", "x"], r"No such option.*--promt-column"),
    "no API there": (["prompts.csv", "--base-url", "http://127.0.0.1:1"], r"cannot reach the API at 127\.0\.0\.1:1"),
    "no URL": (["prompts.csv", "--base-url", "ftp://x"], r"base URL 'ftp://x'"),
    "destination": (["prompts.csv", "--to", "gs://bucket"], r"not to gs://"),
    "folder that cannot be": (["prompts.csv", "--to", "/proc/images"], r"file:///proc/images: "),
    "endpoint of a folder": (["prompts.csv", "--endpoint-url", "http://127.0.0.1:1"], r"a folder takes no options"),
    "catalog away": (
        ["prompts.csv", "--catalog", "postgresql://app:hush@127.0.0.1:1/db"],
        r"catalog at postgresql\+psycopg://app:\*\*\*@127\.0\.0\.1:1/db does not answer",
    ),
    "no such database": (["prompts.csv", "--catalog", "mysql://x/y"], r"a mysql database cannot hold the ledger"),
    "catalog in no folder": (["prompts.csv", "--catalog", "/proc/nope/ledger.db"], r"folder /proc/nope cannot be made"),
}


def assert_refused(said: Said, pattern: str, terminal: Terminal) -> None:
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("error: ") == 1
    assert re.search(pattern, said.err), said.err
    assert terminal.sandbox.calls() == []
    assert terminal.sandbox.bill()["entries"] == []


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, here: Callable[..., Said], terminal: Terminal) -> None:
    for file, text in FILES.items():
        terminal.write(file, text)
    arguments, pattern = BAD[name]
    where = [] if "--to" in arguments else ["--to", "images"]
    said = here("run", *arguments, *where)
    assert_refused(said, pattern, terminal)
    assert "hush" not in said.err


def test_no_key(here: Callable[..., Said], terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.write("prompts.txt", "a fox\n")
    for key in (None, "  "):
        monkeypatch.delenv("AIMLAPI_API_KEY") if key is None else monkeypatch.setenv("AIMLAPI_API_KEY", key)
        assert_refused(here("run", "prompts.txt", "--to", "images"), "no API key: set AIMLAPI_API_KEY", terminal)


def test_missing_arguments(here: Callable[..., Said], terminal: Terminal) -> None:
    assert_refused(here("run"), r"PROMPTS.*`prefect-imagen run --help`", terminal)
    assert_refused(here("run", "x.txt"), r"'--to'", terminal)
    assert_refused(here("paint"), r"No such command 'paint'.*`prefect-imagen --help`", terminal)


@pytest.fixture(scope="module")
def s3(s3_server: LocalS3) -> LocalS3:
    s3_server.create_bucket("there")
    return s3_server


@pytest.mark.parametrize(
    ("bucket", "secret", "pattern"),
    [
        ("missing", None, r"s3://missing.*the bucket does not exist; create it"),
        ("there", "not-the-secret", r"s3://there.*secret access key does not fit"),
        ("Bad_Name", None, r"'Bad_Name' is not a bucket name"),
    ],
)
def test_a_bucket_that_cannot_be_written(
    bucket: str,
    secret: str | None,
    pattern: str,
    s3: LocalS3,
    here: Callable[..., Said],
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal.write("prompts.txt", "a fox\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret or s3.secret_key)
    said = here("run", "prompts.txt", "--to", f"s3://{bucket}/x", "--endpoint-url", s3.endpoint_url)
    assert_refused(said, pattern, terminal)
    assert s3.secret_key not in said.err


def test_a_store_that_does_not_answer(
    here: Callable[..., Said], terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.write("prompts.txt", "a fox\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    said = here("run", "prompts.txt", "--to", "s3://bucket/x", "--endpoint-url", "http://127.0.0.1:1")
    assert_refused(said, r"cannot connect to the store", terminal)


def test_many_bad_prompts_are_all_named(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("prompts.txt", "".join(f"{'x' * (401 + n)}\n" for n in range(60)))
    said = here("run", "prompts.txt", "--to", "images")
    assert_refused(said, r"60 of 60 prompts", terminal)
    assert re.findall(r"prompts\.txt:(\d+): ", said.err) == [str(line) for line in range(1, 61)]


def test_the_other_commands(here: Callable[..., Said], terminal: Terminal, tmp_path: Path) -> None:
    assert_refused(here("status"), r"there is no ledger at .*ledger\.db", terminal)
    assert_refused(here("models", "imagen5"), r"unknown model 'imagen5'", terminal)
    assert_refused(here("plan", "nope.txt"), r"nope\.txt", terminal)
    assert_refused(here("sandbox", "--image-bytes", "0"), r"--image-bytes", terminal)
    assert_refused(here("demo", "--output", "/proc/demo"), r"--output: /proc/demo cannot be written", terminal)
    port = terminal.sandbox.origin.rpartition(":")[2]
    assert_refused(here("sandbox", "--port", port), r"cannot listen on 127\.0\.0\.1:", terminal)
    assert not (tmp_path / "ledger.db").exists()
