"""What every view gets."""

from dataclasses import dataclass

from recsys.runtime import Runtime
from storage.browsing import Window
from storage.clusters.records import ClusterRun
from storage.records import VersionSummary


@dataclass(frozen=True, eq=False)
class Page:
    """The runtime, and what the reader has selected.

    Attributes:
        runtime: storage, opened for reading, and the scorer.
        version: the selected model version; empty while there are no signatures.
        versions: a summary of each model version, the newest first.
        window: the selected time ranges.
        run: the newest run of clusters of the version, if there is one.
        num_users: number of stored users.
    """

    runtime: Runtime
    version: str
    versions: tuple[VersionSummary, ...]
    window: Window
    run: ClusterRun | None
    num_users: int

    @property
    def summary(self) -> VersionSummary | None:
        """The summary of the selected version."""
        return next((each for each in self.versions if each.model_version == self.version), None)
