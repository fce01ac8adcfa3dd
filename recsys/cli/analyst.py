"""`recsys analyst`: the page on which people look at users, neighbours and clusters."""

import socket

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings

DEFAULT_ADDRESS = "127.0.0.1:8501"


@click.command("analyst")
@click.option(
    "--address", default=DEFAULT_ADDRESS, show_default=True, help="HOST:PORT to listen on."
)
@click.option(
    "--open", "opens_browser", is_flag=True, help="Also open it in this machine's browser."
)
@click.option("--checkpoint", help="The scorer that tells why users are near.")
@click.pass_context
def command(ctx: click.Context, address: str, opens_browser: bool, checkpoint: str | None) -> None:
    """Serve a page on who likes what.

    It shows users, neighbours, a map, clusters, comparisons and freshness, and only reads. It asks
    nobody who they are: leave it on this machine, or put it behind a proxy that does. Ends on
    SIGTERM or Ctrl-C.
    """
    read_settings(checkpoint=checkpoint)
    flags = dict(ctx.find_root().obj or {})
    if checkpoint is not None:
        flags["checkpoint"] = checkpoint
    from recsys.analyst.launch import page_command, serve_page

    try:
        page_command(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--address") from error
    _check_free(address)
    click.echo(f"The page is at http://{address}; Ctrl-C ends it")
    serve_page(address, flags, opens_browser=opens_browser)


def _check_free(address: str) -> None:
    """Nobody listens there yet: Streamlit would say so only in passing."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=0.5):
            pass
    except OSError:
        return
    raise Failure(
        f"{address} must be free, and somebody listens there: pass another --address",
        ExitCode.UNAVAILABLE,
    )
