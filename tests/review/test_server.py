"""Who is let in, what is answered, and what a browser may do with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
import requests

from ..postgres import PostgresServer
from ..waiting import until
from .conftest import Desk, port_of

Desks = Callable[..., Desk]


def test_the_link_lets_in_and_nothing_else_does(desk_of: Desks) -> None:
    desk = desk_of(6)
    url = desk.review()
    origin = url.partition("/?")[0]
    assert origin == f"http://127.0.0.1:{port_of(url)}"
    with requests.Session() as stranger:
        for path in ("", "api/start", "review.js", "pictures/x", f"?token={'x' * 32}"):
            answer = stranger.get(f"{origin}/{path}")
            assert (answer.status_code, "prefect-imagen review" in answer.json()["problem"]) == (401, True)
        assert not stranger.cookies
    with requests.Session() as guest:
        first = guest.get(f"{url}&text=fox", allow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/?text=fox")
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        page = guest.get(f"{origin}/")
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        # A name that somebody else's DNS made point here, and a page of another site.
        assert guest.get(f"{origin}/api/start", headers={"Host": f"evil.example:{port_of(url)}"}).status_code == 403
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": origin.replace("http:", "https:") + "0"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            assert guest.post(f"{origin}/api/verdicts", json={"verdicts": []}, headers=headers).status_code == 403
        body = json.dumps({"verdicts": []})
        form = guest.post(f"{origin}/api/verdicts", data=body, headers={"Content-Type": "text/plain"})
        assert form.status_code == 415
        assert (
            guest.post(f"{origin}/api/verdicts", json={"verdicts": []}, headers={"Origin": origin}).status_code == 200
        )
        # The token ends with the server; whoever was let in stays so.
        desk.kill()
        again = desk.review("--port", port_of(url))
        assert again != url
        assert guest.get(f"{origin}/api/start").status_code == 200
        assert requests.get(url, timeout=10).status_code == 401


def test_pictures_and_thumbnails_are_kept_by_the_browser(desk_of: Desks) -> None:
    desk = desk_of(6)
    url = desk.review()
    origin = url.partition("/?")[0]
    with requests.Session() as guest:
        guest.get(url)
        row, *_ = guest.get(f"{origin}/api/start").json()["rows"]
        small = guest.get(f"{origin}/thumbnails/{row['sha256']}.webp?image={row['image_id']}")
        assert (small.status_code, small.headers["content-type"], small.content[8:12]) == (200, "image/webp", b"WEBP")
        assert "immutable" in small.headers["cache-control"]
        whole = guest.get(f"{origin}/pictures/{row['image_id']}")
        assert hashlib.sha256(whole.content).hexdigest() == row["sha256"]
        assert "immutable" in whole.headers["cache-control"]
        for path in (
            f"thumbnails/{'0' * 64}.webp?image={row['image_id']}",
            "thumbnails/..%2f..%2fledger.db.webp",
            "pictures/x-0",
        ):
            gone = guest.get(f"{origin}/{path}")
            assert (gone.status_code, gone.headers["cache-control"]) == (404, "no-store")


def test_a_verdict_that_cannot_be_recorded_holds_up_no_other(desk_of: Desks) -> None:
    desk = desk_of(6)
    url = desk.review()
    origin = url.partition("/?")[0]
    with requests.Session() as guest:
        guest.get(url)
        row, *_ = guest.get(f"{origin}/api/start").json()["rows"]
        good = {"id": "good", "image_id": row["image_id"], "sha256": row["sha256"], "verdict": "approved"}
        verdicts = [
            {**good, "id": "star", "stars": 6},
            {**good, "id": "word", "verdict": "maybe"},
            {**good, "id": "gone", "image_id": "pi-nope-0"},
            {**good, "id": "other", "sha256": "0" * 64},
            {**good, "id": "when", "at": "yesterday"},
            good,
        ]
        answer = guest.post(f"{origin}/api/verdicts", json={"verdicts": verdicts}).json()
        assert answer["recorded"] == ["good"]
        assert sorted(answer["refused"]) == ["gone", "other", "star", "when", "word"]
        assert "not the picture any more" in answer["refused"]["other"]
        news = guest.get(f"{origin}/api/news?after=0").json()
        assert [(one["image_id"], one["verdict"]) for one in news["rows"]] == [(row["image_id"], "approved")]
        assert guest.get(f"{origin}/api/news?after={news['last']}").json() == {"last": news["last"], "rows": []}
        for after in ("", "-1", "x", "9" * 30, "²"):
            assert guest.get(f"{origin}/api/news", params={"after": after}).status_code == 400
        # A repeat is recorded, once.
        assert guest.post(f"{origin}/api/verdicts", json={"verdicts": [good]}).json()["recorded"] == ["good"]
        for body in (b"[]", b"nonsense", b'{"verdicts": 1}', b"{" * 5_000_000):
            answer = guest.post(f"{origin}/api/verdicts", data=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400
        for query in ("colour=red", "stars=9", "since=soon", "verdict=x", "order=up", "tag=x"):
            answer = guest.get(f"{origin}/api/start?{query}")
            assert (answer.status_code, bool(answer.json()["problem"])) == (400, True)
    with desk.ledger() as ledger:
        assert [verdict.id for verdict in ledger.verdicts.all()] == ["good"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "no run's id begins with 'nope'"),
        (("--reviewer", " "), "the name of its reviewer"),
        (("--port", "0", "--stars", "7"), "less than or equal to 5"),
        (("--since", "soon"), "--since"),
        (("--cost-from", "2", "--cost-to", "1"), "exchange the two"),
        (("--unreviewed", "--verdict", "approved"), "exclude each other"),
        (("--host", "192.0.2.1", "--port", "0"), "cannot listen on 192.0.2.1"),
    ],
    ids=" ".join,
)
def test_bad_input(desk_of: Desks, arguments: tuple[str, ...], message: str) -> None:
    desk = desk_of(6)
    done = desk.run("review", "--no-open", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_a_port_that_is_taken_and_a_catalog_without_pictures(desk_of: Desks) -> None:
    desk = desk_of(6)
    url = desk.review()
    taken = desk.run("review", "--no-open", "--port", port_of(url))
    assert (taken.returncode, "Choose another --port" in taken.stderr) == (2, True)
    empty = desk.run("review", "--no-open", "--catalog", "empty.db")
    assert (empty.returncode, "there is no ledger" in empty.stderr) == (2, True)
    # Where no port is asked for, another one is found.
    other = desk.review()
    assert port_of(other) != port_of(url)


def test_a_database_that_is_away_is_said_and_waited_for(desk_on: Desks, own_postgres: PostgresServer) -> None:
    desk = desk_on(2, own_postgres.url())
    url = desk.review()
    origin = url.partition("/?")[0]
    with requests.Session() as guest:
        guest.get(url)
        row, *_ = guest.get(f"{origin}/api/start").json()["rows"]
        verdict = {"id": "one", "image_id": row["image_id"], "sha256": row["sha256"], "verdict": "approved"}
        own_postgres.stop()
        answer = guest.post(f"{origin}/api/verdicts", json={"verdicts": [verdict]})
        assert (answer.status_code, "does not answer" in answer.json()["problem"]) == (503, True)
        own_postgres.start()

        def recorded() -> list[str]:
            answer = guest.post(f"{origin}/api/verdicts", json={"verdicts": [verdict]})
            return answer.json()["recorded"] if answer.status_code == 200 else []

        assert until(recorded, "the verdict to be recorded") == ["one"]
