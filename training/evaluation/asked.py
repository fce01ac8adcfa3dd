"""All that an evaluation asks, drawn once, so that every predictor answers the same."""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from training.data.samples import Pair, PairTable, Sample, draw_sample, images_of, user_rng
from training.data.trained_on import TrainedOn
from training.evaluation.questions import (
    OneOfFour,
    Opposed,
    draw_samples,
    find_opposed,
    one_of_four,
    opposed_samples,
)

NamedPairs = Mapping[str, list[tuple[str, str]]]
"""By user: SHA-256 of a liked and of a disliked image."""

FEWEST_USERS = 2


@dataclass(frozen=True, eq=False)
class Asked:
    """Questions to users who were never learned from, and to those who were.

    Attributes:
        histories: what rows stand for; all pairs of all users.
        unseen: one liked against one disliked, users never learned from.
        seen: the same of users learned from: choices newer than any learned from, about images
            that were not learned from either.
        opposed: pairs on which two unseen users disagree.
        opposed_sides: both users' sides of them.
        of_four: one liked against three disliked, unseen users.
        num_overlapping: pairs not asked because one of their images was learned from or validated
            on.
        is_certain: whether the checkpoint says whom it learned from.
    """

    histories: PairTable
    unseen: dict[str, Sample]
    seen: dict[str, Sample]
    opposed: list[Opposed]
    opposed_sides: dict[str, Sample]
    of_four: dict[str, OneOfFour]
    num_overlapping: int
    is_certain: bool

    def known(self) -> PairTable:
        """What baselines may learn from: everybody's pairs but those that are asked.

        A pair is left out for the user who is asked about it; others who chose among the same
        images keep theirs.
        """
        asked: dict[str, set[int]] = {}
        for samples in (self.unseen, self.seen, self.opposed_sides):
            for user, sample in samples.items():
                asked.setdefault(user, set()).update(images_of(sample.pairs))
        for user, question in self.of_four.items():
            rows = {question.liked.row, *(each.row for each in question.disliked)}
            asked.setdefault(user, set()).update(rows)
        kept = {
            user: tuple(p for p in pairs if not asked.get(user, set()) & {p.liked, p.disliked})
            for user, pairs in self.histories.pairs.items()
        }
        return replace(self.histories, pairs=kept)


def ask(
    histories: PairTable,
    trained: TrainedOn | None,
    *,
    seed: int,
    num_references: int,
    num_pairs: int,
    users: Collection[str] | None = None,
    most_users: int | None = None,
    pairs: NamedPairs | None = None,
) -> Asked:
    """Draw the questions.

    Args:
        histories: all pairs in storage.
        trained: whom the checkpoint learned from; None counts everybody as unseen. Users that it
            was validated on are not asked.
        seed: decides users, references and targets.
        num_references: R, references read for each user.
        num_pairs: target pairs asked of each user, at most.
        users: judge these alone; all by default.
        most_users: so many unseen and so many seen ones, drawn by the seed; all by default.
        pairs: judge exactly these pairs (and their users) instead of drawn ones.

    Raises:
        ValueError: if fewer than two users can be asked, or a user or pair named is unknown.
    """
    named = _chosen(histories, users, pairs)
    chosen = [user for user in named if trained is None or not trained.chose_by(user)]
    used = {
        user: [pair for pair in pairs if trained is not None and trained.used(user, pair)]
        for user, pairs in histories.pairs.items()
    }
    shown = {row for pairs in used.values() for row in images_of(pairs)}
    new = {user: set(histories.pairs[user]) - set(used[user]) for user in chosen}
    askable = {
        user: [
            pair
            for pair in histories.pairs[user]
            if pair in new[user] and not {pair.liked, pair.disliked} & shown
        ]
        for user in chosen
    }
    overlapping = sum(len(new[user]) - len(set(kept)) for user, kept in askable.items())
    seen = {user for user in chosen if trained is not None and trained.until(user) is not None}
    draws = {
        is_seen: _draw(
            histories,
            {u: kept for u, kept in askable.items() if (u in seen) == is_seen},
            seed=seed,
            num_references=num_references,
            num_pairs=num_pairs,
            most_users=most_users,
            pairs=pairs,
        )
        for is_seen in (False, True)
    }
    if sum(map(len, draws.values())) < FEWEST_USERS:
        raise ValueError(
            f"at least two users must have {num_references} references and a pair apart from them,"
            f" got {sum(map(len, draws.values()))}: import more choices"
        )
    return _with_opposed(histories, draws, askable, overlapping, trained is not None, seed=seed)


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
    found: dict[str, list[tuple[str, str]]] = {}
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        needed = {"user_id", "liked_image", "disliked_image"}
        if not needed <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{path} must have the columns {', '.join(sorted(needed))}, "
                f"got {', '.join(rows.fieldnames or ()) or 'nothing'}"
            )
        for row in rows:
            found.setdefault(row["user_id"], []).append((row["liked_image"], row["disliked_image"]))
    if not found:
        raise ValueError(f"{path} must name at least one pair")
    return found


