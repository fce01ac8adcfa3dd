"""The documentation builds, strictly and offline, and its links lead somewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "srcset"}
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)
CODE = re.compile(r"^```.*?^```$", re.M | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation; a dead link or anchor fails the build, for mkdocs.yml is strict."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    # A proxy that is not there: whatever wants the network fails.
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    built = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | dead | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class _Loads(HTMLParser):
    """Collects what a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(LOADS.get(tag, ""))
        if url and dict(attrs).get("rel") != "canonical":
            self.urls.append(url)


def loads(html: str) -> list[str]:
    parser = _Loads()
    parser.feed(html)
    return parser.urls


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    elsewhere = {
        (page.name, url)
        for page in pages
        for url in loads(page.read_text("utf-8"))
        if urlsplit(url).netloc
    }

    assert len(pages) > 20
    assert elsewhere == set()


def test_what_a_page_loads_is_seen() -> None:
    assert loads('<img src="https://x.example/a.png"><a href="https://y.example">') == [
        "https://x.example/a.png"
    ]


def anchors(markdown: str) -> set[str]:
    """What a page's headings are called by links, as GitHub has it."""
    headings = HEADING.findall(CODE.sub("", markdown))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def dead_links(page: Path) -> list[str]:
    """Links of a page to files that are not there, or to headings that their page does not have."""
    dead = []
    for link in LINK.findall(page.read_text("utf-8")):
        parts = urlsplit(link)
        target = page.parent / unquote(parts.path) if parts.path else page
        if parts.scheme:
            continue
        if not target.exists() or (
            parts.fragment and parts.fragment not in anchors(target.read_text("utf-8"))
        ):
            dead.append(link)
    return dead


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_beside_the_documentation_lead_somewhere(name: str) -> None:
    assert LINK.search((ROOT / name).read_text("utf-8"))
    assert dead_links(ROOT / name) == []


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n```bash\n# Two\n```\n## What's a *user*?\n")
    page = tmp_path / "b.md"
    page.write_text(
        "## Here\n[x](a.md) [x](a.md#one) [x](#here) [x](a.md#whats-a-user) [x](https://x/#no)"
        "[y](c.md) [y](a.md#two) [y](#one)"
    )

    assert dead_links(page) == ["c.md", "a.md#two", "#one"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
