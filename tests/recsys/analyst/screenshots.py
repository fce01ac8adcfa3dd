"""Take the pictures of the analyst's page that the documentation shows.

    recsys analyst &
    python tests/recsys/analyst/screenshots.py http://127.0.0.1:8501 docs

Each is docs/analyst-<view>.png: 1280 pixels wide, cut below; analyst-phone.png shows three views at
390 pixels side by side. Colours are reduced to a palette, so that each stays small.
"""

import importlib.util
import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

_spec = importlib.util.spec_from_file_location("browsing", Path(__file__).with_name("browsing.py"))
browsing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(browsing)

WIDTH, HEIGHT = 1280, 1000
PHONE, PHONE_HEIGHT = 390, 844
PHONE_VIEWS = ("user", "map", "cluster")
NUM_COLOURS = 256
WAITS_MS = 120_000
DRAWS_MS = 1500


def main(url: str, folder: str) -> None:
    """Write all pictures into a folder."""
    out = Path(folder)
    with sync_playwright() as running:
        path = browsing.chromium()
        browser = running.chromium.launch(executable_path=path, args=list(browsing.FLAGS))
        page = browser.new_page()
        addresses = _addresses(page, url)
        for name, address in addresses.items():
            _keep(_picture(page, address, WIDTH, HEIGHT, name), out / f"analyst-{name}.png")
        phones = [
            _picture(page, addresses[name], PHONE, PHONE_HEIGHT, name) for name in PHONE_VIEWS
        ]
        _keep(_side_by_side(phones), out / "analyst-phone.png")
        browser.close()


def _addresses(page: Page, url: str) -> dict[str, str]:
    """A view of each kind; the user, the neighbour and the cluster are the page's first."""
    _visit(page, url)
    user = page.locator("[class*='st-key-card-user'] b").first.inner_text()
    _visit(page, f"{url}/?view=users&user={user}")
    other = page.locator("[class*='st-key-card-neighbour'] b").first.inner_text()
    _visit(page, f"{url}/?view=clusters")
    page.locator("[class*='st-key-card-cluster'] .stButton button").first.click()
    page.wait_for_url("**cluster=*")
    return {
        "users": url,
        "user": f"{url}/?view=users&user={user}",
        "neighbours": f"{url}/?view=users&user={user}",
        "map": f"{url}/?view=map",
        "clusters": f"{url}/?view=clusters",
        "cluster": page.url,
        "compare": f"{url}/?view=compare&a={user}&b={other}",
        "freshness": f"{url}/?view=freshness",
    }


def _visit(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_function(browsing.READY, timeout=WAITS_MS)
    page.wait_for_timeout(DRAWS_MS)


def _picture(page: Page, address: str, width: int, height: int, name: str) -> Image.Image:
    page.set_viewport_size({"width": width, "height": height})
    _visit(page, address)
    if name == "neighbours":
        page.get_by_role("heading", name="Neighbours").scroll_into_view_if_needed()
        page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollTo(0, 1e6)")
    page.wait_for_timeout(DRAWS_MS)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _side_by_side(pictures: list[Image.Image], gap: int = 32) -> Image.Image:
    width = sum(each.width for each in pictures) + gap * (len(pictures) + 1)
    sheet = Image.new("RGB", (width, pictures[0].height + 2 * gap), "#dfdcd5")
    left = gap
    for each in pictures:
        sheet.paste(each, (left, gap))
        left += each.width + gap
    return sheet


def _keep(picture: Image.Image, path: Path) -> None:
    picture.quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