def _chosen(
    histories: PairTable, users: Collection[str] | None, pairs: NamedPairs | None
) -> list[str]:
    named = sorted(pairs) if pairs is not None else users
    if named is None:
        return sorted(histories.pairs)
    unknown = [user for user in named if user not in histories.pairs]
    if unknown:
        raise ValueError(
            f"every user named must be in storage, {len(unknown)} are not, first: {unknown[0]}"
        )
    return sorted(set(named))


def _draw(
    histories: PairTable,
    askable: Mapping[str, list[Pair]],
    *,
    seed: int,
    num_references: int,
    num_pairs: int,
    most_users: int | None,
    pairs: NamedPairs | None,
) -> dict[str, Sample]:
    if pairs is not None:
        return {
            user: _named_sample(histories, user, pairs[user], seed, num_references)
            for user in askable
        }
    drawn = draw_samples(
        histories, askable, seed=seed, num_references=num_references, num_pairs=num_pairs
    )
    return dict(list(drawn.items())[:most_users])


def _named_sample(
    histories: PairTable,
    user: str,
    named: list[tuple[str, str]],
    seed: int,
    num_references: int,
) -> Sample:
    by_images = {
        (histories.images[p.liked], histories.images[p.disliked]): p for p in histories.pairs[user]
    }
    unknown = [names for names in named if names not in by_images]
    if unknown:
        raise ValueError(
            f"every pair named must be in storage: {user} never preferred {unknown[0][0][:12]} "
            f"to {unknown[0][1][:12]}"
        )
    targets = tuple(by_images[names] for names in named)
    images = images_of(targets)
    free = [p for p in histories.pairs[user] if not images & {p.liked, p.disliked}]
    rng = user_rng(seed, user)
    drawn = draw_sample(free, rng, num_references=num_references, num_pairs=0)
    return Sample(drawn.references, targets)


def _with_opposed(
    histories: PairTable,
    draws: Mapping[bool, dict[str, Sample]],
    askable: Mapping[str, list[Pair]],
    num_overlapping: int,
    is_certain: bool,
    *,
    seed: int,
) -> Asked:
    unseen = draws[False]
    fair = replace(histories, pairs={user: tuple(askable[user]) for user in unseen})
    count = max((len(sample.references) for sample in unseen.values()), default=0)
    opposed = find_opposed(fair, list(unseen), seed=seed)
    return Asked(
        histories=histories,
        unseen=unseen,
        seen=draws[True],
        opposed=opposed,
        opposed_sides=opposed_samples(fair, opposed, seed=seed, num_references=count),
        of_four=one_of_four(unseen, fair, seed=seed),
        num_overlapping=num_overlapping,
        is_certain=is_certain,
    )
