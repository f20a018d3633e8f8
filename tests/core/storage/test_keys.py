from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.storage import (
    KeyTemplate,
    LocalStore,
    S3Options,
    S3Store,
    check_key,
    join_prefix,
    open_store,
    safe_segment,
)

ITEM = "ab" * 32
VALUES = {"model": "google/imagen4/preview", "item_id": ITEM, "call": 1, "index": 0, "ext": "png"}


class TestTemplate:
    def test_default(self) -> None:
        assert KeyTemplate().key(**VALUES) == f"google/imagen4/preview/{ITEM}/1-0.png"

    @pytest.mark.parametrize(
        ("template", "key"),
        [
            ("{date}/{item_id}-{index:03d}.{ext}", f"2026-11-23/{ITEM}-000.png"),
            ("{call:02}-{index}", "01-0"),
            ("{sha256}", "f" * 64),
            ("{{x}}/{edition}/{call}-{index}", "{x}/spring_sale/1-0"),
        ],
    )
    def test_templates(self, template: str, key: str) -> None:
        made = KeyTemplate(template)
        assert made.key(**VALUES, date="2026-11-23", sha256="f" * 64, edition="spring sale", other=1) == key

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("{item_id}/{}-{index}", "unknown field"),
            ("{item_id.__class__}/{index}", "unknown field"),
            ("{item_id[0]}/{index}", "unknown field"),
            ("{item_id!r}/{index}", "takes no format"),
            ("{item_id:>100}/{index}", "takes no format"),
            ("{item_id}/{index:{ext}}", "takes no format"),
            ("{item_id}/{index:99999d}", "takes no format but a width"),
            ("{item_id}/{index", "key template"),
            ("", "is empty"),
            ("/{item_id}/{index}", "starts or ends with '/'"),
            ("../{item_id}/{index}", "'..' segment"),
            ("{item_id}//{index}", "empty"),
            ("{item_id}\n{index}", "control"),
        ],
    )
    def test_bad_templates(self, template: str, message: str) -> None:
        with pytest.raises(BadInput, match=message):
            KeyTemplate(template)

    @pytest.mark.parametrize(
        ("template", "key"),
        [
            ("{call}.{ext}", r"1-[0-9a-f]{10}\.png"),
            ("{model}/{index}", r"google/imagen4/preview/0-[0-9a-f]{10}"),
            ("{product}/{line:04d}-{slug}.{ext}", r"Mug_No_5/0007-a-red-fox-creme-brulee-[0-9a-f]{10}\.png"),
            ("{row[price per unit]}-{slug}.{ext}", r"none-a-red-fox-creme-brulee-[0-9a-f]{10}\.png"),
        ],
    )
    def test_where_names_could_meet_a_short_id_tells_them_apart(self, template: str, key: str) -> None:
        made = KeyTemplate(template)
        values = {**VALUES, "row": {"product": "Mug No/5"}, "line": 7, "slug": "A red fox; crème brûlée!"}
        one, same, other = made.key(**values), made.key(**values), made.key(**{**values, "item_id": "cd" * 32})
        assert re.fullmatch(key, one)
        assert one == same != other

    def test_long_prompts_and_other_scripts(self) -> None:
        made = KeyTemplate("{slug}.{ext}")
        assert re.fullmatch(r"(word-){11}word-\w{10}\.png", made.key(**VALUES, slug="word " * 90))
        assert re.fullmatch(r"none-\w{10}\.png", made.key(**VALUES, slug="赤い狐"))

    def test_a_column_that_is_not_there_is_said(self) -> None:
        message = r"unknown field \{prodct\}; did you mean \{product\}\? known are .*\{light\}"
        with pytest.raises(BadInput, match=message):
            KeyTemplate("{prodct}.{ext}").check_columns(["product", "light"])

    def test_a_value_is_missing(self) -> None:
        with pytest.raises(BadInput, match=r"no value for \{ext\}"):
            KeyTemplate().key(**{**VALUES, "ext": ""})

    @given(st.dictionaries(st.sampled_from(["model", "item_id", "ext", "edition"]), st.text(min_size=1)))
    def test_no_value_makes_a_bad_key(self, values: dict[str, str]) -> None:
        template = KeyTemplate("{edition}/{model}/{item_id}/{call}-{index}.{ext}")
        key = template.key(**{**VALUES, "edition": "e", **values})
        assert check_key(key) == key
        assert re.fullmatch(r"[A-Za-z0-9._=@+/-]+", key)
        assert not {"", ".", ".."} & set(key.split("/"))

    @pytest.mark.parametrize(
        ("model", "folder"),
        [("../../etc/passwd", "_./_./etc/passwd"), ("a//b/", "a/b"), ("/", "_"), ("a\u202eb/c d", "a_b/c_d")],
    )
    def test_models(self, model: str, folder: str) -> None:
        assert KeyTemplate().key(**{**VALUES, "model": model}) == f"{folder}/{ITEM}/1-0.png"


