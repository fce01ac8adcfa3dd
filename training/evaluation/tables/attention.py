"""How alike the same image attends behind people of one community and of different ones (Fig. 3).

Axes: N people, O orders of each one's references, C images that attend, A heads, K preference
tokens, F = A K.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from recsys.clusters.group import group
from recsys.signatures.attention_maps import (
    MAP_READINGS,
    NUM_ORDERS,
    MapReading,
    heads_of_maps,
)
from recsys.signatures.definition import Head
from recsys.signatures.files import has_signature, load_signature_readers
from training.data.samples import Sample
from training.evaluation.history_cuts import Cut, cut_histories
from training.evaluation.interpretation import attention_maps, data_url
from training.evaluation.judge import Judge
from training.evaluation.map_likeness import Likeness, cosines_of_maps, likeness, scale_of
from training.evaluation.plots import MapRow, attention_plot
from training.evaluation.section import NOTHING, Cell, Grid, Plot, Section, number, with_interval
from training.evaluation.signature_judge import SignatureJudge
from training.evaluation.tables.table import ReportTable
from training.predictors.predictor import CandidateRow

MOST_PEOPLE = 200
"""Of those never learned from, and of those learned from."""

NUM_TARGETS = 8
NUM_COMMUNITIES_SHOWN, NUM_PEOPLE_SHOWN = 3, 4
PROGRESS_EVERY = 8

WORLD, CLUSTERS = "the world's communities", "clusters of signatures of the people's other choices"
READINGS: dict[MapReading, str] = {
    "log_ratio": "where the score is read",
    "printed": "as in Eq. 6",
}
CHANGED, AS_IT_IS = "of_choices", "as_it_is"
WAYS = {CHANGED: "what choices change", AS_IT_IS: "less the mean person's"}
GROUPS = {
    "all": "all",
    "unseen": "never learned from",
    "seen": "learned from",
    "seen_and_unseen": "one of each",
}


@dataclass(frozen=True)
class ShownPerson:
    """One person of the picture.

    Attributes:
        user: whose references.
        community: which of the communities, 0 or more.
        is_seen: whether the checkpoint learned from this person.
        maps: by reading, for each order of the references what the choices change in the F numbers
            of the image's map, in root mean squares over everybody.
    """

    user: str
    community: int
    is_seen: bool
    maps: Mapping[MapReading, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True)
class Attention:
    """How alike maps are, and the picture of some.

    Attributes:
        communities: what they are.
        num_communities: among these people.
        num_people: whose maps were read.
        num_references: of each, at most.
        num_targets: images that attend.
        num_orders: of each one's references.
        heads: whose attention is read where the score is.
        likeness: by reading, by what of it (one of `WAYS`), and by who is compared (one of
            `GROUPS`).
        image: data URL of the picture's image, the same for all.
        people: of the picture, community by community.
    """

    communities: str
    num_communities: int
    num_people: int
    num_references: int
    num_targets: int
    num_orders: int
    heads: tuple[Head, ...]
    likeness: Mapping[MapReading, Mapping[str, Mapping[str, Likeness]]]
    image: str
    people: tuple[ShownPerson, ...]


def measure(judge: Judge) -> Attention | None:
    """Maps of the first people's random halves; None where there is nobody to compare."""
    if judge.scorer.config.num_preference_tokens == 0:
        return None
    cuts = _cuts(judge)
    known = _communities(judge, cuts) if cuts else None
    if known is None:
        return None
    what, communities = known
    is_seen = np.array([user in judge.asked.seen for user in cuts])
    targets = _targets(cuts)
    heads = heads_of_maps(judge.scorer, judge.folder)
    likenesses: dict[MapReading, dict[str, dict[str, Likeness]]] = {}
    shown: dict[MapReading, Float[np.ndarray, "N O F"]] = {}
    for reading in MAP_READINGS:
        changed = _maps(judge, cuts, targets, heads, reading, of_choices=True)
        plain = _maps(judge, cuts, targets, heads, reading, of_choices=False)
        scale = scale_of(plain[0])
        ways = {CHANGED: changed, AS_IT_IS: (scale(plain[0]), scale(plain[1]))}
        likenesses[reading] = {
            way: _likeness(own, others, cuts, communities, is_seen, seed=judge.seed)
            for way, (own, others) in ways.items()
        }
        first = changed[0][:, :, 0]
        shown[reading] = first / max(float(np.sqrt((first**2).mean())), 1e-30)
    if not likenesses["log_ratio"][CHANGED]:
        return None
    return Attention(
        communities=what,
        num_communities=len(set(communities.tolist())),
        num_people=len(cuts),
        num_references=max(len(cut.first) for cut in cuts.values()),
        num_targets=len(targets),
        num_orders=NUM_ORDERS,
        heads=heads,
        likeness=likenesses,
        image=data_url(judge.stored(targets[0].row)),
        people=tuple(_people(list(cuts), communities, is_seen, shown)),
    )


