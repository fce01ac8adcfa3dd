"""A trained scorer's signature part: probes chosen, projections fitted, both written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recsys.probing import Probes
from recsys.scorer.model import PreferenceScorer
from recsys.signature_files import Probe, write_signature
from storage.histories import HistoryStore
from training.assembly import inference
from training.encoding import Encoder
from training.predictors import Candidate
from training.probe_choice import choose_probes
from training.recipes import Recipe
from training.samples import Histories
from training.signatures import fit_signatures


@dataclass(frozen=True)
class Signing:
    """What the signature part of a checkpoint is made of.

    Attributes:
        recipe: of the run.
        store: where the probes' bytes are.
        learned: the training part, without unreadable images.
    """

    recipe: Recipe
    store: HistoryStore
    learned: Histories

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
        candidates = probes_of(self.recipe, self.learned)
        images = [self.store.image(self.learned.images[each.row]) for each in candidates]
        prompts = tuple(each.prompt for each in candidates)
        with inference(scorer):
            probes = Probes(prompts, encoder.rows([each.row for each in candidates]))
            projections = fit_signatures(
                scorer,
                self.learned,
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


def probes_of(recipe: Recipe, learned: Histories) -> tuple[Candidate, ...]:
    """The probes of a run: the same in stage 2 as in the checkpoint."""
    return choose_probes(learned, num_probes=recipe.signature.num_probes, seed=recipe.split.seed)
