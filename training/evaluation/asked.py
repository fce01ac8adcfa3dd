"""All that an evaluation asks, drawn once, so that every predictor answers the same."""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recsys.history import Pair, select
from recsys.scorer.trained_on import TrainedOn
from training.data.samples import PairTable, Sample, images_of
from training.data.splits import eligible
from training.evaluation.questions import (
    OneOfFour,
    Opposed,
    find_opposed,
    newest_samples,
    one_of_four,
    opposed_samples,
    random_samples,
)

NamedPairs = Mapping[str, list[tuple[str, str]]]
"""By user: SHA-256 of a liked and of a disliked image."""

FEWEST_USERS = 2
FEWEST_LIKED = 11
"""Distinct liked images of a user of the paper's data."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Questions to users who were never learned from, and to those who were.

    Attributes:
        table: what rows stand for; all pairs of all users.
        unseen: one liked against one disliked, users never learned from.
        seen: the same of users learned from: choices newer than any learned from, about images
            that were not learned from either.
        num_overlapping: pairs not asked because one of their images was learned from or validated
            on.
        is_certain: whether the checkpoint says whom it learned from, if not of all of them.
        random: what unseen users are asked with references and pairs drawn at random, as the paper
            has it; none where pairs were named.
        opposed: pairs on which two unseen users disagree.
        opposed_sides: both users' sides of them.
        of_four: one liked against three disliked, unseen users; a question each, and one for each
            pair where asked as in the paper.
        of_four_seen: the same of seen users; asked as in the paper alone.
        follows_paper: whether references and pairs are the paper's (`ask_as_paper`).
    """

    table: PairTable
    unseen: dict[str, Sample]
    seen: dict[str, Sample]
    num_overlapping: int
    is_certain: bool
    random: dict[str, Sample] = field(default_factory=dict)
    opposed: list[Opposed] = field(default_factory=list)
    opposed_sides: dict[str, Sample] = field(default_factory=dict)
    of_four: dict[str, tuple[OneOfFour, ...]] = field(default_factory=dict)
    of_four_seen: dict[str, tuple[OneOfFour, ...]] = field(default_factory=dict)
    follows_paper: bool = False

    def known(self) -> PairTable:
        """What baselines may learn from: everybody's pairs but those that are asked.

        A pair is left out for the user who is asked about it; others who chose among the same
        images keep theirs.
        """
        asked: dict[str, set[int]] = {}
        for samples in (self.unseen, self.seen, self.opposed_sides):
            for user, sample in samples.items():
                asked.setdefault(user, set()).update(images_of(sample.pairs))
        for user, questions in (*self.of_four.items(), *self.of_four_seen.items()):
            for question in questions:
                rows = {question.liked.row, *(each.row for each in question.disliked)}
                asked.setdefault(user, set()).update(rows)
        kept = {
            user: tuple(p for p in pairs if not asked.get(user, set()) & {p.liked, p.disliked})
            for user, pairs in self.table.pairs.items()
        }
        return replace(self.table, pairs=kept)


def ask(
    table: PairTable,
    trained: TrainedOn | None,
    *,
    seed: int,
    num_references: int,
    num_pairs: int,
    fewest_references: int | None = None,
    users: Collection[str] | None = None,
    most_users: int | None = None,
    pairs: NamedPairs | None = None,
) -> Asked:
    """Draw the questions, behind references that are selected as served (`newest_samples`).

    Args:
        table: all pairs in storage.
        trained: whom the checkpoint learned from; None counts everybody as unseen. Users that it
            was validated on are not asked.
        seed: decides users, and what is drawn at random.
        num_references: R, references read for each user.
        num_pairs: pairs asked of each user, at most.
        fewest_references: as of `newest_samples`.
        users: judge these alone; all by default.
        most_users: so many unseen and so many seen ones, drawn by the seed; all by default.
        pairs: judge exactly these pairs (and their users) instead of drawn ones.

    Raises:
        ValueError: if fewer than two users can be asked, or a user or pair named is unknown.
    """
    named = _chosen(table, users, pairs)
    chosen = [user for user in named if trained is None or not trained.chose_by(user)]
    used = {
        user: [pair for pair in pairs if trained is not None and trained.used(user, pair)]
        for user, pairs in table.pairs.items()
    }
    shown = {row for pairs in used.values() for row in images_of(pairs)}
    new = {user: set(table.pairs[user]) - set(used[user]) for user in chosen}
    askable = {
        user: [
            pair
            for pair in table.pairs[user]
            if pair in new[user] and not {pair.liked, pair.disliked} & shown
        ]
        for user in chosen
    }
    overlapping = sum(len(new[user]) - len(set(kept)) for user, kept in askable.items())
    seen = {user for user in chosen if trained is not None and trained.until(user) is not None}
    draws = {
        is_seen: _draw(
            table,
            {u: kept for u, kept in askable.items() if (u in seen) == is_seen},
            seed=seed,
            num_references=num_references,
            num_pairs=num_pairs,
            fewest_references=fewest_references,
            most_users=most_users,
            pairs=pairs,
        )
        for is_seen in (False, True)
    }
    _require_users(sum(map(len, draws.values())), num_references, fewest_references)
    whole = Asked(
        table=table,
        unseen=draws[False],
        seen=draws[True],
        num_overlapping=overlapping,
        is_certain=trained is not None,
    )
    if pairs is None:
        unseen = {user: askable[user] for user in draws[False]}
        random = random_samples(
            table, unseen, seed=seed, num_references=num_references, num_pairs=num_pairs
        )
        whole = replace(whole, random=random)
    return _with_opposed(whole, askable, seed=seed)


