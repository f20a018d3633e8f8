"""The page in a browser: everything by keys, nothing lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from prefect_imagen.core.ledger import ImageFilter, VerdictValue
from prefect_imagen.sandbox import SandboxServer

from .conftest import Desk, all_sent, current, port_of, press, tile

Desks = Callable[..., Desk]
Browse = Callable[..., Page]


def test_thirty_pictures_are_judged_by_keys_alone(desk_of: Desks, browse: Browse) -> None:
    desk = desk_of(30)
    page = browse(desk.review())
    assert page.locator("h1").inner_text() == "30 pictures"
    judged: dict[str, tuple[str, str]] = {}
    for turn in range(30):
        here = current(page)
        assert here not in judged
        stars = str(turn % 6)
        verdict = ("approved", "rejected")[turn % 2]
        press(page, stars, "p" if verdict == "approved" else "x")
        judged[here] = (verdict, stars)
        assert tile(page, here) == (verdict, stars)
    assert current(page) == here, "the last one keeps the focus"
    expect(page.locator("#counts")).to_have_text("0 to review · 15 approved · 15 rejected")

    # Undo goes back to the picture; U clears its verdict and leaves its stars.
    press(page, "Control+z")
    assert (current(page), tile(page, here)) == (here, ("none", "5"))
    press(page, "x", "ArrowLeft")
    second = current(page)
    press(page, "u")
    assert tile(page, second) == ("none", "4")
    judged[second] = ("none", "4")
    all_sent(page)

    with desk.ledger() as ledger:
        found = ledger.verdicts.latest(judged)
        assert {name: (review.verdict, str(review.stars)) for name, review in found.items()} == judged
        assert {review.reviewer for review in found.values()} == {"ada"}
        rows = {row["image_id"]: row["sha256"] for row in ledger.catalog.rows()}
        assert {name: review.sha256 for name, review in found.items()} == rows

    # It opens where one left off.
    again = browse(desk.review("--unreviewed"))
    assert current(again) == second
    assert again.locator("[data-image-id]").count() == 1


def test_what_was_not_sent_when_the_server_died_is_sent_by_the_next_one(desk_of: Desks, browse: Browse) -> None:
    desk = desk_of(30)
    url = desk.review()
    page = browse(url)
    ids = [page.locator("[data-image-id]").nth(n).get_attribute("data-image-id") for n in range(6)]
    press(page, "p")
    all_sent(page)
    desk.kill()
    press(page, "p", "x", "p", "3")
    page.wait_for_selector('[data-unsent="4"]')
    assert page.locator("[data-unsent]").inner_text() == "4"
    expect(page.locator("#unsent")).to_have_text("4 unsent: the server is away")
    assert tile(page, str(ids[1])) == ("approved", "0")

    # The open page goes on with the new server; its link is another one.
    again = desk.review("--port", port_of(url))
    assert again != url
    all_sent(page)
    desk.kill()
    press(page, "x")
    page.wait_for_selector('[data-unsent="1"]')
    # So does a page that was closed meanwhile.
    context = page.context
    page.close()
    late = context.new_page()
    late.goto(desk.review("--port", port_of(url)))
    late.wait_for_selector('[aria-current="true"][data-image-id]')
    all_sent(late)
    with desk.ledger() as ledger:
        found = ledger.verdicts.latest(map(str, ids))
        assert [found[str(name)].verdict for name in ids[:5]] == [
            "approved",
            "approved",
            "rejected",
            "approved",
            "rejected",
        ]
        assert found[str(ids[4])].stars == 3


def test_two_browsers_at_once_lose_nothing(desk_on: Desks, browse: Browse, postgres_url: str) -> None:
    desk = desk_on(24, postgres_url)
    ada, ben = browse(desk.review("--reviewer", "ada")), browse(desk.review("--reviewer", "ben"))
    press(ben, "End")
    for _ in range(10):
        press(ada, "p")
        press(ben, "2", "x", "ArrowLeft", "ArrowLeft")
    # Both speak of one picture: what each says of it stays.
    press(ada, "Home", "5")
    press(ben, "Home", "x")
    for page in (ada, ben):
        all_sent(page)
    # Each shows what the other has said, without being loaded again.
    for page in (ada, ben):
        expect(page.locator("#counts")).to_have_text("4 to review · 9 approved · 11 rejected")
        page.keyboard.press("Home")
        expect(page.locator('[aria-current="true"]')).to_have_attribute("data-verdict", "rejected")
        expect(page.locator('[aria-current="true"]')).to_have_attribute("data-stars", "5")
    with desk.ledger() as ledger:
        counts = ledger.review.counts(ImageFilter()).verdicts
        assert (counts[VerdictValue.APPROVED], counts[VerdictValue.REJECTED]) == (9, 11)
        said = list(ledger.verdicts.all())
        assert [sum(verdict.reviewer == name for verdict in said) for name in ("ada", "ben")] == [11, 21]
        first = current(ada)
        assert (ledger.verdicts.latest([first])[first].verdict, ledger.verdicts.latest([first])[first].stars) == (
            "rejected",
            5,
        )


def test_what_is_rejected_is_made_anew_once_and_delivered(desk_on: Desks, browse: Browse, tmp_path: Path) -> None:
    with SandboxServer(pictures="drawn") as sandbox:
        desk = desk_on(4, str(tmp_path / "ledger.db"), sandbox)
        ada, ben = browse(desk.review()), browse(desk.review("--reviewer", "ben"))
        first = current(ada)
        press(ada, "x", "ArrowLeft", "r")
        expect(ada.locator("#status")).to_contain_text("Asked for another seed")
        press(ben, "r")
        expect(ben.locator("#status")).to_contain_text("Asked for another seed")
        press(ada, "ArrowRight", "e")
        assert ada.locator("dialog#edit textarea").input_value() == ada.locator("[aria-posinset='2'] span").inner_text()
        press(ada, "End")
        ada.keyboard.type(" at night")
        press(ada, "Enter")
        expect(ada.locator("#status")).to_contain_text("Asked for an edited prompt")
        # What is the same, or nothing, is refused, and the page says why.
        press(ada, "e", "Enter")
        expect(ada.locator("#status")).to_contain_text("not asked for")
        assert ada.locator("[data-asked]").count() == 2
        all_sent(ada)

        plan = desk.run("plan", "--regenerations")
        assert plan.returncode == 0, plan.stderr
        assert len(sandbox.bill()["entries"]) == 4, "asking costs nothing"
        for _ in range(2):
            bought = desk.run("regenerate", "--budget-usd", "1")
            assert bought.returncode == 0, bought.stderr
            assert len(sandbox.bill()["entries"]) == 6

        # Old and new side by side; the new one is approved there.
        ada.reload()
        expect(ada.locator("[data-image-id]")).to_have_count(6)
        press(ada, "Home")
        assert current(ada) == first
        press(ada, "c", "ArrowRight")
        figures = ada.locator("dialog#compare figure")
        expect(figures).to_have_count(2)
        assert figures.nth(0).get_attribute("data-compare-id") == first
        new = str(figures.nth(1).get_attribute("data-compare-id"))
        press(ada, "p", "Escape")
        assert (tile(ada, first)[0], tile(ada, new)[0]) == ("rejected", "approved")
        all_sent(ada)
        delivered = desk.run("deliver", "--to", "shop", "--json")
        assert delivered.returncode == 0, delivered.stderr
        (line,) = (tmp_path / "shop" / "manifest.jsonl").read_text().splitlines()
        assert json.loads(line)["image_id"] == new


def test_loupe_comparison_selection_search_and_help(desk_of: Desks, browse: Browse) -> None:
    page = browse(desk_of(30).review())
    first = current(page)
    press(page, "l", "h")
    assert current(page) == first
    press(page, "j", "k", "Shift+ArrowRight", "Shift+ArrowRight")
    assert page.locator('[aria-selected="true"]').count() == 3
    # A verdict goes to all that is selected, and undo takes all of it back.
    press(page, "x")
    assert page.locator('[data-verdict="rejected"]').count() == 3
    press(page, "Control+z")
    assert page.locator('[data-verdict="rejected"]').count() == 0

    press(page, "Home", "Space")
    loupe = page.locator("dialog#loupe")
    number = int(str(loupe.locator("img").get_attribute("alt")).removeprefix("fox number "))
    assert f"prompts.txt, line {number + 1}" in loupe.inner_text()
    assert "$0.052" in loupe.inner_text()
    press(page, "z")
    expect(loupe.locator("img")).to_have_js_property("naturalWidth", 1024)
    box = loupe.locator("img").bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (1024, 1024)
    press(page, "ArrowRight", "p")
    third = page.locator("[aria-posinset='3'] span").inner_text()
    page.wait_for_selector(f"dialog#loupe img[alt='{third}']")
    press(page, "Escape")
    assert not loupe.is_visible()
    assert tile(page, page.locator("[aria-posinset='2']").get_attribute("data-image-id") or "") == ("approved", "0")

    press(page, "Home", "c")
    page.wait_for_selector("dialog#compare figure >> nth=1")
    press(page, "ArrowRight", "x", "Escape")
    assert page.locator("[aria-posinset='2']").get_attribute("data-verdict") == "rejected"

    press(page, "/")
    page.keyboard.type("number 07")
    press(page, "Enter")
    expect(page.locator("[data-image-id]")).to_have_count(1)
    press(page, "5")
    assert page.locator("[data-image-id]").get_attribute("data-stars") == "5"
    press(page, "?")
    assert page.locator("dialog#help").is_visible()
    press(page, "p", "?")
    assert not page.locator("dialog#help").is_visible()
    assert page.locator("[data-image-id]").get_attribute("data-verdict") == "none", (
        "keys of a dialog hit nothing below it"
    )


def test_a_key_never_hits_what_is_out_of_sight(desk_of: Desks, browse: Browse) -> None:
    page = browse(desk_of(30).review(), viewport={"width": 500, "height": 500})
    first = current(page)
    page.evaluate("document.getElementById('grid').scrollTop = 2000")
    press(page, "x")
    assert tile(page, first) == ("none", "0")
    assert page.evaluate("document.getElementById('grid').scrollTop") < 200
    press(page, "x")
    assert tile(page, first) == ("rejected", "0")


def test_a_picture_that_is_gone_or_none_any_more_says_so(desk_of: Desks, browse: Browse) -> None:
    desk = desk_of(6)
    with closing(sqlite3.connect(desk.catalog)) as connection, connection:
        (one, _), (two, _), (_, other) = connection.execute("SELECT call_id, uri FROM imagen_images LIMIT 3").fetchall()
        for uri, call_id in ((f"{other}.gone", one), (other, two)):
            connection.execute("UPDATE imagen_images SET uri = ? WHERE call_id = ?", (uri, call_id))
    page = browse(desk.review())
    for call_id, words in ((one, "the object is gone"), (two, "the object has been replaced")):
        shown = page.locator(f"[data-image-id='{call_id}-0']")
        expect(shown).to_contain_text(words)
        assert words in (shown.get_attribute("aria-label") or "")
    assert page.locator("[data-problem]").count() == 2
    press(page, "p")


def test_a_page_that_is_only_read(desk_of: Desks, browse: Browse) -> None:
    desk = desk_of(6)
    page = browse(desk.review("--read-only"))
    press(page, "p", "3", "x")
    assert page.locator('[data-verdict="none"]').count() == 6
    assert page.locator("[data-unsent]").inner_text() == "0"
    answer = page.request.post(page.url + "api/verdicts", data={"verdicts": []})
    assert (answer.status, answer.json()["problem"]) == (400, "this page is read-only: start it without --read-only")
    with desk.ledger() as ledger:
        assert list(ledger.verdicts.all()) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(desk_of: Desks, browse: Browse, scheme: str) -> None:
    page = browse(desk_of(6).review(), color_scheme=scheme)
    press(page, "p", "x", "3")
    page.wait_for_timeout(300)
    axe = Axe()
    for keys in ((), (" ",), ("Escape", "c"), ("Escape", "?"), ("?", "f"), ("Escape", "e")):
        press(page, *keys)
        page.wait_for_timeout(200)
        found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
        serious = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
        assert serious == [], (keys, [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious])


def test_narrow_screens_show_all_of_it(desk_of: Desks, browse: Browse) -> None:
    page = browse(desk_of(6).review(), viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("footer button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    page.locator('[data-action="approved"]').click()
    assert page.locator('[data-verdict="approved"]').count() == 1


def test_groups_are_told_apart(desk_of: Desks, browse: Browse) -> None:
    desk = desk_of(6)
    with closing(sqlite3.connect(desk.catalog)) as connection, connection:
        items = [item for (item,) in connection.execute("SELECT id FROM imagen_items ORDER BY prompt")]
        for item in items[3:]:
            connection.execute("UPDATE imagen_items SET prompt = 'a dog' WHERE id = ?", (item,))
    page = browse(desk.review("--order", "prompt"))
    expect(page.locator("[data-begins]")).to_have_count(4)
    first = page.locator("[aria-posinset='1']")
    assert first.get_attribute("aria-label") == "new group, a dog, not reviewed"
    assert not page.locator("[aria-posinset='2']").get_attribute("data-begins")
    one = browse(desk.review("--text", "dog"))
    assert one.locator("h1").inner_text() == "3 pictures"
