"""The use case of `recsys clusters build`: all signatures of a model version -> one stored run."""

from contextlib import suppress

import numpy as np

from recsys.clusters.facts import cluster_facts
from recsys.clusters.group import UNCLUSTERED, Grouping, group, read_signatures
from storage.clusters.building import ClusterBuilder
from storage.clusters.opinions import count_opinions, image_opinions, prompt_uses
from storage.clusters.records import ClusterDraft, ClusterRun
from storage.clusters.runs import ClusterStore
from storage.database import Database
from storage.signatures import SignatureStore


def build_clusters(
    database: Database,
    model_version: str,
    *,
    name: str | None = None,
    method: str = "auto",
    num_clusters: int | None = None,
    min_size: int | None = None,
) -> ClusterRun:
    """Cluster all users who have a signature, and store what stands out in each cluster.

    Users who do not want to be learned from are left out: of clusters, and of what they are
    compared with.

    Memory holds the vectors, and the images and words that may stand out, but no histories.

    Args:
        database: with a current schema.
        model_version: of the signatures.
        name: of the run; storage names it by default.
        method: as in `recsys.clusters.group.group`, like the two below.
        num_clusters: of k-means.
        min_size: of a cluster.

    Raises:
        NotFound: if no signature of this model version is stored.
        InvalidRequest: if a number or the method is out of range.
        InvalidRecord: if the name is taken or breaks its rule.
    """
    builder = ClusterBuilder(database)
    builder.check_name(name)
    signatures = read_signatures(SignatureStore(database), model_version)
    grouping = group(
        signatures.vectors, method=method, num_clusters=num_clusters, min_size=min_size
    )
    run_id = builder.begin(
        model_version, grouping.method, grouping.parameters, num_users=len(signatures.user_ids)
    )
    try:
        _add_members(builder, run_id, signatures.user_ids, grouping)
        stored = builder.finish(run_id, _drafts(database, run_id, grouping), name=name)
    except BaseException:
        with suppress(Exception):  # a later run removes it
            builder.remove(run_id)
        raise
    return ClusterStore(database).run(stored)


def _add_members(
    builder: ClusterBuilder, run_id: int, user_ids: tuple[str, ...], grouping: Grouping
) -> None:
    at = np.flatnonzero(grouping.labels != UNCLUSTERED)
    builder.add_members(
        run_id,
        [user_ids[row] for row in at],
        grouping.labels[at].tolist(),
        grouping.similarity[at].tolist(),
    )


def _drafts(database: Database, run_id: int, grouping: Grouping) -> list[ClusterDraft]:
    likes, passes = count_opinions(database)
    facts = cluster_facts(
        image_opinions(database, run_id),
        lambda: prompt_uses(database, run_id),
        grouping.num_clusters,
        like_rate=(likes + 1) / (likes + passes + 2),
    )
    return [
        ClusterDraft(
            place=place,
            cohesion=float(grouping.similarity[grouping.labels == place].mean()),
            centroid=grouping.centroids[place],
            liked_images=facts[place].liked,
            disliked_images=facts[place].disliked,
            words=facts[place].words,
        )
        for place in range(grouping.num_clusters)
    ]
