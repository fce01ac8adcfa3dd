"""The page in a headless Chromium: every act that a person can do on it."""

import csv
import re
from pathlib import Path

import browsing
import pytest

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browsing.chromium() is None, reason="not installed: chromium (apt-get)"),
    pytest.mark.xdist_group("browser"),
]
WAITS_MS = 30_000


def _settle(window, text):
    window.get_by_text(text, exact=False).first.wait_for()
    window.wait_for_function(browsing.READY)


def _downloaded(window, label):
    with window.expect_download() as download:
        window.get_by_role("button", name=label).click()
    text = Path(download.value.path()).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_the_file_of_users_holds_all_of_them_not_only_the_cards(visit):
    rows = _downloaded(visit(), "Download CSV")

    assert [row["user_id"] for row in rows] == [f"user-{number:02}" for number in range(24)]
    assert rows[23]["signed_at"] == "", "the last one has no signature"


def _view(window, name):
    window.get_by_role("radio", name=name, exact=True).click()


def test_search_a_user_and_see_what_they_chose(visit):
    window = visit()
    search = window.get_by_placeholder("Search for a user")
    search.fill("ER-07")
    search.press("Enter")
    window.get_by_role("heading", name="Users whose id contains").wait_for()
    opens = window.locator(".st-key-open-user-07").get_by_role("button")
    # While Streamlit draws anew, the button of before stands beside the new one.
    window.wait_for_function("document.querySelectorAll('.st-key-open-user-07 button').length == 1")
    opens.click()
    _settle(window, "Newest first")

    assert window.locator(".rs-choice .rs-liked img").count() == 3
    assert window.locator(".rs-choice .rs-passed img").count() == 3
    assert "a green house <2>" in window.locator(".rs-choice").first.inner_text()
    assert "view=users" in window.url
    assert "user=user-07" in window.url
    sizes = window.locator(".rs-choice img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert set(sizes) == {48}
    rows = _downloaded(window, "Choices as CSV")
    assert [row["prompt"] for row in rows] == [f"a green house <{turn}>" for turn in (2, 1, 0)]


def test_neighbours_are_of_the_same_group_and_lead_on(visit):
    window = visit("?view=users&user=user-07")
    cards = window.locator("[class*='st-key-card-neighbour']")

    names = cards.locator(".rs-card-head b").all_inner_texts()
    assert len(names) == 6
    assert all(int(name[-2:]) % 3 == 1 for name in names)
    for card in cards.all():
        both = card.locator(".rs-over", has_text="Both like").locator("..")
        assert both.locator(".rs-liked img").count() == 3, "what the group likes"
        assert "a green house <2>" in both.inner_text()
    assert [row["user_id"] for row in _downloaded(window, "Neighbours as CSV")] == names
    cards.first.get_by_role("button", name="Open").click()
    window.locator("h2", has_text=names[0]).wait_for()
    assert f"user={names[0]}" in window.url


def test_the_map_is_zoomed_and_a_click_leads_to_the_user(visit):
    window = visit("?view=map")
    window.locator(".js-plotly-plot .point").first.wait_for()
    assert window.locator(".js-plotly-plot .point").count() == 23
    before = _range(window)
    window.locator(".js-plotly-plot .nsewdrag").hover()
    window.mouse.wheel(0, -400)
    window.wait_for_function(f"() => ({_RANGE}) < {before * 0.99}")
    window = visit("?view=map")
    window.locator(".js-plotly-plot .point").first.wait_for()
    x, y = window.evaluate(_FIRST_POINT)
    window.mouse.click(x, y)
    card = window.locator(".st-key-card-clicked")
    card.wait_for()
    name = card.locator(".rs-card-head b").inner_text()
    card.get_by_role("button", name="Open user").click()
    window.locator("h2", has_text=name).wait_for()
    assert f"user={name}" in window.url


def test_the_map_tells_its_points(visit):
    rows = _downloaded(visit("?view=map"), "Points as CSV")

    assert len(rows) == 23
    assert len({row["cluster_id"] for row in rows}) == 3


def test_a_cluster_is_opened(visit):
    window = visit()
    _view(window, "Clusters")
    _settle(window, "Groups of users of similar taste")
    cards = window.locator("[class*='st-key-card-cluster']")
    assert cards.count() == 3
    cards.first.get_by_role("button", name="Open").click()
    _settle(window, "Typical members")

    assert window.locator(".rs-gallery.rs-m .rs-liked img").count() > 0
    assert window.locator(".rs-gallery.rs-m .rs-passed img").count() > 0
    words = window.locator(".rs-bar span").all_inner_texts()
    assert len(words) == 1, "the colour alone: everyone writes of a house"
    assert words[0] in ("red", "green", "blue")
    members = _downloaded(window, "members as CSV")
    assert len({int(row["user_id"][-2:]) % 3 for row in members}) == 1


def test_two_users_are_compared_on_one_target(visit):
    window = visit("?view=compare")
    for label, name in (("First user", "user-01"), ("Second user", "user-02")):
        box = window.get_by_label(label)
        box.fill(name)
        box.press("Enter")
        window.wait_for_url(re.compile(name))
        window.wait_for_function(browsing.READY)
    _settle(window, "Similarity of maps")

    window.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .point").last.wait_for()
    assert window.locator(".js-plotly-plot").count() == 2
    # Three tokens of four heads, and five dots for each: five orders of the references.
    bars = window.locator(".js-plotly-plot").first.locator(".bars .point").count()
    assert bars == 3 * 4
    assert window.locator(".js-plotly-plot").first.locator(".scatterlayer .point").count() == (
        5 * bars
    )
    window.get_by_text("with likes and dislikes exchanged").wait_for()
    rows = _downloaded(window, "Maps as CSV")
    assert [row["order"] for row in rows] == [*"01234"] * 2
    window.get_by_role("radio", name="As in the paper").click()
    window.get_by_text("averaged over heads and layers").wait_for()
    window.wait_for_function(browsing.READY)
    rows = _downloaded(window, "Maps as CSV")
    assert sum(float(rows[0][token]) for token in ("P1", "P2", "P3")) == pytest.approx(1, abs=1e-4)


def test_freshness_counts_the_stale_and_names_them(visit):
    window = visit("?view=freshness")

    tiles = window.locator(".rs-tile").all_inner_texts()
    assert "91.6%" in tiles[0]
    assert tiles[1].splitlines()[1] == "2"
    rows = _downloaded(window, "Stale users as CSV")
    assert [row["user_id"] for row in rows] == ["user-00", "user-23"]
    assert "2 users have no current signature" in window.locator(".rs-hint").inner_text()
    assert {row["reason"] for row in rows} == {"run `recsys backfill`"}


def test_a_filter_by_time_bounds_what_is_shown(visit):
    window = visit()
    window.get_by_role("button", name="Filters").click()
    window.get_by_label("From").first.get_by_role("spinbutton").first.click()
    window.keyboard.type("20260120")
    for _ in range(3):  # out of the day, past its two buttons
        window.keyboard.press("Tab")
    window.get_by_text("Only last choice from 2026-01-20").wait_for()
    window.wait_for_function(browsing.READY)

    names = window.locator("[class*='st-key-card-user'] b").all_inner_texts()
    assert sorted(names) == ["user-19", "user-20", "user-21", "user-22", "user-23"]


def test_an_image_opens_large_by_mouse_and_by_keyboard_and_closes(visit):
    window = visit("?view=users&user=user-07")
    first = window.locator(".rs-choice button.rs-frame").first
    dialog = window.get_by_role("dialog")
    for act in (first.click, lambda: (first.focus(), window.keyboard.press("Enter"))):
        act()
        dialog.locator(".rs-large img").wait_for()
        assert "48 × 48 pixels, SHA-256" in dialog.inner_text()
        window.keyboard.press("Escape")
        dialog.wait_for(state="detached")


def test_the_image_to_compare_on_is_picked_by_a_click(visit):
    window = visit("?view=compare&a=user-01&b=user-02")
    _settle(window, "Similarity of maps")
    pictures = window.locator("button[data-pick]")
    assert pictures.first.get_attribute("aria-pressed") == "true"
    digest = pictures.nth(2).get_attribute("data-pick")
    pictures.nth(2).click()
    window.wait_for_url(f"**on={digest}*")
    window.locator(f"button[data-pick='{digest}'][aria-pressed='true']").wait_for()
    window.wait_for_function(browsing.READY)
    assert window.locator("button[aria-pressed='true']").count() == 1
    assert "a=user-01" in window.url


def test_a_user_of_the_map_is_shown_beside_it_by_id_too(visit):
    window = visit("?view=map")
    window.locator(".js-plotly-plot .point").first.wait_for()
    box = window.get_by_label("User on the map")
    box.fill("user-04")
    box.press("Enter")
    card = window.locator(".st-key-card-clicked")
    card.get_by_text("user-04").wait_for()
    plot = window.locator(".js-plotly-plot").bounding_box()
    assert card.bounding_box()["x"] >= plot["x"] + plot["width"]
    assert plot["x"] + card.bounding_box()["x"] + card.bounding_box()["width"] > 1280 * 0.95
    x, y = window.evaluate(_FIRST_POINT)
    window.mouse.click(x, y)
    window.wait_for_function(
        "() => document.querySelector('[aria-label=\"User on the map\"]').value == ''"
    )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?user=user-04",
        "?view=map",
        "?view=clusters",
        "?view=clusters&cluster=1",
        "?view=compare&a=user-01&b=user-02",
        "?view=freshness",
    ],
)
def test_each_view_fits_a_phone(visit, window, query):
    window.set_viewport_size({"width": 390, "height": 844})  # before: a phone does not grow smaller
    visit(query)
    window.wait_for_function(  # it is laid out within moments
        "() => { const m = document.querySelector('[data-testid=\"stMain\"]');"
        " return m.scrollWidth === m.clientWidth; }"
    )
    right = window.get_by_role("radio", name="Freshness").bounding_box()
    assert right["x"] + right["width"] <= 390, "the navigation is on the screen as a whole"


