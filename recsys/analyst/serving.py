"""The page's process: loads what the first view needs, then becomes Streamlit's own command."""

import sys
import threading
from contextlib import suppress

_WAITS_AT_MOST_S = 5
_INTERRUPTED = 130


def main() -> None:
    """Serve the page; does not return before it has ended.

    The address answers once all is loaded, lest the first visitor wait for it; or a few seconds
    later where the database does not answer, which the page then tells.
    """
    try:
        from streamlit.web import cli  # here, so that Ctrl-C is heeded while it is imported, too

        loading = threading.Thread(target=load_first_view, name="recsys-first-view", daemon=True)
        loading.start()
        loading.join(_WAITS_AT_MOST_S)
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    cli.main(prog_name="streamlit")


def load_first_view() -> None:
    """Open storage for the page, and import what its first view needs; nothing is read for it."""
    from recsys.analyst import thumbnails
    from recsys.analyst.opening import open_runtime

    thumbnails.thumbnail(b"")  # Pillow imports its formats when it first opens something
    with suppress(Exception):  # the page meets the same, and tells of it
        open_runtime()


if __name__ == "__main__":
    main()
