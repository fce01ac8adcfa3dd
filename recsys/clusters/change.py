"""Whether a run's clusters compare with those of the run before it."""

from collections.abc import Sequence

from storage.clusters.records import ClusterRun

SHORT = 10  # digits of a model version that tell it from others


def change_of_method(run: ClusterRun, runs: Sequence[ClusterRun]) -> str:
    """Tell if a run was grouped otherwise than the one before it; empty if it was not.

    A cluster keeps its id where most members stay. Another method, or another model version, moves
    members for reasons that are none of theirs.

    Args:
        run: a finished run.
        runs: all finished runs, the newest first.
    """
    earlier = (
        each for each in runs if (each.created_at, each.run_id) < (run.created_at, run.run_id)
    )
    before = next(earlier, None)
    if before is None:
        return ""
    changes = []
    if run.method != before.method:
        changes.append(f"by {run.method}, {before.name} by {before.method}")
    if run.model_version != before.model_version:
        versions = [each.model_version[:SHORT] for each in (run, before)]
        changes.append(f"under model {versions[0]}, {before.name} under model {versions[1]}")
    if not changes:
        return ""
    return f"{run.name} was grouped {'; '.join(changes)}: ids of clusters may not compare"
