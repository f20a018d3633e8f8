"""Image URLs: what they serve, what they refuse, their faults, and keys that never belong there."""

from __future__ import annotations

import http.client
import io
import time

import pytest
import requests
from PIL import Image, UnidentifiedImageError

from ..waiting import until


def url_of(api, prompt: str = "A fox", **fields) -> str:
    return api.make(prompt, **{"seed": 4, **fields}).json()["data"][0]["url"]


def raw_get(api, url: str, **headers: str) -> tuple[int, bytes]:
    """A GET that leaves every byte of the URL as it is."""
    connection = http.client.HTTPConnection(api.server.origin.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", url.removeprefix(api.server.origin), headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_serves_the_file_without_a_key(api):
    url = url_of(api)
    response = api.get(url)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert int(response.headers["content-length"]) == len(response.content)
    head = api.session.head(url, timeout=20)
    assert head.headers["content-length"] == response.headers["content-length"]
    assert api.server.stats()["cdn_gets"] == 1
    assert api.server.stats()["bytes"] == len(response.content)


def test_the_query_belongs_to_the_url(api):
    url = url_of(api)
    assert raw_get(api, url)[0] == 200
    assert raw_get(api, url.partition("?")[0])[0] == 403
    assert raw_get(api, url[:-1] + "#")[0] == 403
    assert raw_get(api, url.replace("%2f", "%2F"))[0] == 200
    assert raw_get(api, url.partition("?")[0] + "x?" + url.partition("?")[2])[0] == 404


def test_exact_query(start):
    api = start(exact_query=True)
    url = url_of(api)
    assert raw_get(api, url)[0] == 200
    assert raw_get(api, url.replace("%2f", "%2F"))[0] == 403


def test_expiry(start):
    api = start(url_expiry=0.3)
    url = url_of(api)
    assert api.get(url).status_code == 200
    until(lambda: api.get(url).status_code == 403, "the URL to expire")


def test_a_key_sent_here_is_told_but_not_kept(api):
    url = url_of(api)
    api.get(url)
    assert api.server.leaks() == []
    raw_get(api, url, Authorization="Bearer very-secret")
    (leak,) = api.server.leaks()
    assert leak["path"] in url
    assert "very-secret" not in str(leak)


@pytest.mark.parametrize(("image_format", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(start, image_format, kind):
    api = start(image_format=image_format)
    url = url_of(api)
    response = api.get(url)
    assert response.headers["content-type"] == f"image/{image_format}"
    assert Image.open(io.BytesIO(response.content)).format == kind
    assert f".{'jpg' if image_format == 'jpeg' else image_format}?" in url
    api.server.set_faults([{"fault": "corrupt_image"}])
    with pytest.raises(OSError, match=r"truncated|could not create decoder"):
        Image.open(io.BytesIO(api.get(url).content)).load()


def test_fast_mode_serves_few_pictures_of_the_size_asked_for(start):
    api = start(pictures="fast", image_bytes=300_000)
    files = {api.get(url_of(api, f"prompt {n}", seed=n)).content for n in range(12)}
    assert len(files) == 4
    assert {len(data) for data in files} == {300_000}


def test_a_cache_of_nothing_draws_the_same_again(start):
    api = start(cache_bytes=0)
    url = url_of(api)
    assert api.get(url).content == api.get(url).content


class TestFaults:
    def test_truncated_download(self, api):
        url = url_of(api)
        api.server.set_faults([{"fault": "truncated_download"}])
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            api.get(url)
        assert api.open(url).size == (1024, 1024)

    def test_html_download(self, api):
        url = url_of(api)
        api.server.set_faults([{"fault": "html_download", "first_attempts": 2}])
        for _ in range(2):
            response = api.get(url)
            assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert api.open(url).size == (1024, 1024)

    @pytest.mark.parametrize(("fault", "status"), [("download_404", 404), ("download_500", 500)])
    def test_statuses(self, api, fault, status):
        url = url_of(api)
        api.server.set_faults([{"fault": fault}])
        assert [api.get(url).status_code for _ in range(2)] == [status, 200]

    def test_for_ever(self, api):
        url = url_of(api)
        api.server.set_faults([{"fault": "download_404", "first_attempts": None}])
        assert [api.get(url).status_code for _ in range(3)] == [404, 404, 404]
        api.server.clear_faults()
        assert api.get(url).status_code == 200

    def test_corrupt_image_is_whole_but_not_an_image(self, api):
        url = url_of(api)
        good = api.get(url).content
        api.server.set_faults([{"fault": "corrupt_image"}])
        bad = api.get(url).content
        assert len(bad) == len(good)
        assert bad[:8] == good[:8]
        with pytest.raises((OSError, SyntaxError, UnidentifiedImageError)):
            Image.open(io.BytesIO(bad)).load()
        assert api.get(url).content == good

    @pytest.mark.parametrize("spread", [False, True])
    def test_slow_download(self, api, spread):
        url = url_of(api)
        good = api.get(url).content
        api.server.set_faults([{"fault": "slow_download", "seconds": 0.4, "spread": spread}])
        begin = time.monotonic()
        assert api.get(url).content == good
        assert time.monotonic() - begin >= 0.35

    def test_a_slow_download_says_nothing_before_its_time(self, api):
        url = url_of(api)
        api.server.set_faults([{"fault": "slow_download", "seconds": 30}])
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=0.3)

    def test_a_slow_download_that_is_spread_begins_at_once(self, api):
        url = url_of(api)
        api.server.set_faults([{"fault": "slow_download", "seconds": 3600, "spread": True}])
        with requests.get(url, timeout=60, stream=True) as response:
            assert response.raw.read(4) == b"\x89PNG"

    def test_rules_choose_by_image_and_match(self, api):
        urls = {prompt: url_of(api, prompt) for prompt in ("a storm", "a calm")}
        api.server.set_faults([{"fault": "download_500", "match": {"prompt_contains": "storm"}}])
        assert api.get(urls["a calm"]).status_code == 200
        assert api.get(urls["a storm"]).status_code == 500

    def test_rates_choose_the_same_images_again(self, start):
        api = start(pictures="fast")

        def struck() -> list[bool]:
            api.server.set_faults([{"fault": "download_404", "rate": 0.4}], seed=3)
            return [api.get(url_of(api, f"prompt {n}", seed=n)).status_code == 404 for n in range(30)]

        first = struck()
        assert 5 <= sum(first) <= 20
        assert struck() == first
