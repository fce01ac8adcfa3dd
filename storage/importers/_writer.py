"""Drafts -> stored choices, in transactions of a bounded number of rows and bytes."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from storage.datasets import (
    last_choice_id,
    num_choices_of,
    remove_dataset,
    users_from_elsewhere,
)
from storage.errors import ImageBlocked, InvalidRecord, InvalidSource, UserErased
from storage.histories import HistoryStore
from storage.importers._drafts import Draft, DraftImage, content_id
from storage.importers._image_folder import IMAGE_BLOCKED, check_image, read_image_file
from storage.importers.origin import Origin
from storage.importers.report import ImportReport, Refusal, RowProgress, Skipped
from storage.records import Appended, Choice, InspectImage, NewImages, StoredChoice
from storage.rules import check_choice, check_user_id

USER_ERASED = "the user was erased"

MAX_ROWS = 200
MAX_BYTES = 32 * 2**20
MAX_KNOWN = 500
"""Users whose earlier choices are not looked for again: some 100 bytes each."""


class ChoiceWriter:
    """Writes drafts to storage; a transaction stands whole or not at all.

    Stopped between or within two transactions, what was committed stays; the same drafts written
    again are told apart by their request ids, so only the rest is stored.

    Args:
        store: where choices go.
        origin: the data set.
        kind: of the source, e.g. "pairs"; choices get the source "import:pairs".
        inspect: checks images; a ValueError leaves the row out.
        progress: called with the rows done after each transaction.
        shareable: mark the images as such, those of rows stored before too.
    """

    def __init__(
        self,
        store: HistoryStore,
        origin: Origin,
        *,
        kind: str,
        inspect: InspectImage,
        progress: RowProgress,
        shareable: bool,
    ) -> None:
        self._store = store
        self._origin = origin
        self._shareable = shareable
        self._earlier = _Earlier(store, origin.dataset)
        self._kind = kind
        self._inspect = inspect
        self._progress = progress
        self._report = ImportReport()
        self._items: list[tuple[Draft, Choice, NewImages]] = []
        self._images: NewImages = {}
        self._num_rows = 0
        self._num_bytes = 0

    def write(self, rows: Iterable[Draft | Skipped]) -> ImportReport:
        """Store all drafts and count all that is left out.

        What earlier imports of the data set have stored is removed first, if `origin` says so.

        Rows of users who were erased, or that show a blocked image, are left out too.

        Raises:
            InvalidSource: as the rows raise it; all rows before it are stored.
            IdentityKeyMissing: if nobody can tell who was erased, because a key is not given.
            StorageFull: if there is no room left; all transactions before stand.
        """
        if self._origin.replaces:
            database, blobs = self._store.database, self._store.blobs
            removed = remove_dataset(database, blobs, self._origin.dataset)
            self._report.num_removed = removed.num_choices
        self._earlier.begin()
        try:
            for row in rows:
                self._take(row)
        except InvalidSource:
            self._commit()
            raise
        self._commit()
        self._report.num_left = self._earlier.num_left
        return self._report

    def _take(self, row: Draft | Skipped) -> None:
        if isinstance(row, Draft):
            try:
                self._items.append((row, *self._checked(row)))
            except Refusal as refusal:
                row = Skipped(row.where, refusal.reason, refusal.detail, row.num_rows)
        if isinstance(row, Skipped):
            self._report.skip(row)
        self._report.num_read += row.num_rows
        self._num_rows += 1
        if self._num_rows >= MAX_ROWS or self._num_bytes >= MAX_BYTES:
            self._commit()

    def _checked(self, draft: Draft) -> tuple[Choice, NewImages]:
        try:
            check_user_id(draft.user_id)
            check_user_id(self._origin.user_prefix + draft.user_id)
        except InvalidRecord as error:
            raise Refusal("user_id cannot be stored", str(error)) from error
        images: NewImages = {}
        liked = None if draft.liked is None else self._admit(draft.liked, images)
        # Copies of one image under two names are one image, passed over once.
        passed_over = dict.fromkeys(self._admit(each, images) for each in draft.passed_over)
        if liked in passed_over:
            raise Refusal("the liked and the disliked image are the same", f"SHA-256 {liked}")
        choice = self._choice(draft, liked, tuple(passed_over))
        try:
            check_choice(choice)
        except InvalidRecord as error:
            raise Refusal("the choice breaks a rule", str(error)) from error
        self._keep(images)
        return choice, images

    def _admit(self, picture: DraftImage, images: NewImages) -> str:
        if isinstance(picture, bytes):
            data, name = picture, ""
        else:
            data, name = read_image_file(picture), picture.name
        facts = check_image(data, self._inspect, name=name)
        images[facts.sha256] = self._images.get(facts.sha256, (facts, data))
        return facts.sha256

    def _keep(self, images: NewImages) -> None:
        for sha256, (facts, data) in images.items():
            if sha256 not in self._images:
                self._images[sha256] = (facts, data)
                self._num_bytes += len(data)

    def _choice(self, draft: Draft, liked: str | None, passed_over: tuple[str, ...]) -> Choice:
        when = draft.chosen_at.isoformat() if draft.is_timed else None
        user_id = self._origin.user_prefix + draft.user_id
        content = [user_id, liked, passed_over, draft.prompt, when]
        return Choice(
            user_id=user_id,
            liked=liked,
            passed_over=passed_over,
            prompt=draft.prompt,
            chosen_at=draft.chosen_at,
            source=f"import:{self._kind}",
            request_id=draft.request_id or content_id(self._kind, content),
            dataset=self._origin.dataset,
        )

    def _commit(self) -> None:
        strangers = self._earlier.find_strangers({choice.user_id for _, choice, _ in self._items})
        answers = self._append()
        self._report.num_merged += self._earlier.count(answers, strangers)
        for answer in answers:
            choice = answer.stored.choice
            self._report.num_repeated += answer.repeated
            self._report.num_stored += not answer.repeated
            is_pair = choice.liked is not None and choice.passed_over
            self._report.num_unpaired += not answer.repeated and not is_pair
        self._items, self._images, self._num_rows, self._num_bytes = [], {}, 0, 0
        self._progress(self._report.num_read)

    def _append(self) -> list[Appended]:
        """Store what is gathered, but for rows that must not be stored, which are counted."""
        while self._items:
            try:
                items = [(each, images) for _, each, images in self._items]
                return self._store.append_many(items, shareable=self._shareable)
            except UserErased as error:
                self._leave_out(USER_ERASED, partial(_is_by_any, set(error.user_ids)))
            except ImageBlocked as error:
                self._leave_out(IMAGE_BLOCKED, partial(_shows_any, set(error.sha256s)))
        return []

    def _leave_out(self, reason: str, is_left_out: Callable[[Choice], bool]) -> None:
        for draft, choice, _ in self._items:
            if is_left_out(choice):
                self._report.skip(Skipped(draft.where, reason, num_rows=draft.num_rows))
        self._items = [each for each in self._items if not is_left_out(each[1])]


class _Earlier:
    """What was stored before an import began; memory does not grow with the import.

    Args:
        store: where choices go.
        dataset: that is imported.

    Attributes:
        num_left: choices of the data set that were stored before, and were not repeated since.
    """

    def __init__(self, store: HistoryStore, dataset: str) -> None:
        self._database = store.database
        self._dataset = dataset
        self._last_id = 0
        self._known: set[str] = set()
        self.num_left = 0

    def begin(self) -> None:
        """Look at what is stored now."""
        self._last_id = last_choice_id(self._database)
        self.num_left = num_choices_of(self._database, self._dataset)

    def find_strangers(self, user_ids: set[str]) -> frozenset[str]:
        """Those of these users who have choices, but none of the data set."""
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        new = user_ids - self._known
        self._known |= new
        return users_from_elsewhere(self._database, self._dataset, new)

    def count(self, answers: Sequence[Appended], strangers: frozenset[str]) -> int:
        """Take note of what was repeated; return how many strangers were given choices."""
        earlier = {
            answer.stored.choice_id
            for answer in answers
            if answer.repeated and self._is_earlier(answer.stored)
        }
        self.num_left = max(0, self.num_left - len(earlier))
        given = {each.stored.choice.user_id for each in answers if not each.repeated}
        return len(given & strangers)

    def _is_earlier(self, stored: StoredChoice) -> bool:
        return stored.choice_id <= self._last_id and stored.choice.dataset == self._dataset


def _is_by_any(user_ids: set[str], choice: Choice) -> bool:
    return choice.user_id in user_ids


def _shows_any(images: set[str], choice: Choice) -> bool:
    return not images.isdisjoint((choice.liked, *choice.passed_over))
