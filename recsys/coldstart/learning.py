"""Learn what a server borrows: cold start and the first questions, from the people in storage."""

from collections.abc import Iterable
from dataclasses import dataclass

from recsys.coldstart.data import Lends, Unreadable, UserPairs, read_user_pairs, token_reader
from recsys.coldstart.fit import FEWEST_USERS, FitReport, ReadTokens, fit_cold_start
from recsys.coldstart.limits import MAX_USERS
from recsys.coldstart.pool import choose_first_questions
from recsys.coldstart.population import ColdStart
from recsys.counts import counted
from recsys.errors import PreconditionFailed
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits
from recsys.images.reader import ImageReader
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import TrainedOn
from storage.coldstart.populations import StoredColdStart
from storage.coldstart.records import FirstQuestions
from storage.histories import HistoryStore
from storage.records import SharingRules
from storage.sharing import ImageSharing

MOST_UNREADABLE = 0.01
"""Share of the images; where more cannot be read, storage is damaged and not an image."""


@dataclass(frozen=True, eq=False)
class LearnedColdStart:
    """What was learned from the people in storage for one model version.

    Attributes:
        model_version: the scorer's.
        cold_start: classes and blend.
        report: of their fit.
        questions: the first ones to a new user; none where too few images may be shown.
        num_unreadable: images that could not be read; nothing is learned from pairs that show one.
    """

    model_version: str
    cold_start: ColdStart
    report: FitReport
    questions: FirstQuestions
    num_unreadable: int = 0

    def cautions(self) -> list[str]:
        """What to beware of, a sentence each."""
        images = counted(self.num_unreadable, "image")
        left_out = [f"{images} cannot be read: pairs that show one are left out"]
        return [*self.report.cautions(), *(left_out if self.num_unreadable else ())]

    def stored(self) -> StoredColdStart:
        """The same as storage keeps it."""
        report, data = self.report, self.cold_start.to_bytes()
        return StoredColdStart(
            self.model_version, report.num_users, report.num_pairs, data, self.questions
        )


def learn_cold_start(
    scorer: PreferenceScorer,
    store: HistoryStore,
    *,
    known: TrainedOn | None,
    tokens: ImageTokenCache,
    limits: ImageLimits,
    rules: SharingRules,
    lends: Lends | None = None,
    max_users: int = MAX_USERS,
    seed: int = 0,
) -> LearnedColdStart:
    """Fit classes and blend to people drawn from storage, and choose the first questions.

    Those who decide the blend are people whom the model did not learn from, where there are some.

    Args:
        scorer: frozen.
        store: the people's choices.
        known: whom the scorer learned from; None: nobody, as whom it cannot tell of.
        tokens: where the scorer's image tokens are kept.
        limits: of each image, bytes and pixels.
        rules: of the images and prompts that a first question may show.
        lends: says who is drawn from; None: everybody.
        max_users: most people to learn from, at least 4.
        seed: of all draws.

    Raises:
        PreconditionFailed: if fewer than four users have pairs.
        ImageRefused, UnknownImage: if more than 1 % of the images cannot be read.
    """
    users = read_user_pairs(store, max_users=max_users, seed=seed, lends=lends)
    bad = Unreadable(most=int(MOST_UNREADABLE * len(users.images)))
    reader = ImageReader(store, limits, tokens=tokens)
    read = token_reader(scorer, reader, users.images, unreadable=bad)
    learned, report = _fitted(scorer, users, read, known, seed)
    while bad.rows & _images_of(users):  # their tokens were 0: once more without them
        users = users.without(bad.rows)
        learned, report = _fitted(scorer, users, read, known, seed)
    shown = ImageSharing(store.database).shown_among(users.images, rules)
    questions = choose_first_questions(
        learned, users.histories, users.images, read, shown=shown, seed=seed
    )
    return LearnedColdStart(scorer.model_version, learned, report, questions, len(bad.rows))


def _fitted(
    scorer: PreferenceScorer,
    users: UserPairs,
    read: ReadTokens,
    known: TrainedOn | None,
    seed: int,
) -> tuple[ColdStart, FitReport]:
    if len(users.histories) < FEWEST_USERS:
        raise PreconditionFailed(
            f"a fit needs at least {FEWEST_USERS} users with a liked and a passed-over image,"
            f" got {len(users.histories)}: import more choices"
        )
    return fit_cold_start(
        scorer, users.histories, read, may_judge=may_judge(known, users.user_ids), seed=seed
    )


def _images_of(users: UserPairs) -> set[int]:
    return {row for own in users.histories for pair in own for row in (pair.liked, pair.disliked)}


def may_judge(known: TrainedOn | None, user_ids: Iterable[str]) -> list[bool] | None:
    """Of each user, whether they may decide the blend: those whom the model did not learn from.

    Args:
        known: whom it learned from; what it cannot tell of counts as nobody.
        user_ids: of those who lend.

    Returns:
        As `fit_cold_start` takes it; None where nothing is known.
    """
    told = None if known is None else known.told
    return None if told is None else [told.until(user_id) is None for user_id in user_ids]
