"""`recsys settings`: every value, secrets masked, and where it came from."""

import click

from recsys.cli.invocation import load_settings
from recsys.cli.options import JSON
from recsys.cli.output import show_json, show_table


@click.command("settings")
@JSON
def command(is_json: bool) -> None:
    """Show each setting and where it came from.

    A flag takes precedence over the environment (RECSYS_<NAME>), the environment over the file
    (RECSYS_CONFIG, or recsys/config.toml in your configuration folder), and the file over the
    default. Passwords and keys are masked.
    """
    loaded = load_settings()
    shown = loaded.shown()
    if is_json:
        show_json({name: {"value": value, "origin": origin} for name, value, origin in shown})
    else:
        show_table(["setting", "value", "from"], shown)
    for name in loaded.unknown:
        click.echo(f"warning: {name} is ignored: there is no such setting", err=True)