def section(result: Attention) -> Section:
    """The picture of some people's maps, and the number that it claims."""
    rows = [
        MapRow(
            f"{each.user} ({'seen' if each.is_seen else 'unseen'})",
            f"community {each.community}",
            {READINGS[reading]: np.array(maps) for reading, maps in each.maps.items()},
        )
        for each in result.people
    ]
    caption = (
        f"The same image behind people's references, {result.num_orders} orders of each: what their"
        " choices change in its attention to the preference tokens, that is less the same with"
        " likes and dislikes exchanged, relative to its usual size. Left as signatures read it,"
        " where the image's score is read, as log-ratios head by head; right as in Eq. 6, averaged"
        " over tokens, heads and layers."
    )
    heads = {
        READINGS["log_ratio"]: [f"layer {at + 1}\nhead {head + 1}" for at, head in result.heads],
        READINGS["printed"]: ["mean of\nall heads"],
    }
    plot = Plot(lambda: attention_plot(rows, heads), caption, image=result.image)
    return Section("Attention to the preference tokens", [plot, _conclusion(result), _grid(result)])


def _conclusion(result: Attention) -> str:
    told = []
    for reading, name in READINGS.items():
        of = result.likeness[reading][CHANGED]["all"]
        told.append(
            f"{name} {number(of.same_community.value)} within and"
            f" {number(of.other_community.value)} between communities, a difference of"
            f" {with_interval(of.difference, _signed)}"
        )
    return (
        f"The number that the picture claims, the mean cosine of two people's maps, is"
        f" {'; '.join(told)}. Communities are {result.communities}."
    )


def _grid(result: Attention) -> Grid:
    rows = [
        _row(f"{READINGS[reading]}, {WAYS[way]}: {GROUPS[who]}", likeness)
        for way in WAYS
        for reading, by_way in result.likeness.items()
        for who, likeness in by_way[way].items()
    ]
    caption = (
        f"Mean cosine of two maps of the same image: {result.num_people} people of"
        f" {result.num_communities} communities, {result.num_targets} images,"
        f" {result.num_orders} orders of a random half of each history (at most"
        f" {result.num_references} references). Control: communities dealt to people anew."
        " Intervals are by bootstrap over people, who make pairs with all that are drawn."
    )
    heads = (
        "maps: people",
        "one person, other orders",
        "one person, other choices",
        "one community",
        "different communities",
        "difference",
        "control",
    )
    return Grid(heads, rows, caption)


def _row(name: str, of: Likeness) -> tuple[Cell, ...]:
    own = [
        NOTHING if each is None else number(each.value, 3)
        for each in (of.other_orders, of.other_choices, of.same_community, of.other_community)
    ]
    return (name, *own, *(with_interval(each, _signed) for each in (of.difference, of.control)))


def _cuts(judge: Judge) -> dict[str, Cut]:
    """Two random halves of the histories of those never learned from, then of the others."""
    users = [*list(judge.asked.unseen)[:MOST_PEOPLE], *list(judge.asked.seen)[:MOST_PEOPLE]]
    num_references = judge.num_references
    return cut_histories(judge.asked.table, users, num_references=num_references, seed=judge.seed)


def _communities(judge: Judge, cuts: Mapping[str, Cut]) -> tuple[str, Int[np.ndarray, " N"]] | None:
    """The world's where it is known, else clusters by what the maps were not read from."""
    truth = judge.truth_of({user: Sample(cut.first, cut.second) for user, cut in cuts.items()})
    if truth is not None:
        return WORLD, np.array([truth.community(user) for user in cuts])
    if not has_signature(judge.folder):
        return None
    readers = load_signature_readers(judge.folder, judge.scorer)
    reader = SignatureJudge(judge.scorer, readers, judge.features, cuts, judge.progress)
    vectors = reader.signatures([cut.second for cut in cuts.values()], "other halves")
    return CLUSTERS, group(vectors.astype(np.float32), method="kmeans").labels


