"""A headless Chromium before the page, which runs in a process of its own."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recsys.analyst.launch import page_command

PATHS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic")
STARTS_IN_S = 60
READY = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-testid="stSpinner"]')
    && document.querySelector('.rs-title, .rs-empty, [data-testid="stAlert"]')
    && (!document.querySelector('button[data-open], button[data-pick]')
      || document.documentElement.hasAttribute('data-clicks'));
}"""
"""Whether the page has been drawn, hears clicks, and nothing of it is still being computed."""


def chromium() -> str | None:
    """The system's Chromium at its usual path; None if there is none."""
    paths = (path for path in PATHS if os.access(path, os.X_OK))
    return next(paths, None) or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def serving(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Start the page on a free port; yield its URL; end its process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    given = {name: value for name, value in os.environ.items() if "RECSYS_" not in name.upper()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            page_command(address), env=given | environment, stdout=file, stderr=file
        )
        try:
            _wait(process, f"http://{address}/_stcore/health", log)
            yield f"http://{address}"
        finally:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    give_up_at = time.monotonic() + STARTS_IN_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"no page after {STARTS_IN_S} s: {log.read_text()}")
