"""The people of the test: their worlds, who is learned from, and what is asked of whom."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recsys.history import Pair
from storage.histories import HistoryStore
from training.claims.design import Design, PeopleWorld
from training.data.samples import PairTable, read_pair_table
from training.evaluation.questions import Samples, newest_samples
from training.world.creation import create_world
from training.world.gallery import WorldProgress

_ASK_SEED = 0


@dataclass(frozen=True, eq=False)
class AskedGroup:
    """What one group is asked, the same by every cell.

    Attributes:
        name: of the group.
        table: what rows stand for.
        samples: by person, behind all references.
        digest: SHA-256 of all of it, by which results from several machines are told to be of the
            same questions.
    """

    name: str
    table: PairTable
    samples: Samples
    digest: str


def worlds(design: Design) -> tuple[PeopleWorld, ...]:
    """All worlds of a design."""
    return (design.trained, *design.new, design.learners)


def create_people(
    world: PeopleWorld, store: HistoryStore, folder: Path, *, progress: WorldProgress
) -> None:
    """Create one of the worlds, as `recsys world create` does; done already, it is not done again.

    Args:
        world: to create.
        store: receives the choices.
        folder: receives the truth, and a mark that the world is complete.
        progress: as of `create_world`.
    """
    mark = folder / f"world-{world.seed}.json"
    values = json.dumps(vars(world))
    if mark.exists() and mark.read_text() == values:
        return
    create_world(
        store,
        num_users=world.num_users,
        seed=world.seed,
        communities_seed=world.communities,
        num_choices=world.num_choices,
        num_prompts=world.num_prompts,
        truth_path=folder / f"truth-{world.seed}.npz",
        progress=progress,
    )
    mark.write_text(values)


def people_of(world: PeopleWorld) -> list[str]:
    """The ids of a world's people, as `create_world` gives them."""
    return [f"s{world.seed}-u{number:05}" for number in range(world.num_users)]


def learners_of(design: Design, seed: int) -> list[str]:
    """Those set apart for a seed, in the order in which cells take them; no two seeds share one.

    Raises:
        ValueError: if there are not enough people for all seeds.
    """
    rule, most = design.rule, design.most_learners
    free = [user for user in people_of(design.learners) if not rule.holds_user(user)]
    if len(free) < most * len(design.seeds):
        raise ValueError(
            f"the learners' world must have {most * len(design.seeds)} people beside those held for"
            f" validation, has {len(free)}"
        )
    begin = most * design.seeds.index(seed)
    return free[begin : begin + most]


def validation_of(design: Design) -> list[str]:
    """People whom weights are chosen by."""
    held = [user for user in people_of(design.learners) if design.rule.holds_user(user)]
    return held[: design.num_validation]


def asked_groups(design: Design, store: HistoryStore) -> Iterator[AskedGroup]:
    """Each group of people with what they are asked, one after the other.

    Whoever is judged is asked about their newest choices, behind what came before. Learners are
    asked about prompts that nobody learns from; images of these that weights were chosen by are
    not left out, for a gap between two runs has them on both sides.

    Args:
        design: who, and how much.
        store: their choices.

    Raises:
        ValueError: if a group has nobody to ask.
    """
    for world in (design.trained, *design.new):
        table = read_pair_table(store, frozenset(people_of(world)))
        yield _asked(design, world.name, table, dict(table.pairs), design.num_pairs)
    known = {u for seed in design.seeds for u in learners_of(design, seed)[: design.num_known]}
    table = read_pair_table(store, known)
    askable = {
        user: [pair for pair in pairs if design.rule.holds_prompt(pair.prompt)]
        for user, pairs in table.pairs.items()
    }
    yield _asked(design, design.learners.name, table, askable, design.num_known_pairs)


def _asked(
    design: Design,
    name: str,
    table: PairTable,
    askable: Mapping[str, Collection[Pair]],
    num_pairs: int,
) -> AskedGroup:
    samples = newest_samples(
        table,
        askable,
        seed=_ASK_SEED,
        num_references=design.reference_counts[-1],
        num_pairs=num_pairs,
    )
    if not samples:
        raise ValueError(f"somebody of the group {name} must have enough choices, nobody has")
    ordered = {user: samples[user] for user in sorted(samples)}
    return AskedGroup(name, table, ordered, _digest(table, ordered))


def _digest(table: PairTable, samples: Samples) -> str:
    digest = hashlib.sha256()
    for user, sample in samples.items():
        rows = [
            (table.images[pair.liked], table.images[pair.disliked], pair.prompt)
            for pair in (*sample.references, *sample.pairs)
        ]
        digest.update(json.dumps([user, rows]).encode())
    return digest.hexdigest()
