"""The people of one population as every way meets them: learned from, lending, and asked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from recsys.coldstart.fit import fit_cold_start
from recsys.coldstart.population import ColdStart
from recsys.history import Pair
from recsys.runtime import Runtime
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import TrainedOn, read_trained_on
from tests.benchmarks.adaptation import Population
from training.data.encoding import Encoded, encode_all
from training.data.samples import PairTable, read_pair_table
from training.evaluation.asked import ask
from training.evaluation.evaluate import MOST_PAIRS
from training.evaluation.four_ways import WayAnswers, answer
from training.evaluation.lending import lenders
from training.evaluation.questions import REFERENCE_COUNTS, Samples
from training.fitting.adapting.dealing import Dealt, deal


@dataclass(frozen=True, eq=False)
class People:
    """One population, its choices and the image tokens of all of them.

    Attributes:
        table: pairs of all.
        dealt: those who are learned from, and those by whom the best weights are chosen.
        asked: others, of the same communities, behind as many references as are asked about.
        lent: the pairs of each of those who are not asked.
        encoded: image tokens.
    """

    table: PairTable
    dealt: Dealt
    asked: Samples
    lent: Mapping[str, tuple[Pair, ...]]
    encoded: Encoded

    def borrowed(self, scorer: PreferenceScorer) -> ColdStart:
        """What a scorer borrows; the blend is decided by people whom nothing was learned from."""
        may_judge = [user not in self.dealt.learned.pairs for user in self.lent]
        people = list(self.lent.values())
        return fit_cold_start(scorer, people, self.encoded.rows, may_judge=may_judge)[0]

    def answers(self, scorer: PreferenceScorer, cold_start: ColdStart) -> WayAnswers:
        """What a scorer says of the pairs of those who are asked, alone and in the blend."""
        return answer(scorer, self.encoded.rows, self.asked, cold_start)


def meet(
    population: Population,
    runtime: Runtime,
    scorer: PreferenceScorer,
    *,
    checkpoint: str | Path,
    num_asked: int,
    console: Console,
) -> People:
    """Draw those who are not there yet, deal them as `recsys adapt` does, and encode their images.

    Args:
        population: whose.
        runtime: with its storage.
        scorer: of the checkpoint; no way changes the image tokens that it makes.
        checkpoint: folder, or the name of a shipped one.
        num_asked: people who are asked, at most.
        console: where progress is shown.

    Raises:
        ValueError: if too few can be learned from or asked.
    """
    population.draw(runtime)
    learned, others = (population.people(runtime, seed) for seed in population.seeds)
    table = read_pair_table(runtime.store, {*learned, *others[:num_asked]})
    known = _known(checkpoint, runtime)
    most = scorer.config.num_references
    own = replace(table, pairs={user: table.pairs[user] for user in learned})
    asked = ask(
        table,
        known,
        seed=0,
        num_references=min(REFERENCE_COUNTS[-1], most),
        num_pairs=MOST_PAIRS,
        users=others[:num_asked],
    ).unseen
    encoded = encode_all(
        scorer,
        runtime.store,
        table.images,
        range(len(table.images)),
        limits=runtime.image_limits,
        console=console,
        tokens=runtime.image_tokens_of(scorer),
    )
    assert not encoded.bad, "a world's images can be read"
    dealt = deal(own, parent=known, num_references=most)
    return People(table, dealt, asked, lenders(table, asked, seed=0), encoded)


def _known(checkpoint: str | Path, runtime: Runtime) -> TrainedOn | None:
    """Whom the checkpoint learned from, as far as it tells."""
    record = read_trained_on(find_checkpoint(checkpoint), runtime.store.keys.known())
    return record if record is not None and record.can_tell else None
