"""`recsys similar`: a user's neighbours, and what both like."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.options import DEVICE, DTYPE, JSON, SERVER
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import waiting
from recsys.counts import counted
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from recsys.client import RecsysClient
    from recsys.settings import Settings
    from recsys.similarity.records import SharedTaste, SimilarUsers
    from storage.records import StoredChoice

MAX_PROMPT_SHOWN = 60

Neighbours = tuple["SimilarUsers", "list[SharedTaste]"]


@click.command("similar")
@click.option("--user", required=True, help="Id of the user whose neighbours to find.")
@click.option(
    "-k",
    "num_users",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Number of neighbours to find.",
)
@SERVER
@DEVICE
@DTYPE
@JSON
def command(
    user: str,
    num_users: int,
    server: str | None,
    device: str | None,
    dtype: str | None,
    is_json: bool,
) -> None:
    """Find a user's neighbours: other users with a near signature.

    The search covers users whose signature is stored: `recsys backfill` computes everybody's. The
    user's own is computed and stored first if it is missing or stale.

    Similarity is the cosine of two signatures, -1 to 1. For each neighbour the table also tells
    what both users like, among at most 512 choices of each: how many images, prompts, and words of
    prompts that set the two apart from the other neighbours.
    """
    if server is not None and (device is not None or dtype is not None):
        raise click.UsageError("--device and --dtype are for a scorer in this process: no --server")
    settings = read_settings(address=server, device=device, dtype=dtype)
    find = find_here if server is None else find_there
    similar, tastes = find(user, num_users, settings)
    if is_json:
        show_json(as_json(similar, tastes))
    else:
        _show(similar, tastes)


def find_here(user: str, num_users: int, settings: "Settings") -> Neighbours:
    """Find with a scorer loaded into this process and the storage of the settings."""
    with Runtime(settings) as runtime:
        runtime.store.user(user)  # an unknown user is refused before the model is loaded
        with waiting("Loading the scorer"):
            signatures = runtime.current_signatures()
        with waiting("Finding"):
            from recsys.similarity.choices import StoredChoices
            from recsys.similarity.search import find_similar, shared_tastes

            current = signatures.of(user)
            index = runtime.index(signatures.model_version)
            similar = find_similar(current, index, num_users)
            return similar, shared_tastes(similar, StoredChoices(runtime.store))


def find_there(user: str, num_users: int, settings: "Settings") -> Neighbours:
    """Find by calling the server at the settings' address."""
    with waiting(f"Calling {settings.address}"), opened_client(settings) as client:
        from recsys.similarity.search import shared_tastes

        similar = client.similarity.find_similar_users(user, k=num_users)
        return similar, shared_tastes(similar, ServedChoices(client))


class ServedChoices:
    """What users chose, from a server: the oldest choices of each, as it lists them in that order.

    Args:
        client: of the server.
    """

    def __init__(self, client: "RecsysClient") -> None:
        self._client = client

    def num_choices(self, user_id: str) -> int:
        """Count them."""
        return self._client.get_user(user_id).num_choices

    def some(self, user_id: str) -> "Iterable[StoredChoice]":
        """Yield them, the oldest first."""
        from recsys.similarity.search import MAX_CHOICES_COMPARED

        return self._client.list_choices(user_id, page_size=MAX_CHOICES_COMPARED)


def as_json(similar: "SimilarUsers", tastes: "list[SharedTaste]") -> dict[str, Any]:
    """Return the neighbours as JSON."""
    return {
        "user_id": similar.user_id,
        "model_version": similar.model_version,
        "revision": similar.revision,
        "is_stale": similar.is_stale,
        "users": [
            {
                "rank": rank,
                "user_id": taste.user.user_id,
                "similarity": taste.user.similarity,
                "num_choices": taste.num_choices,
                "shared_prompts": list(taste.prompts),
                "shared_images": list(taste.images),
                "shared_words": list(taste.words),
            }
            for rank, taste in enumerate(tastes, start=1)
        ],
    }


def _show(similar: "SimilarUsers", tastes: "list[SharedTaste]") -> None:
    stale = ", which is stale: it could not be computed anew" if similar.is_stale else ""
    click.echo(
        f"{printable(similar.user_id)}: signature of revision {similar.revision}{stale}, model"
        f" {similar.model_version[:12]}"
    )
    if not tastes:
        click.echo("no other user has a signature yet: run `recsys backfill`")
        return
    rows = [
        (rank, taste.user.user_id, taste.user.similarity, taste.num_choices, _both_like(taste))
        for rank, taste in enumerate(tastes, start=1)
    ]
    show_table(["rank", "user", "similarity", "choices", "both like"], rows)


def _both_like(taste: "SharedTaste") -> str:
    parts = [counted(len(taste.images), "image")] if taste.images else []
    parts += map(_shortened, taste.prompts)
    words = ", ".join(map(_shortened, taste.words))
    return "; ".join([*parts, words] if words else parts)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_PROMPT_SHOWN else f"{text[: MAX_PROMPT_SHOWN - 1]}…"