def _targets(cuts: Mapping[str, Cut]) -> list[CandidateRow]:
    """The first liked image of the first people, of choices that their maps do not read."""
    first = [cut.second[0] for cut in list(cuts.values())[:NUM_TARGETS]]
    return [CandidateRow(pair.liked, pair.prompt) for pair in first]


def _maps(
    judge: Judge,
    cuts: Mapping[str, Cut],
    targets: Sequence[CandidateRow],
    heads: Sequence[Head],
    reading: MapReading,
    *,
    of_choices: bool,
) -> tuple[Float[np.ndarray, "N O C F"], Float[np.ndarray, "N 1 C F"]]:
    """Maps behind first halves in all orders, and behind second halves in one."""

    def read(half: str, num_orders: int) -> Float[np.ndarray, "N O C F"]:
        what = f"attention {READINGS[reading]}, {WAYS[CHANGED if of_choices else AS_IT_IS]}"

        def progress(done: int) -> None:
            if done % PROGRESS_EVERY == 0 or done == len(cuts):
                judge.progress(f"{what}: {half} halves, {done} of {len(cuts)}")

        maps = attention_maps(
            judge.scorer,
            judge.features,
            [getattr(cut, half) for cut in cuts.values()],
            targets,
            heads=heads,
            reading=reading,
            of_choices=of_choices,
            num_orders=num_orders,
            seed=judge.seed,
            progress=progress,
        )
        return np.asarray(maps.reshape(*maps.shape[:3], -1))

    return read("first", NUM_ORDERS), read("second", 1)


def _likeness(
    maps: Float[np.ndarray, "N O C F"],
    others: Float[np.ndarray, "N P C F"],
    cuts: Mapping[str, Cut],
    communities: Int[np.ndarray, " N"],
    is_seen: Bool[np.ndarray, " N"],
    *,
    seed: int,
) -> dict[str, Likeness]:
    """How alike maps are by who is compared, where there is somebody to compare."""
    cosines = cosines_of_maps(maps, others)
    lengths = np.array([len(cut.first) for cut in cuts.values()])
    found = {}
    for name, counted in _compared(is_seen).items():
        n_pairs = int(lengths[counted.any(axis=1)].sum())
        one = likeness(cosines, communities, counted, n_pairs=n_pairs, seed=seed)
        if one is not None:
            found[name] = one
    return found


def _compared(is_seen: Bool[np.ndarray, " N"]) -> dict[str, Bool[np.ndarray, "N N"]]:
    """Which two people are compared; groups that say the same as all are left out."""
    one, other = is_seen[:, None], is_seen[None]
    compared = {"all": one | ~one | other}
    if is_seen.any() and not is_seen.all():
        compared |= {"unseen": ~one & ~other, "seen": one & other, "seen_and_unseen": one != other}
    return compared


def _people(
    users: Sequence[str],
    communities: Int[np.ndarray, " N"],
    is_seen: Bool[np.ndarray, " N"],
    maps: Mapping[MapReading, Float[np.ndarray, "N O F"]],
) -> Iterator[ShownPerson]:
    """The first people of the largest communities, half of them learned from where both are."""
    sizes = np.bincount(communities)
    for community in np.argsort(-sizes, kind="stable")[:NUM_COMMUNITIES_SHOWN]:
        members = np.flatnonzero(communities == community)
        seen, unseen = members[is_seen[members]], members[~is_seen[members]]
        num_seen = min(len(seen), max(NUM_PEOPLE_SHOWN // 2, NUM_PEOPLE_SHOWN - len(unseen)))
        for place in [*unseen[: NUM_PEOPLE_SHOWN - num_seen], *seen[:num_seen]]:
            rows = {
                reading: tuple(tuple(map(float, row)) for row in each[place].round(3))
                for reading, each in maps.items()
            }
            yield ShownPerson(users[place], int(community), bool(is_seen[place]), rows)


def _signed(value: float) -> str:
    text = number(value, 3)
    return f"+{text}" if value > 0 and text != NOTHING else text


TABLE = ReportTable("attention", measure, section)