# Cards come to the page one after another: rows are in line within moments.
_IN_TWO_COLUMNS = """kind => {
  const cards = [...document.querySelectorAll(`[class*='st-key-card-${kind}']`)];
  const boxes = cards.map(card => card.getBoundingClientRect());
  return boxes.length >= 6 && new Set(boxes.map(box => box.x)).size === 2
    && boxes.every((box, i) => i % 2 === 0 || box.y === boxes[i - 1].y);
}"""


@pytest.mark.parametrize(("query", "kind"), [("", "user"), ("?view=clusters&cluster=1", "member")])
def test_a_page_of_cards_is_one_screen_of_a_phone(visit, window, query, kind):
    window.set_viewport_size({"width": 390, "height": 844})
    visit(query)
    cards = window.locator(f"[class*='st-key-card-{kind}']")
    window.wait_for_function(_IN_TWO_COLUMNS, arg=kind)
    boxes = [card.bounding_box() for card in cards.all()]
    assert len(boxes) >= 6
    rows = [box["y"] for box in boxes]
    assert rows == sorted(rows), "in the order of the list"
    assert boxes[5]["y"] + boxes[5]["height"] - boxes[0]["y"] < 844 * 0.75
    assert cards.first.get_by_role("button", name="Open").is_visible()


def test_the_page_asks_nobody_else_for_anything(visit, window):
    asked = []
    window.on("request", lambda request: asked.append(request.url))
    visit("?view=map")

    assert [url for url in asked if "//127.0.0.1:" not in url and not url.startswith("data:")] == []


def test_an_empty_storage_tells_what_to_run(chromium, tmp_path, small_checkpoint):
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with browsing.serving(environment, tmp_path / "log") as url:
        window = chromium.new_page(viewport={"width": 390, "height": 844})
        window.goto(url)
        window.wait_for_function(browsing.READY, timeout=WAITS_MS)

        text = window.locator(".rs-empty").inner_text()
        assert "Nothing is stored yet" in text
        assert "recsys backfill" in text
        window.close()
    assert not list(tmp_path.glob("**/*.db"))


_RANGE = "(r => r[1] - r[0])(document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range)"
_FIRST_POINT = """() => {
  const box = document.querySelector('.js-plotly-plot .point').getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


def _range(window):
    return window.evaluate(f"() => {_RANGE}")
