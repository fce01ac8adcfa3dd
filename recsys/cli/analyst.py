"""`recsys analyst`: the page on which people look at users, neighbours and clusters."""

import click

from recsys.addresses import is_of_this_machine, is_taken
from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings
from recsys.cli.options import CHECKPOINT, DEVICE, DTYPE

DEFAULT_ADDRESS = "127.0.0.1:8501"


@click.command("analyst")
@click.option(
    "--address",
    default=DEFAULT_ADDRESS,
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on.",
)
@click.option(
    "--open", "opens_browser", is_flag=True, help="Open the page in this machine's browser, too."
)
@CHECKPOINT
@DEVICE
@DTYPE
@click.pass_context
def command(
    ctx: click.Context,
    address: str,
    opens_browser: bool,
    checkpoint: str | None,
    device: str | None,
    dtype: str | None,
) -> None:
    """Serve the analyst's page of users and clusters.

    It also shows neighbours, a map, comparisons and the freshness of signatures. It writes nothing
    but the names of clusters, and has no authentication: leave it on this machine, or put it behind
    a proxy that provides it. Stop it by SIGTERM or Ctrl-C. --checkpoint names the scorer whose
    attention it shows.
    """
    given = {"checkpoint": checkpoint, "device": device, "dtype": dtype}
    read_settings(**given)
    flags = dict(ctx.find_root().obj or {})
    flags |= {name: value for name, value in given.items() if value is not None}
    from recsys.analyst.launch import page_command, serve_page

    try:
        page_command(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--address") from error
    if not is_of_this_machine(address):
        raise click.BadParameter(
            f"must be of this machine, got {address!r}: pass 0.0.0.0:PORT for all its networks",
            param_hint="--address",
        )
    if is_taken(address):  # Streamlit would tell of it only in passing
        raise Failure(f"{address} is already in use: pass another --address", ExitCode.UNAVAILABLE)
    click.echo(f"The page is at http://{address}; press Ctrl-C to stop it")
    serve_page(address, flags, opens_browser=opens_browser)
