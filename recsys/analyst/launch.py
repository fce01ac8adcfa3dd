"""Start the analyst's page: Streamlit with this project's options, in this process's place."""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from recsys.addresses import host_and_port
from recsys.errors import Unavailable

SCRIPT = Path(__file__).parent / "app.py"


def page_command(address: str, *, opens_browser: bool = False) -> list[str]:
    """Return the command that serves the page.

    Args:
        address: HOST:PORT to listen on, port 1 to 65535.
        opens_browser: also show it in this machine's browser.

    Raises:
        ValueError: if the address is not HOST:PORT.
    """
    from recsys.analyst.theme import OPTIONS

    host, port = host_and_port(address, lowest_port=1)
    options = OPTIONS | {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "false" if opens_browser else "true",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "recsys.analyst.serving", "run", str(SCRIPT), *flags]


def page_environment(flags: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment with a call's settings, by which they reach the page."""
    given = {f"RECSYS_{name.upper()}": str(value) for name, value in flags.items()}
    return dict(os.environ) | given


def serve_page(address: str, flags: Mapping[str, object], *, opens_browser: bool = False) -> None:
    """Replace this process by the page's; does not return.

    Raises:
        Unavailable: if Streamlit is not installed.
    """
    if find_spec("streamlit") is None:
        raise Unavailable("the page needs Streamlit: pip install 'recsys-images[analyst]'")
    command = page_command(address, opens_browser=opens_browser)
    sys.stdout.flush()
    os.execve(command[0], command, page_environment(flags))
