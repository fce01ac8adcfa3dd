"""The values that every floor speaks: choices, histories, images, signatures.

Plain frozen dataclasses: no SQLAlchemy, no tensors, no protobuf.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # NumPy is half of what importing the client would take
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image without its pixels.

    Attributes:
        sha256: digest of the encoded bytes, 64 lower-case hex digits; the image's identity.
        media_type: "image/png", "image/jpeg" or "image/webp".
        width: pixels, at least 1, after EXIF rotation.
        height: pixels, at least 1, after EXIF rotation.
        num_bytes: length of the encoded bytes.
    """

    sha256: str
    media_type: str
    width: int
    height: int
    num_bytes: int


NewImages = dict[str, tuple[ImageFacts, bytes]]
"""Images that storage may not have yet: facts and encoded bytes by SHA-256."""

InspectImage = Callable[[bytes], ImageFacts]
"""Checks untrusted encoded bytes and tells their facts; raises ValueError when it refuses them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One act of a user: a liked image, the images passed over, the prompt they were made from.

    Attributes:
        user_id: 1 to 256 characters, no control characters.
        liked: SHA-256 of the liked image, or None when the user only passed images over.
        passed_over: SHA-256 of each image passed over; may be empty when `liked` is given.
        prompt: the text the images were generated from; may be empty.
        chosen_at: when, in UTC.
        source: who wrote it, e.g. "rpc", "import:pairs", "world".
        request_id: unique per act of this user; a repeat is stored once. None: never a repeat.
        dataset: that it was imported from; None: from none.
    """

    user_id: str
    liked: str | None
    passed_over: tuple[str, ...]
    prompt: str
    chosen_at: datetime
    source: str
    request_id: str | None = None
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class StoredChoice:
    """A choice as it stands in storage.

    Attributes:
        choice_id: storage's own number for it.
        revision: the user's revision right after this choice; 1 for the first.
        choice: what the user did.
    """

    choice_id: int
    revision: int
    choice: Choice


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append.

    Attributes:
        stored: the choice as stored, the earlier one when the request was a repeat.
        repeated: True when this request_id had already been stored for this user.
    """

    stored: StoredChoice
    repeated: bool


@dataclass(frozen=True, slots=True)
class History:
    """A user's choices, oldest first.

    Attributes:
        user_id: whose.
        revision: grows by one with each choice ever stored, and when choices are removed or one of
            their images is taken down; 0 for an unknown user.
        choices: the newest `limit` choices asked for, oldest first.
    """

    user_id: str
    revision: int
    choices: tuple[StoredChoice, ...]


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user allows; everything, until they say otherwise.

    Attributes:
        personalize: rank by their choices, and read a signature from them.
        learn_from: learn from their choices what others see.
    """

    personalize: bool = True
    learn_from: bool = True


@dataclass(frozen=True, slots=True)
class ConsentUpdate:
    """What a user allows after a change, and what an opt-out reached.

    Attributes:
        personalize, learn_from: as of `Consent`.
        rewritten_exports: folders of exported clusters that held the user and do no more.
        remnants: what may still hold them, a text each: exports that were not reached.
    """

    personalize: bool
    learn_from: bool
    rewritten_exports: tuple[str, ...] = ()
    remnants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserSummary:
    """What `GetUser` tells: counts and times of a user's history, and what the user allows."""

    user_id: str
    revision: int
    num_choices: int
    num_pairs: int
    created_at: datetime
    last_choice_at: datetime | None
    consent: Consent = Consent()


@dataclass(frozen=True, slots=True)
class Erased:
    """How much went when a user was erased, and what could not go with it.

    Attributes:
        num_choices: of the user.
        num_signatures: of the user.
        num_images: that no other user's choices name.
        num_bytes: of these images, encoded.
        rewritten_exports: folders of exported clusters whose files held the user.
        remnants: what still holds something of the user, a text for people each.
        images: SHA-256 of these images; a server tells none.
    """

    num_choices: int
    num_signatures: int
    num_images: int
    num_bytes: int
    rewritten_exports: tuple[str, ...] = ()
    remnants: tuple[str, ...] = ()
    images: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That a user was erased and is not stored again.

    Attributes:
        erased_at: when, UTC.
        erased_by: who asked for it; "rpc" for a caller of the service.
    """

    erased_at: datetime
    erased_by: str


@dataclass(frozen=True, slots=True)
class Takedown:
    """How much went when an image was taken down.

    Attributes:
        num_choices: choices that were removed: those that liked it, and those that showed nothing
            else.
        num_shortened: choices that passed it over, and stand without it.
        num_images: the image, if it was stored, and those that stood in removed choices alone.
        num_bytes: size of these images, encoded.
        rewritten_exports: folders of exported clusters that named the image and do no more.
        remnants: what may still name it, a text each.
    """

    num_choices: int = 0
    num_shortened: int = 0
    num_images: int = 0
    num_bytes: int = 0
    rewritten_exports: tuple[str, ...] = ()
    remnants: tuple[str, ...] = ()

    def __add__(self, other: "Takedown") -> "Takedown":
        """What went in two parts."""
        return Takedown(
            self.num_choices + other.num_choices,
            self.num_shortened + other.num_shortened,
            self.num_images + other.num_images,
            self.num_bytes + other.num_bytes,
            self.rewritten_exports + other.rewritten_exports,
            self.remnants + other.remnants,
        )


@dataclass(frozen=True, slots=True)
class BlockedImage:
    """An image that was taken down and is accepted nowhere again.

    Attributes:
        sha256: digest of its encoded bytes.
        blocked_at: when, UTC.
        blocked_by: who asked for it; "rpc" for a caller of the service.
        reason: why; may be empty.
        is_unfinished: its takedown goes on or was interrupted: some of it is still stored, though
            nothing reads it.
    """

    sha256: str
    blocked_at: datetime
    blocked_by: str
    reason: str
    is_unfinished: bool = False


@dataclass(frozen=True, slots=True)
class SharingRules:
    """What others may be shown of somebody's choices.

    Attributes:
        min_users: people who must have seen an image, at least 1.
        prompts: whether prompts, and words of them, are shown too.
    """

    min_users: int = 3
    prompts: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """A user's vector under one model version at one history revision.

    Attributes:
        user_id: whose.
        model_version: digest of all that decided the vector.
        revision: the history revision it was computed from.
        vector: shape (E,), float32.
    """

    user_id: str
    model_version: str
    revision: int
    vector: "npt.NDArray[np.float32]"


@dataclass(frozen=True, slots=True, eq=False)
class SignatureBatch:
    """Signatures of one model version, in the order in which they were put.

    Attributes:
        user_ids: N users, each once.
        sequences: shape (N,), int64, growing.
        revisions: shape (N,), int64, of the histories they were computed from.
        vectors: shape (N, E), float32; (0, 0) when there is none.
    """

    user_ids: tuple[str, ...]
    sequences: "npt.NDArray[np.int64]"
    revisions: "npt.NDArray[np.int64]"
    vectors: "npt.NDArray[np.float32]"

    def __len__(self) -> int:
        return len(self.user_ids)


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """What is stored of one model version's signatures.

    Attributes:
        model_version: digest of all that decided the vectors.
        num_signatures: users with one.
        newest_at: when the last one was put, UTC.
    """

    model_version: str
    num_signatures: int
    newest_at: datetime | None
