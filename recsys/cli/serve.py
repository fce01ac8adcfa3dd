"""`recsys serve`: rankings over gRPC."""

import click

from recsys.cli.invocation import read_settings


@click.command("serve")
@click.option("--address", help="HOST:PORT to listen on.")
@click.option("--checkpoint", help="The scorer: a folder, or the name of a shipped one.")
@click.option("--device", help="Where the model runs: cpu or cuda.")
def command(address: str | None, checkpoint: str | None, device: str | None) -> None:
    """Serve rankings over gRPC.

    Ends on SIGTERM or Ctrl-C, when it has finished what it has begun.
    """
    settings = read_settings(address=address, checkpoint=checkpoint, device=device)
    from recsys.service.server import serve

    serve(settings, creates=True)
