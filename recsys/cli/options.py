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
    "--device", help="Device that the model runs on: cpu, cuda or cuda:N; the setting by default."
)
DTYPE = click.option(
    "--dtype",
    help="Type that the model computes in: float32, float16 or bfloat16; the setting by default,"
    " and without one what the checkpoint says.",
)
SHAREABLE = click.option(
    "--shareable", is_flag=True, help="Mark the images as such: other users may be shown them."
)