def test_long_segments_stay_apart() -> None:
    one, other = safe_segment("x" * 200 + "1"), safe_segment("x" * 200 + "2")
    assert len(one) == len(other) == 100
    assert one != other


@given(st.lists(st.text("ab.", min_size=1), max_size=3).map("/".join), st.text("ab/.", min_size=1))
def test_joining_twice_is_joining_once(prefix: str, key: str) -> None:
    try:
        once = join_prefix(prefix, key)
    except BadInput:
        return
    assert join_prefix(prefix, once) == once
    assert join_prefix(f"/{prefix}/", key) == once


class TestOpen:
    @pytest.mark.parametrize(
        ("uri", "destination"),
        [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("file:///srv/my%20pictures/", "file:///srv/my%20pictures"),
            ("file://localhost/srv", "file:///srv"),
            ("/srv/../srv/x/", "file:///srv/x"),
        ],
    )
    def test_destination(self, uri: str, destination: str) -> None:
        store = open_store(uri)
        assert store.destination == destination
        assert open_store(store.destination).destination == destination
        assert store.uri("k/1.png") == f"{destination}/k/1.png"

    def test_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert open_store("out").destination == f"{tmp_path.as_uri()}/out"

    def test_kinds_and_options(self) -> None:
        store = open_store("s3://bucket/p", endpoint_url="http://127.0.0.1:1", region=None, addressing_style="path")
        assert isinstance(store, S3Store)
        assert store.options == S3Options(endpoint_url="http://127.0.0.1:1", addressing_style="path")
        assert isinstance(open_store("/srv", region=None), LocalStore)

    @pytest.mark.parametrize(
        ("uri", "options", "message"),
        [
            ("", {}, "empty"),
            ("gs://bucket/x", {}, "not to gs://"),
            ("s3://", {}, "bucket name"),
            ("s3://Bad_Bucket/x", {}, "bucket name"),
            ("s3://key:hush@bucket/x", {}, "holds a login"),
            ("https://user:hush@host/x", {}, "not to https://"),
            ("file:///srv?password=hush", {}, "file:///absolute/folder"),
            ("s3://bucket/../x", {}, "segment"),
            ("file://host/x", {}, "file:///absolute/folder"),
            ("/srv", {"region": "eu"}, "takes no options"),
            ("s3://bucket", {"regoin": "eu"}, "regoin"),
            ("s3://bucket", {"access_key_id": "a"}, "belong together"),
            ("s3://bucket", {"session_token": "hush"}, "session_token needs"),
            ("s3://bucket", {"addressing_style": "dns"}, "addressing_style"),
            ("s3://bucket", {"endpoint_url": "http://user:hush@host"}, "endpoint_url must be"),
        ],
    )
    def test_refused(self, uri: str, options: dict[str, str], message: str) -> None:
        with pytest.raises(BadInput, match=message) as caught:
            open_store(uri, **options)
        assert "hush" not in str(caught.value)