def ask_as_paper(
    table: PairTable,
    trained: TrainedOn | None,
    *,
    seed: int,
    num_references: int,
    num_pairs: int | None = None,
) -> Asked:
    """Draw the paper's questions (section 4.1) from test data that stand apart.

    Users with at least `FEWEST_LIKED` distinct liked images are asked. References and pairs are a
    user's own test choices at random, and share no image. Seen is whoever the checkpoint learned
    from: the test files hold other images of theirs.

    Args:
        table: all pairs of the test data, none of them learned from.
        trained: whom the checkpoint learned from; None counts everybody as unseen. Users that it
            was validated on are not asked.
        seed: decides references, pairs and the three others of four.
        num_references: R, references read for each user.
        num_pairs: pairs asked of each user, at most; None: all that the references leave.

    Raises:
        ValueError: if fewer than two users can be asked.
    """
    table = eligible(table, FEWEST_LIKED)
    askable = {
        user: list(pairs)
        for user, pairs in sorted(table.pairs.items())
        if trained is None or not trained.chose_by(user)
    }
    drawn = random_samples(
        table, askable, seed=seed, num_references=num_references, num_pairs=num_pairs
    )
    _require_users(len(drawn), num_references)
    known = {user for user in drawn if trained is not None and trained.until(user) is not None}
    seen = {user: sample for user, sample in drawn.items() if user in known}
    whole = Asked(
        table=table,
        unseen={user: sample for user, sample in drawn.items() if user not in known},
        seen=seen,
        num_overlapping=0,
        is_certain=trained is not None,
        of_four_seen=one_of_four(seen, table, seed=seed, most=None),
        follows_paper=True,
    )
    return _with_opposed(whole, askable, seed=seed)


def read_users(path: Path) -> list[str]:
    """User ids of a text file, one a line.

    Raises:
        ValueError: if there is none.
    """
    users = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not users:
        raise ValueError(f"{path} must name at least one user, one a line")
    return users


def read_pairs(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Pairs of a CSV file with columns user_id, liked_image, disliked_image (SHA-256).

    Raises:
        ValueError: if a column is missing or there is no row.
    """
    pairs: dict[str, list[tuple[str, str]]] = {}
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        needed = {"user_id", "liked_image", "disliked_image"}
        if not needed <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{path} must have the columns {', '.join(sorted(needed))}, "
                f"got {', '.join(rows.fieldnames or ()) or 'nothing'}"
            )
        for row in rows:
            pairs.setdefault(row["user_id"], []).append((row["liked_image"], row["disliked_image"]))
    if not pairs:
        raise ValueError(f"{path} must name at least one pair")
    return pairs


def _require_users(number: int, num_references: int, fewest: int | None = None) -> None:
    if number < FEWEST_USERS:
        needed = num_references if fewest is None else min(fewest, num_references)
        raise ValueError(
            f"at least two users must have {needed} references and a pair apart from them,"
            f" got {number}: import more choices"
        )


def _chosen(table: PairTable, users: Collection[str] | None, pairs: NamedPairs | None) -> list[str]:
    named = sorted(pairs) if pairs is not None else users
    if named is None:
        return sorted(table.pairs)
    unknown = [user for user in named if user not in table.pairs]
    if unknown:
        raise ValueError(
            f"every user named must be in storage, {len(unknown)} are not, first: {unknown[0]}"
        )
    return sorted(set(named))


def _draw(
    table: PairTable,
    askable: Mapping[str, list[Pair]],
    *,
    seed: int,
    num_references: int,
    num_pairs: int,
    fewest_references: int | None,
    most_users: int | None,
    pairs: NamedPairs | None,
) -> dict[str, Sample]:
    if pairs is not None:
        return {user: _named_sample(table, user, pairs[user], num_references) for user in askable}
    drawn = newest_samples(
        table,
        askable,
        seed=seed,
        num_references=num_references,
        num_pairs=num_pairs,
        fewest_references=fewest_references,
    )
    return dict(list(drawn.items())[:most_users])


def _named_sample(
    table: PairTable,
    user: str,
    named: list[tuple[str, str]],
    num_references: int,
) -> Sample:
    by_images = {(table.images[p.liked], table.images[p.disliked]): p for p in table.pairs[user]}
    unknown = [names for names in named if names not in by_images]
    if unknown:
        raise ValueError(
            f"every pair named must be in storage: {user} never preferred {unknown[0][0][:12]} "
            f"to {unknown[0][1][:12]}"
        )
    named_pairs = tuple(by_images[names] for names in named)
    images = images_of(named_pairs)
    free = [p for p in table.pairs[user] if not images & {p.liked, p.disliked}]
    return Sample(select(free, num_references), named_pairs)


def _with_opposed(asked: Asked, askable: Mapping[str, list[Pair]], *, seed: int) -> Asked:
    """Add what is asked of unseen users about each other's choices, and of one among four."""
    fair = replace(asked.table, pairs={user: tuple(askable[user]) for user in asked.unseen})
    count = max((len(sample.references) for sample in asked.unseen.values()), default=0)
    opposed = find_opposed(fair, list(asked.unseen), seed=seed)
    most = None if asked.follows_paper else 1
    return replace(
        asked,
        opposed=opposed,
        opposed_sides=opposed_samples(fair, opposed, num_references=count),
        of_four=one_of_four(asked.unseen, fair, seed=seed, most=most),
    )
