"""Options that several commands have, with one spelling and one meaning."""

import click

JSON = click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
SERVER = click.option(
    "--server", metavar="HOST:PORT", help="Call this server instead of opening storage here."
)
CHECKPOINT = click.option(
    "--checkpoint",
    metavar="CHECKPOINT",
    help="Scorer's checkpoint: a folder, or the name of a shipped one; the setting by default.",
)
DEVICE = click.option(
    "--device", help="Device that the model runs on: cpu or cuda; the setting by default."
)
SHAREABLE = click.option(
    "--shareable", is_flag=True, help="Mark the images as such: other users may be shown them."
)
