"""A choice as a caller tells it -> checked and stored with its images. It blocks: use a thread."""

from collections.abc import Callable
from datetime import UTC, datetime

from recsys.errors import ImageRefused, InvalidRequest
from recsys.fields import check_prompt, check_request_id, check_sha256, check_user_id
from recsys.images.decode import ImageLimits, admit
from recsys.wire.histories import NewChoice
from recsys.wire.ranking import ImageSource
from storage.histories import HistoryStore
from storage.records import Appended, Choice, ImageFacts

SOURCE = "rpc"


class Recorder:
    """Records choices; storage decides over repeats, unknown images and revisions.

    Args:
        store: of choices and images.
        limits: of each image, bytes and pixels.
        max_images: passed over in one choice; at least 1.
        now: the time in UTC.
    """

    def __init__(
        self,
        store: HistoryStore,
        limits: ImageLimits,
        *,
        max_images: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._limits = limits
        self._max_images = max_images
        self._now = now

    def record(self, new: NewChoice) -> Appended:
        """Store a choice and the images that come with it.

        Raises:
            InvalidRequest: if a field breaks its rule; names it.
            ImageRefused: if an image does; names it.
            UnknownImage: if no stored image has a SHA-256 that was given.
        """
        self._check(new)
        images: dict[str, tuple[ImageFacts, bytes]] = {}
        liked = None if new.liked is None else self._admit(new.liked, "liked", images)
        passed_over = [
            self._admit(each, f"passed_over[{index}]", images)
            for index, each in enumerate(new.passed_over)
        ]
        _check_distinct(liked, passed_over)
        choice = Choice(
            user_id=new.user_id,
            liked=liked,
            passed_over=tuple(passed_over),
            prompt=new.prompt,
            chosen_at=new.chosen_at or self._now(),
            source=SOURCE,
            request_id=new.request_id,
        )
        return self._store.append(choice, images)

    def _check(self, new: NewChoice) -> None:
        check_user_id(new.user_id)
        check_prompt("prompt", new.prompt)
        check_request_id(new.request_id or "")
        if new.liked is None and not new.passed_over:
            raise InvalidRequest(
                "at least one of liked and passed_over must be given, got neither", field="liked"
            )
        if len(new.passed_over) > self._max_images:
            raise InvalidRequest(
                f"passed_over must be at most {self._max_images}, got {len(new.passed_over)}",
                field="passed_over",
            )

    def _admit(
        self, source: ImageSource, field: str, images: dict[str, tuple[ImageFacts, bytes]]
    ) -> str:
        """Return an image's SHA-256; one that came with its bytes is checked and joins `images`."""
        if isinstance(source, str):
            check_sha256(f"{field}.sha256", source)
            return source
        try:
            facts = admit(source, self._limits)
        except ImageRefused as error:
            raise ImageRefused(f"{field}: {error}", field=f"{field}.data") from error
        images[facts.sha256] = (facts, source)
        return facts.sha256


def _check_distinct(liked: str | None, passed_over: list[str]) -> None:
    first = {liked: "liked"} if liked else {}
    for index, sha256 in enumerate(passed_over):
        other = first.setdefault(sha256, f"passed_over[{index}]")
        if other != f"passed_over[{index}]":
            raise InvalidRequest(
                f"passed_over[{index}] must be another image than {other}, got the same",
                field=f"passed_over[{index}]",
            )
