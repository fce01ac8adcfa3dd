"""The page for everybody: what axe-core finds on each view, and a way through it by keyboard."""

import browsing
import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browsing.chromium() is None, reason="not installed: chromium (apt-get)"),
    pytest.mark.xdist_group("browser"),
]
VIEWS = (
    *("", "?user=user-04", "?user=user-23", "?user=nobody", "?view=map", "?view=clusters"),
    *("?view=clusters&cluster=1", "?view=compare", "?view=compare&a=user-01&b=user-02"),
    "?view=freshness",
)


def _serious(window):
    """What axe-core finds that keeps people with a disability out, with the places."""
    found = Axe().run(window).response["violations"]
    return [
        (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("query", VIEWS)
def test_no_view_keeps_anybody_out(visit, window, query):
    visit(query)
    assert _serious(window) == []
    window.set_viewport_size({"width": 390, "height": 844})
    window.wait_for_timeout(300)
    assert _serious(window) == []


def test_an_open_image_and_the_filters_keep_nobody_out(visit):
    window = visit("?user=user-07")
    window.locator(".rs-choice button.rs-frame").first.click()
    window.get_by_role("dialog").locator(".rs-large img").wait_for()
    window.wait_for_timeout(500)  # it fades in
    assert _serious(window) == []
    window.keyboard.press("Escape")
    window.get_by_role("dialog").wait_for(state="detached")
    window.get_by_role("button", name="Filters").click()
    window.get_by_role("button", name="Clear").wait_for()
    window.wait_for_timeout(500)
    assert _serious(window) == []


def test_axe_would_find_what_keeps_people_out(visit):
    window = visit("?view=freshness")
    window.evaluate(
        "() => document.querySelector('.rs-title').insertAdjacentHTML('beforeend',"
        ' \'<img src="data:,"><p style="color:#ccc">pale</p>\')'
    )

    assert {"image-alt", "color-contrast"} <= {each for each, *_ in _serious(window)}


def test_all_is_reached_and_done_by_keyboard(visit):
    """From the search to a user, to an image, and to the image that is compared on."""
    window = visit()
    window.get_by_placeholder("Search for a user").focus()
    window.keyboard.type("er-07")
    window.keyboard.press("Enter")
    window.get_by_role("heading", name="Users whose id contains").wait_for()
    window.wait_for_function("document.querySelectorAll('.st-key-open-user-07 button').length == 1")
    _tab_to(window, ".st-key-open-user-07 button")
    window.keyboard.press("Enter")
    _wait_for(window, "Newest first")
    _tab_to(window, ".rs-choice button.rs-frame")
    window.keyboard.press("Space")
    window.get_by_role("dialog").locator(".rs-large img").wait_for()
    window.keyboard.press("Escape")
    window = visit("?view=compare&a=user-01&b=user-02")
    _wait_for(window, "Similarity of maps")
    digest = window.locator("button[data-pick]").nth(1).get_attribute("data-pick")
    _tab_to(window, f"button[data-pick='{digest}']")
    window.keyboard.press("Enter")
    window.locator(f"button[data-pick='{digest}'][aria-pressed='true']").wait_for()


def _wait_for(window, text):
    window.get_by_text(text, exact=False).first.wait_for()
    window.wait_for_function(browsing.READY)


def _tab_to(window, selector, most=60):
    for _ in range(most):
        window.keyboard.press("Tab")
        if window.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")
