"""Prompts and wildcards from a real S3 server."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable

import pytest
from prefect_imagen.core.prompts import PromptFileError, PromptSpec, open_source, open_wildcards
from prefect_imagen.core.prompts.s3 import PIECE, S3Object
from prefect_imagen.core.storage import S3Options, StoreNotUsable, StoreUnavailable
from prefect_imagen.sandbox.local_s3 import LocalS3
from pydantic import SecretStr

_numbers = itertools.count()
Put = Callable[[str, str | bytes], str]


@pytest.fixture
def put(prompts_s3: LocalS3) -> Put:
    """Stores an object under a prefix of the test's own and returns its URI."""
    prefix = f"test-{next(_numbers)}"

    def store(key: str, content: str | bytes) -> str:
        body = content if isinstance(content, bytes) else content.encode()
        prompts_s3.client().put_object(Bucket="prompts", Key=f"{prefix}/{key}", Body=body)
        return f"s3://prompts/{prefix}/{key}"

    return store


@pytest.mark.parametrize(
    ("key", "content", "rows"),
    [
        ("p.txt", "\ufeffa cat\r\n\r\n{a|b} dog\r\n", [(1, {"prompt": "a cat"}), (3, {"prompt": "{a|b} dog"})]),
        ("a b/ü.CSV", 'prompt,n\n"two\nlines",1\nx,2\n',
         [(2, {"prompt": "two\nlines", "n": "1"}), (4, {"prompt": "x", "n": "2"})]),
        ("p.tsv", "prompt\tn\nx\t1\n", [(2, {"prompt": "x", "n": "1"})]),
        ("p.jsonl", '{"prompt": "x", "n": 1, "ok": true}\n', [(1, {"prompt": "x", "n": 1, "ok": True})]),
    ],
)  # fmt: skip
def test_formats(put: Put, s3_options: S3Options, key: str, content: str, rows: list[tuple[int, object]]) -> None:
    source = open_source(put(key, content), None, s3_options)
    for _ in range(2):
        assert [(row.line, row.values) for row in source.rows()] == rows


def test_a_spec_reads_source_and_wildcards(put: Put, s3_options: S3Options) -> None:
    uri = put("in/p.csv", "animal\ncat\nfox\n")
    put("wild/colour.txt", "red\nblue\n")
    put("wild/deep/more.yaml", "place: [sea, hill]")
    put("wild/notes.md", "left alone")
    wildcards = uri.replace("in/p.csv", "wild")
    spec = PromptSpec(uri, template="{{ animal }} __colour__ __deep/place__", wildcards=wildcards, s3=s3_options)
    assert spec.count() == 8
    prompts = list(spec.prompts())
    assert prompts[0].text == "cat red sea"
    assert (prompts[-1].source, prompts[-1].line) == (uri, 3)
    assert s3_options.secret_access_key is not None
    assert s3_options.secret_access_key.get_secret_value() not in repr(spec)
    with pytest.raises(PromptFileError, match="no wildcard in it"):
        open_wildcards("s3://prompts/nothing-there", s3_options)


def test_a_large_object_is_read_in_pieces(put: Put, s3_options: S3Options) -> None:
    line = json.dumps({"prompt": "ü" * 500, "n": 1}) + "\n"
    uri = put("large.jsonl", line * 6000)
    assert S3Object(uri, s3_options).size > 3 * PIECE
    source = open_source(uri, None, s3_options)
    assert sum(1 for _ in source.rows()) == 6000
    tracemalloc.start()
    try:
        assert sum(len(row.values["prompt"]) for row in source.rows()) == 3_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * PIECE


def test_an_object_that_changes_while_it_is_read_is_noticed(put: Put, s3_options: S3Options) -> None:
    uri = put("changing.txt", "x" * 999 + "\n" * 1 + ("y" * 999 + "\n") * (2 * PIECE // 1000))
    rows = open_source(uri, None, s3_options).rows()
    next(rows)
    put("changing.txt", ("z" * 999 + "\n") * (2 * PIECE // 1000))
    with pytest.raises(PromptFileError, match="changed while it was being read"):
        list(rows)


def test_what_is_not_there(put: Put, s3_options: S3Options) -> None:
    uri = put("p.txt", "")
    with pytest.raises(PromptFileError, match="the file is empty"):
        open_source(uri, None, s3_options)
    with pytest.raises(PromptFileError, match="no such object"):
        open_source(uri.replace("p.txt", "q.txt"), None, s3_options)
    with pytest.raises(PromptFileError, match="no such object, or no such bucket"):
        open_source("s3://no-such-bucket-here/p.txt", None, s3_options)
    for place in ("s3://prompts", "s3://prompts/folder/"):
        with pytest.raises(PromptFileError, match="name the object"):
            open_source(place, "txt", s3_options)
    with pytest.raises(PromptFileError, match=r"'\.doc' is not known"):
        open_source("s3://prompts/p.doc", None, s3_options)


def test_a_server_that_refuses_or_is_gone(put: Put, s3_options: S3Options) -> None:
    uri = put("p.txt", "x")
    wrong = s3_options.model_copy(update={"access_key_id": SecretStr("wrong"), "secret_access_key": SecretStr("key")})
    with pytest.raises(StoreNotUsable) as refused:
        open_source(uri, None, wrong)
    assert "key" not in str(refused.value).replace("access key", "").replace("keys", "")
    gone = s3_options.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(StoreUnavailable):
        open_source(uri, None, gone)
