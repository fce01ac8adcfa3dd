"""What every view is given."""

from dataclasses import dataclass

from recsys.runtime import Runtime
from storage.browsing import Window
from storage.clusters.records import ClusterRun
from storage.records import VersionSummary


@dataclass(frozen=True, eq=False)
class Page:
    """The ground of a view: what can be asked, and what the reader asked for.

    Attributes:
        runtime: storage, opened for reading, and the scorer.
        version: the model version taken; empty while there are no signatures.
        versions: what is stored of each, the newest first.
        window: which users are meant.
        run: the newest clusters of the version, if there are any.
        num_users: all that are stored.
    """

    runtime: Runtime
    version: str
    versions: tuple[VersionSummary, ...]
    window: Window
    run: ClusterRun | None
    num_users: int

    @property
    def summary(self) -> VersionSummary | None:
        """What is stored of the version taken."""
        return next((each for each in self.versions if each.model_version == self.version), None)
