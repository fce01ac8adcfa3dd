"""Records of clusters: runs, clusters, members, and what is characteristic of a cluster.

Plain frozen dataclasses: no SQLAlchemy, no tensors, no protobuf.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing the client does not load NumPy
    import numpy as np
    import numpy.typing as npt

Parameter = str | int | float


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """One clustering of all signatures of a model version, as it was when it was built.

    Attributes:
        run_id: given by storage; a later run has a higher one.
        name: unique, 1 to 128 characters.
        model_version: of the signatures.
        method: "hdbscan" or "kmeans".
        parameters: of the method, by name; "reason" says why it was taken.
        created_at: when it was finished, UTC.
        num_users: whose signatures were read.
        num_clusters: of the run.
        num_unclustered: users in no cluster.
    """

    run_id: int
    name: str
    model_version: str
    method: str
    parameters: Mapping[str, Parameter]
    created_at: datetime
    num_users: int
    num_clusters: int
    num_unclustered: int


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a cluster.

    Attributes:
        user_id: of the user.
        similarity: cosine to the cluster's centroid, -1 to 1.
        cluster_id: of the cluster.
    """

    user_id: str
    similarity: float
    cluster_id: int


@dataclass(frozen=True, slots=True)
class ClusterImage:
    """An image that a cluster likes more, or less, than everyone else does.

    Attributes:
        sha256: of the image.
        num_likes: choices of members that liked it.
        num_passes: choices of members that passed it over.
        overall_rate: of all choices that show it, the share that liked it, 0 to 1.
        z: log-odds ratio of likes against everyone else, in standard errors; above 0: liked more.
        num_users: who saw it, members or not; None where it is not told.
        q: the false discovery rate at which it stands out, 0 to 1; None where it is not told.
    """

    sha256: str
    num_likes: int
    num_passes: int
    overall_rate: float
    z: float
    num_users: int | None = None
    q: float | None = None


@dataclass(frozen=True, slots=True)
class ClusterWord:
    """A word that a cluster's prompts contain more often than everyone else's.

    Attributes:
        word: in lower case; at least two members used it.
        rate: of members' choices with a prompt, the share that contains it, 0 to 1.
        overall_rate: of everyone's choices with a prompt, likewise.
        z: log-odds ratio against everyone else, in standard errors; 2 or more.
        q: the false discovery rate at which it stands out, 0 to 1; None where it is not told.
    """

    word: str
    rate: float
    overall_rate: float
    z: float
    q: float | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """How a cluster changed since the previous run.

    Attributes:
        distance: 1 - cosine of the two centroids, 0 to 2; None if model versions differ, because
            their vectors are not comparable.
        num_joined: members who were not in it then.
        num_left: members of then who are not in it now; erased users do not count.
    """

    distance: float | None
    num_joined: int
    num_left: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of users of similar taste, as of a run.

    Attributes:
        cluster_id: the same in the next run if most members are; never reused.
        size: number of members; users erased since do not count.
        cohesion: mean cosine of members to the centroid, -1 to 1, when it was built.
        medoid: the member with the highest mean cosine to all members; None once all are erased.
        typical_members: user ids nearest the centroid, the nearest first; the medoid is the first.
        liked_images: that stand out as liked more than by everyone else, the clearest first.
        disliked_images: that stand out as liked less than by everyone else, the clearest first.
        words: that stand out as more frequent in members' prompts, the clearest first.
        drift: since the previous run; None for a new cluster.
        name: that an analyst gave it; None for none.
    """

    cluster_id: int
    size: int
    cohesion: float
    medoid: str | None
    typical_members: tuple[str, ...]
    liked_images: tuple[ClusterImage, ...]
    disliked_images: tuple[ClusterImage, ...]
    words: tuple[ClusterWord, ...]
    drift: Drift | None
    name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClusterDraft:
    """A cluster before it has an id.

    Attributes:
        place: its number within the run, from 0.
        cohesion: mean cosine of members to the centroid.
        centroid: shape (E,), float32, of length 1.
        liked_images: as in `Cluster`.
        disliked_images: as in `Cluster`.
        words: as in `Cluster`.
    """

    place: int
    cohesion: float
    centroid: "npt.NDArray[np.float32]"
    liked_images: Sequence[ClusterImage] = field(default=())
    disliked_images: Sequence[ClusterImage] = field(default=())
    words: Sequence[ClusterWord] = field(default=())


@dataclass(frozen=True, slots=True)
class ImageOpinion:
    """What one cluster thinks of one image.

    Attributes:
        sha256: of the image.
        place: of the cluster within its run; -1 for users in no cluster.
        num_likes: choices that liked it.
        num_passes: choices that passed it over.
        num_users: who saw it, each once.
        num_likers: of them, those who liked it more often than they passed it over.
    """

    sha256: str
    place: int
    num_likes: int
    num_passes: int
    num_users: int
    num_likers: int


@dataclass(frozen=True, slots=True)
class PromptUse:
    """How often one user used one prompt.

    Attributes:
        prompt: not empty.
        place: of the user's cluster within its run; -1 for none.
        user_id: of the user.
        num_choices: with this prompt.
    """

    prompt: str
    place: int
    user_id: str
    num_choices: int
