"""The analyst's page on very many users: how long until the first view is drawn, in Chromium.

The page runs in a process of its own, as `recsys analyst` starts it. The first visit finds a
process that has drawn nothing yet; the others find one that has. Exits with 1 if the median of the
list of users, which is the first view, is slower than 3 s.
"""

import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

MOST_S = 3.0
VISITS = 5
VIEWS = {"users": "", "map": "?view=map", "clusters": "?view=clusters"}
_TESTS = Path(__file__).parents[1] / "recsys" / "analyst"


def _beside(name: str):
    spec = importlib.util.spec_from_file_location(name, _TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browsing, many_users = _beside("browsing"), _beside("many_users")


@click.command()
@click.option("--users", "num_users", default=100_000, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="bench-page.json")
def main(num_users: int, out: Path) -> None:
    """Measure, print and write the seconds of each view."""
    if browsing.chromium() is None:
        raise click.ClickException("Chromium must be installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many_users.fill(folder, num_users)
        environment = {
            "HOME": name,
            "XDG_CACHE_HOME": name,
            "RECSYS_DATABASE_URL": f"sqlite:///{folder}/recsys.db",
            "RECSYS_BLOB_URL": f"file://{folder}/blobs",
        }
        with sync_playwright() as running, browsing.serving(environment, folder / "log") as url:
            browser = running.chromium.launch(
                executable_path=browsing.chromium(), args=list(browsing.FLAGS)
            )
            seconds = {view: _visits(browser, f"{url}/{query}") for view, query in VIEWS.items()}
    _show(seconds)
    out.write_text(
        json.dumps({"users": num_users, "cores": os.cpu_count(), "seconds": seconds}, indent=2)
    )
    sys.exit(int(statistics.median(seconds["users"]) > MOST_S))


def _visits(browser: Browser, address: str) -> list[float]:
    """Seconds from the address to a view that is drawn, each in a window without a cache."""
    taken = []
    for _ in range(VISITS):
        window = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        begun = time.perf_counter()
        window.goto(address)
        window.wait_for_function(browsing.READY, timeout=60_000)
        taken.append(round(time.perf_counter() - begun, 3))
        window.context.close()
    return taken


def _show(seconds: dict[str, list[float]]) -> None:
    table = Table("view", "first visit, s", "median, s", "slowest, s")
    for view, taken in seconds.items():
        figures = (taken[0], statistics.median(taken), max(taken))
        table.add_row(view, *(f"{each:.2f}" for each in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
