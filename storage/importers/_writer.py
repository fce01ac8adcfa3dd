"""Drafts -> stored choices, in transactions of a bounded number of rows and bytes."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

from storage.errors import ImageBlocked, InvalidRecord, InvalidSource, UserErased
from storage.histories import HistoryStore
from storage.importers._drafts import Draft, DraftImage, content_id
from storage.importers._earlier import EarlierChoices, earlier_choices
from storage.importers._image_folder import IMAGE_BLOCKED, check_image, read_image_file
from storage.importers.origin import Origin
from storage.importers.report import ImportReport, Refusal, RowProgress, Skipped
from storage.records import Appended, Choice, InspectImage, NewImages
from storage.rules import check_choice, check_user_id
from storage.takedowns import ImageTakedowns

USER_ERASED = "the user was erased"

MAX_ROWS = 200
MAX_BYTES = 32 * 2**20

_Item = tuple[Draft, Choice, NewImages]


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
        self._earlier: EarlierChoices  # while rows are written
        self._kind = kind
        self._inspect = inspect
        self._progress = progress
        self._report = ImportReport()
        self._items: list[_Item] = []
        self._images: NewImages = {}
        self._num_rows = 0
        self._num_bytes = 0

    def write(self, rows: Iterable[Draft | Skipped]) -> ImportReport:
        """Store all drafts and count all that is left out.

        If `origin` replaces, what earlier imports of the data set have stored and these rows do
        not hold is removed in the end, when all rows are stored; but not if there are rows and
        none can be used.

        Rows of users who were erased, or that show a blocked image, are left out too; a draft that
        shortens is stored without the blocked images that it passes over. Request ids are of what
        the source tells, so what a takedown has shortened counts as stored.

        Raises:
            InvalidSource: as the rows raise it; all rows before it are stored.
            IdentityKeyMissing: if nobody can tell who was erased, because a key is not given.
            StorageFull: if there is no room left; all transactions before stand.
        """
        report = self._report
        with earlier_choices(self._store, self._origin.dataset) as self._earlier:
            try:
                for row in rows:
                    self._take(row)
            except InvalidSource:
                self._commit()
                raise
            self._commit()
            is_usable = report.num_stored or report.num_repeated or not report.num_read
            if self._origin.replaces and is_usable:
                report.num_removed = self._earlier.remove_unmet()
            report.num_left = self._earlier.num_unmet()
            report.num_merged = self._earlier.num_merged()
        return report

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
        answered = self._append(self._items)
        if self._origin.replaces:
            answered = self._correct(answered)
        answers = [answer for _, answer in answered]
        self._earlier.meet(answers)
        given = {each.stored.choice.user_id for each in answers if not each.repeated}
        self._earlier.note_merged(given)
        for answer in answers:
            choice = answer.stored.choice
            self._report.num_repeated += answer.repeated
            self._report.num_stored += not answer.repeated
            is_pair = choice.liked is not None and choice.passed_over
            self._report.num_unpaired += not answer.repeated and not is_pair
        self._items, self._images, self._num_rows, self._num_bytes = [], {}, 0, 0
        self._progress(self._report.num_read)

    def _append(self, items: Sequence[_Item]) -> list[tuple[_Item, Appended]]:
        """Store choices, but for rows that must not be stored, which are counted."""
        while items:
            try:
                answers = self._store.append_many(
                    [(choice, images) for _, choice, images in items], shareable=self._shareable
                )
                return list(zip(items, answers, strict=True))
            except UserErased as error:
                is_by_any = partial(_is_by_any, set(error.user_ids))
                items = self._leave_out(items, USER_ERASED, is_by_any)
            except ImageBlocked as error:
                blocked = set(error.sha256s)
                items = [_shortened(each, blocked) for each in items]
                shows_any = partial(_shows_any, blocked)
                items = self._leave_out(items, IMAGE_BLOCKED, shows_any)
        return []

    def _correct(self, answered: Sequence[tuple[_Item, Appended]]) -> list[tuple[_Item, Appended]]:
        """Store anew what stands otherwise under the same request id since an earlier import.

        The old choice stays, without its request id, until what was not met is removed.
        """
        outdated: set[int] = set()
        met: set[int] = set()
        again: list[_Item] = []
        right: list[tuple[_Item, Appended]] = []
        for item, answer in answered:
            choice_id = answer.stored.choice_id
            is_first = answer.repeated and choice_id not in met
            is_told = self._tells(item[1], answer.stored.choice)
            if is_first and not is_told and self._earlier.is_unmet(choice_id):
                outdated.add(choice_id)
            if choice_id in outdated:
                again.append(item)
            else:
                met.add(choice_id)
                right.append((item, answer))
        if outdated:
            self._earlier.set_aside(outdated)
        return right + self._append(again)

    def _tells(self, choice: Choice, stored: Choice) -> bool:
        """Tell whether a stored choice is what the source tells, but for blocked images."""
        gone = set(choice.passed_over) - set(stored.passed_over)
        if _without(choice, gone) != stored:
            return False
        takedowns = ImageTakedowns(self._store.database, self._store.blobs)
        return not gone or gone == takedowns.blocked_among(gone)

    def _leave_out(
        self, items: Sequence[_Item], reason: str, is_left_out: Callable[[Choice], bool]
    ) -> list[_Item]:
        for draft, choice, _ in items:
            # Ratings of blocked images are counted as they are read, and are no rows of a draft.
            if is_left_out(choice) and draft.num_rows:
                self._report.skip(Skipped(draft.where, reason, num_rows=draft.num_rows))
        return [each for each in items if not is_left_out(each[1])]


def _is_by_any(user_ids: set[str], choice: Choice) -> bool:
    return choice.user_id in user_ids


def _shortened(item: _Item, blocked: Collection[str]) -> _Item:
    """Take blocked images out of a choice that passes them over, where something is left."""
    draft, choice, images = item
    shortened = _without(choice, blocked)
    is_empty = shortened.liked is None and not shortened.passed_over
    return item if is_empty or not draft.shortens else (draft, shortened, images)


def _without(choice: Choice, images: Collection[str]) -> Choice:
    """A choice without some images that were passed over."""
    left = tuple(each for each in choice.passed_over if each not in images)
    return replace(choice, passed_over=left)


def _shows_any(images: set[str], choice: Choice) -> bool:
    return not images.isdisjoint((choice.liked, *choice.passed_over))
