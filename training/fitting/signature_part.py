"""A trained scorer's signature part: probes chosen, projections fitted, both written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

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
from training.fitting.signatures import (
    FEWEST_USERS,
    HEADS_FROM,
    check_enough,
    draw_halves,
    fit_parts,
    fit_signatures,
)
from training.fitting.split_half import Finding, SplitHalf
from training.predictors.predictor import CandidateRow

_Fitted = TypeVar("_Fitted")


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
        probes, projections = self._fit(fit_signatures, scorer, encoder, console)
        images = [self.store.image(self.learned.images[each.row]) for each in probes]
        prompts = [each.prompt for each in probes]
        stored = [Probe(*each) for each in zip(images, prompts, strict=True)]
        recipe = self.recipe.signature
        return lambda folder: write_signature(
            folder,
            stored,
            projections,
            num_orders=recipe.num_orders,
            served=recipe.served if recipe.served in projections else None,
        )

    def objective(self, scorer: PreferenceScorer, encoder: Encoder, console: Console) -> Finding:
        """The objective of stage 2: the probes, and projections fitted on a few users now.

        Args:
            scorer, encoder, console: as `writer` takes them.

        Raises:
            ValueError: if there are too few users to fit on.
        """
        recipe = self.recipe.signature
        few = replace(recipe, most_users=min(recipe.most_users, HEADS_FROM))
        chosen, projections = replace(self, recipe=replace(self.recipe, signature=few))._fit(
            fit_parts, scorer, encoder, console
        )
        return Finding(
            scorer,
            SplitHalf(projections).to(scorer.backbone.device),
            [[chosen[place] for place in part] for part in recipe.probe_parts],
            weight=recipe.weight,
            seed=self.recipe.second.plan.seed,
        )

    def _fit(
        self,
        fit: Callable[..., _Fitted],
        scorer: PreferenceScorer,
        encoder: Encoder,
        console: Console,
    ) -> tuple[tuple[CandidateRow, ...], _Fitted]:
        """The probes, and what is fitted to readings of them, all of which can be read."""
        learned = readable(self.learned, encoder, self._drawn)
        chosen = probes_of(self.recipe, learned)
        with inference(scorer):
            probes = Probes(
                tuple(each.prompt for each in chosen), encoder.rows([each.row for each in chosen])
            )
            fitted = fit(
                scorer,
                learned,
                encoder.rows,
                probes,
                self.recipe.signature,
                seed=self.recipe.split.seed,
                console=console,
            )
        return chosen, fitted

    def _drawn(self, learned: PairTable) -> set[int]:
        """Rows of all images that `writer` and `objective` read."""
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
