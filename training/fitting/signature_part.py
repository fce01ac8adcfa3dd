"""A trained scorer's signature part: probes chosen, projections fitted, both written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recsys.scorer.model import PreferenceScorer
from recsys.signatures.files import Probe, write_signature
from recsys.signatures.probes import Probes
from storage.histories import HistoryStore
from training.data.batches import without_rows
from training.data.encoding import Encoder
from training.data.samples import PairTable, images_of
from training.fitting.assembly import inference
from training.fitting.probe_choice import choose_probes
from training.fitting.recipes.recipe import Recipe
from training.fitting.signatures import FEWEST_USERS, check_enough, draw_halves, fit_signatures
from training.predictors.predictor import CandidateRow


@dataclass(frozen=True)
class SignatureFit:
    """What the signature part of a checkpoint is made of.

    Attributes:
        recipe: of the run.
        store: where the probes' bytes are.
        learned: the training part, without images that are known to be unreadable.
    """

    recipe: Recipe
    store: HistoryStore
    learned: PairTable

    def check(self) -> None:
        """Refuse before training what would be refused after it.

        Raises:
            ValueError: if there are too few users to fit on, or stage 2's samples are too short
                for its objective.
        """
        recipe = self.recipe
        first, _ = draw_halves(
            self.learned,
            num_references=recipe.scorer.num_references,
            most_users=FEWEST_USERS,
            seed=recipe.split.seed,
        )
        check_enough(len(first))
        if recipe.signature.weight and 2 * recipe.second.num_pairs < recipe.scorer.num_references:
            raise ValueError(
                "stage 2 compares references with as many pairs to be told apart, and"
                f" second.num_pairs is {recipe.second.num_pairs} beside"
                f" {recipe.scorer.num_references} references: raise it, or set"
                " signature.weight to 0"
            )

    def writer(
        self, scorer: PreferenceScorer, encoder: Encoder, console: Console
    ) -> Callable[[Path], None]:
        """Fit the projections now; what is returned writes them and the probes into a folder.

        Args:
            scorer: trained.
            encoder: image tokens.
            console: where progress is shown.

        Raises:
            ValueError: if there are too few users to fit on.
        """
        recipe = self.recipe.signature
        learned = readable(self.learned, encoder, self._drawn)
        candidates = probes_of(self.recipe, learned)
        images = [self.store.image(learned.images[each.row]) for each in candidates]
        prompts = tuple(each.prompt for each in candidates)
        with inference(scorer):
            probes = Probes(prompts, encoder.rows([each.row for each in candidates]))
            projections = fit_signatures(
                scorer,
                learned,
                encoder.rows,
                probes,
                recipe,
                seed=self.recipe.split.seed,
                console=console,
            )
        stored = [Probe(*each) for each in zip(images, prompts, strict=True)]
        return lambda folder: write_signature(
            folder, stored, projections, num_orders=recipe.num_orders
        )

    def _drawn(self, learned: PairTable) -> set[int]:
        """Rows of all images that `writer` reads."""
        halves = draw_halves(
            learned,
            num_references=self.recipe.scorer.num_references,
            most_users=self.recipe.signature.most_users,
            seed=self.recipe.split.seed,
        )
        probes = {each.row for each in probes_of(self.recipe, learned)}
        return probes.union(*(images_of(pairs) for side in halves for pairs in side))


def probes_of(recipe: Recipe, learned: PairTable) -> tuple[CandidateRow, ...]:
    """The probes of a run: the same in stage 2 as in the checkpoint, unless some prove unreadable.

    Raises:
        ValueError: if there is no image to choose from.
    """
    return choose_probes(learned, num_probes=recipe.signature.num_probes, seed=recipe.split.seed)


def readable_probes(
    recipe: Recipe, learned: PairTable, encoder: Encoder
) -> tuple[CandidateRow, ...]:
    """The same, chosen anew until all of them can be read."""
    left = readable(learned, encoder, lambda left: {p.row for p in probes_of(recipe, left)})
    return probes_of(recipe, left)


def readable(
    learned: PairTable, encoder: Encoder, drawn: Callable[[PairTable], set[int]]
) -> PairTable:
    """What was learned from, less all images that are drawn from it and cannot be read.

    Training may never have come upon them; one of them would end the run with nothing saved.

    Args:
        learned: what is drawn from.
        encoder: reads.
        drawn: the rows that would be drawn from histories.
    """
    while bad := encoder.find_bad(sorted(drawn(learned))):
        learned = without_rows(learned, bad)
    return learned
