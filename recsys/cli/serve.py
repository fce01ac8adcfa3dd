"""`recsys serve`: rankings over gRPC."""

import click

from recsys.addresses import require_free
from recsys.cli.invocation import read_settings
from recsys.cli.options import CHECKPOINT, DEVICE, DTYPE


@click.command("serve")
@click.option(
    "--address", metavar="HOST:PORT", help="Address to listen on; the setting by default."
)
@CHECKPOINT
@click.option(
    "--audience",
    "audiences",
    metavar="NAME=CHECKPOINT",
    multiple=True,
    help="Audience that calls may name, scored by the preference tokens of this adaptation of the"
    " checkpoint; the setting by default. Repeatable.",
)
@DEVICE
@DTYPE
def command(
    address: str | None,
    checkpoint: str | None,
    audiences: tuple[str, ...],
    device: str | None,
    dtype: str | None,
) -> None:
    """Serve rankings over gRPC.

    On SIGTERM or Ctrl-C it finishes the requests that it has begun, and stops. It has no
    authentication and no TLS: put it behind a proxy that provides both.
    """
    settings = read_settings(
        address=address,
        checkpoint=checkpoint,
        audiences=",".join(audiences) or None,
        device=device,
        dtype=dtype,
    )
    require_free(settings.address, setting="address")
    if settings.metrics_address is not None:
        require_free(settings.metrics_address, setting="metrics_address")
    from recsys.scorer.devices import require_device, require_dtype

    require_device(settings.device)
    if settings.dtype is not None:
        require_dtype(settings.dtype, settings.device)
    from recsys.service.server import serve

    serve(settings, creates=True)
