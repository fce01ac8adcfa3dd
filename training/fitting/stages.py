"""The paper's two stages over the choices in storage: a base model becomes a preference scorer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.adapter import adapter_of, save_adapter
from recsys.scorer.base_model import BaseFiles, BaseModel, find_base
from recsys.scorer.checkpoint import save_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.trained_on import TrainedOn, write_trained_on
from storage.histories import HistoryStore
from storage.trainings import TrainingStore
from training.data.batches import Batches, batches, without_rows
from training.data.encoding import Encoder, Fresh, Upcoming, encode_all
from training.data.features import OpenTokens
from training.data.samples import PairTable, images_of, read_pair_table
from training.data.splits import Split, prompt_weights, split, write_split
from training.data.trained_on import trained_on
from training.fitting.assembly import (
    base_of,
    build_scorer,
    first_parameters,
    free_weights,
    has_tokens,
    load_tokens,
    second_parameters,
    train_only,
)
from training.fitting.first_stage import check_first_stage
from training.fitting.objective import step_loss
from training.fitting.parallel import Processes
from training.fitting.precision import needs_loss_scaling, on_device
from training.fitting.pretraining.record import read_pretraining
from training.fitting.recipes.recipe import Recipe, Stage
from training.fitting.run_record import run_identity, write_run
from training.fitting.signature_part import SignatureFit
from training.fitting.sole_run import sole_run
from training.fitting.step_clock import ENCODING, OFF, StepClock
from training.fitting.trainer import ONE, Run, fit
from training.fitting.validation import calibrate, caution, draw_validation, validation_top1

TOKENS_KEPT = "tokens kept"
"""How stage 2 is named when it takes image tokens from where they are kept."""


@dataclass(frozen=True, eq=False)
class Training:
    """One run of a recipe.

    Attributes:
        recipe: all that decides the run, beside base and choices; a type that it leaves to the
            device is chosen here.
        base: folder or hub id of the base model.
        store: the choices learned from.
        folder: receives states, logs, run.json, split.json and the checkpoints stage1/ and final/,
            and, like these, trained_on.json. The database keeps where it is.
        console: where progress is shown.
        device: where the model is trained.
        processes: those that share the work.
        num_workers: processes that decode images.
        users: learn from these alone, and validate on them; everybody by default.
        limits: of each image, bytes and pixels.
        stage1: a checkpoint whose adapter and preference tokens stage 2 begins with, in place of
            a stage 1 of this run; it must have learned from the same choices, over the same base.
        is_synthetic: the users do not exist, so trained_on.json has plain digests of them, which
            everybody can check. Of others they are made under the store's identity key.
        image_tokens: opens where image tokens are kept, of a scorer in which nothing that makes
            them is trained any more; None: each run makes its own.
        clock: times the steps of `timed_stages`.
    """

    recipe: Recipe
    base: str | Path
    store: HistoryStore
    folder: Path
    console: Console
    device: str = "cpu"
    processes: Processes = ONE
    num_workers: int = 0
    users: Sequence[str] | None = None
    limits: ImageLimits = DEFAULT_LIMITS
    stage1: Path | None = None
    is_synthetic: bool = False
    image_tokens: OpenTokens | None = None
    clock: StepClock = OFF

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", on_device(self.recipe, self.device))

    def run(self) -> Path:
        """Run both stages, resuming an interrupted run, and save a checkpoint after each.

        Returns:
            The folder of the final checkpoint.

        Raises:
            CheckpointRefused: if the base or an adapter cannot be loaded, or stage 1 had another.
            Leakage, ValueError: if the choices are too few for the parts of the split.
            ValueError: if another run is using the folder.
            IdentityKeyMissing: if there is no key for trained_on.json.
            LossNotFinite, RunNotSaved, TooManyBadImages: as `fit` and `stream_images` raise.
        """
        with sole_run(self.folder, self.processes):
            return self._run()

    def _run(self) -> Path:
        parts = self._parts()
        identity = run_identity(
            self.recipe, self.base, parts, stage1=self.stage1, revision=self._files.revision
        )
        learned = self._record(parts)
        if self.processes.is_main:
            # Before the first state is saved: it holds something of those learned from, too.
            write_trained_on(learned, self.folder)
            TrainingStore(self.store.database).record(str(self.folder.resolve()))
            write_split(parts, self.folder / "split.json")
            write_run(
                self.recipe,
                parts,
                self.folder,
                identity,
                base=self._named_base,
                num_processes=self.processes.count,
                pretraining=read_pretraining(self._files.folder),
            )
        self._tell_who_validates(parts)
        scorer = self._initial_scorer(parts)
        encoder = self._encoder(scorer, parts)
        if self.stage1 is None:
            self._stage(self.recipe.first, scorer, parts, encoder, identity)
            self._save(scorer, learned, self.folder / "stage1")
        scorer = self._for_second_stage(scorer)  # without a stage 2, too: so it is served
        # From here on at most P_v is trained, which makes no image tokens.
        encoder = encoder.of(scorer, tokens=self.image_tokens and self._open_tokens)
        if self.recipe.second.plan.num_steps and second_parameters(scorer):
            self._stage(self.recipe.second, scorer, parts, encoder, identity)
        calibrate(scorer, encoder, draw_validation(self.recipe, parts, encoder.bad))
        part = SignatureFit(self.recipe, self.store, without_rows(parts.train, encoder.bad))
        write_signature = part.writer(scorer, encoder, self.console)
        self._save(scorer, learned, self.folder / "final", write_signature)
        if self.processes.is_main:
            folder = str(self.folder.resolve())
            TrainingStore(self.store.database).record(folder, scorer.model_version)
        return self.folder / "final"

    def timed_stages(self) -> Iterator[str]:
        """Do the steps of both stages as `run` does, by the clock, and keep nothing else of them.

        Stage 2 comes twice where steps read images: they encode them, then find their tokens kept.

        Yields:
            The name of what was just timed.

        Raises:
            CheckpointRefused, Leakage, LossNotFinite, TooManyBadImages, ValueError: as `run`.
        """
        parts = self._parts()
        scorer = self._initial_scorer(parts)
        encoder = self._encoder(scorer, parts)
        first, second = self.recipe.first, self.recipe.second
        if self.stage1 is None and first.plan.num_steps:
            self._stage(first, scorer, parts, encoder, "")
            yield first.plan.name
        adapted = adapter_of(scorer)
        if self.stage1 is None and adapted is not None:
            save_adapter(adapted, self.folder / "stage1" / "adapter")  # for stage 2's base
        scorer = self._for_second_stage(scorer)
        encoder = encoder.of(scorer, tokens=self.image_tokens and self._open_tokens)
        if second.plan.num_steps and second_parameters(scorer):
            self._stage(second, scorer, parts, encoder, "")
            yield second.plan.name
            if not self.recipe.encodes_once:
                self._stage(second, scorer, parts, encoder, "")
                yield f"{second.plan.name}, {TOKENS_KEPT}"

    @property
    def base_folder(self) -> Path:
        """Where the files of the base model lie."""
        return self._files.folder

    def _parts(self) -> Split:
        parts = split(read_pair_table(self.store, self.users), self.recipe.split)
        SignatureFit(self.recipe, self.store, parts.train).check()
        return parts

    @cached_property
    def _files(self) -> BaseFiles:
        """Where the base lies: what is loaded, whatever becomes the newest revision meanwhile."""
        return find_base(self.base, revision=self.recipe.base.revision)

    @cached_property
    def _named_base(self) -> BaseModel:
        """The base as checkpoints name it; its files are read once, as the run begins."""
        return base_of(self.recipe, self.base, self._files)

    def _record(self, parts: Split) -> TrainedOn:
        return trained_on(
            parts.train,
            validation=[u for u in parts.whole.pairs if self.recipe.split.holds_user(u)],
            parts=parts.digests,
            key=None if self.is_synthetic else self.store.keys.needed().current,
        )

    def _initial_scorer(self, parts: Split) -> PreferenceScorer:
        """The scorer that this run begins with."""
        if self.stage1 is None:
            self._tell_start_of_tokens()
            return build_scorer(self.recipe, self._files.folder, device=self.device)
        check_first_stage(
            self.stage1, parts.digests, base=self._named_base, files=self._files.folder
        )
        scorer = build_scorer(
            self.recipe, self._files.folder, device=self.device, adapter=self.stage1 / "adapter"
        )
        load_tokens(self.stage1, scorer)
        return scorer

    def _tell_start_of_tokens(self) -> None:
        has_none = self.recipe.token_start == "base" and not has_tokens(self._files.folder)
        if has_none and self.recipe.scorer.num_preference_tokens and self.processes.is_main:
            self.console.print(
                f"{self.base} has no preference tokens for token_start=base, so they begin uniform"
                " in [0, 1): give a base that has some, or --set token_start=uniform",
                markup=False,
            )

    def _tell_who_validates(self, parts: Split) -> None:
        said = caution(self.recipe, draw_validation(self.recipe, parts, frozenset()))
        if said is not None and self.processes.is_main:
            self.console.print(said, markup=False)

    def _stage(
        self,
        stage: Stage,
        scorer: PreferenceScorer,
        parts: Split,
        encoder: Encoder,
        identity: str,
    ) -> None:
        is_first = stage is self.recipe.first
        trained = first_parameters(scorer) if is_first else second_parameters(scorer)
        train_only(scorer, trained)
        scorer.train()
        drawn = stage_batches(without_rows(parts.train, encoder.bad), self.recipe, stage)
        weights = prompt_weights(parts.train) if self.recipe.weighs_prompts else None
        asked = draw_validation(self.recipe, parts, encoder.bad)
        run = Run(
            self.folder,
            self.console,
            identity,
            processes=self.processes,
            validate=validation_top1(scorer, encoder, asked) if asked else None,
            identify=drawn.names,
            clock=self.clock,
            model=scorer,
        )
        finding = None
        if not is_first and self.recipe.signature.weight:
            part = SignatureFit(self.recipe, self.store, drawn.table)
            finding = part.objective(scorer, encoder, self.console)
            trained = {
                **trained,
                "split_half.log_scale": finding.objective.log_scale,
            }
        parts_here = self.processes.share(stage.plan.num_parts)
        encoder.prepare(Upcoming(drawn, stage.plan.num_steps, parts_here, self.num_workers))
        loss = step_loss(
            scorer,
            drawn,
            encoder,
            contrastive_weight=self.recipe.contrastive_weight,
            weights=weights,
            finding=finding,
            clock=self.clock,
        )
        with self.clock.watching(scorer.backbone.image_modules, ENCODING):
            fit(loss, trained, stage.plan, run=run, scales_loss=needs_loss_scaling(scorer))
        scorer.eval()

    def _encoder(self, scorer: PreferenceScorer, parts: Split) -> Encoder:
        images = parts.train.images
        if not self.recipe.encodes_once:
            return Fresh(scorer, self.store, images, limits=self.limits)
        return encode_all(
            scorer,
            self.store,
            images,
            read_in_a_run(parts),
            limits=self.limits,
            num_workers=self.num_workers,
            console=self.console,
            tokens=None if self.image_tokens is None else self.image_tokens(scorer),
        )

    def _open_tokens(self, scorer: PreferenceScorer) -> ImageTokenCache:
        assert self.image_tokens is not None
        tokens = self.image_tokens(scorer)
        if tokens.folder is None and self.processes.is_main:
            self.console.print(
                f"{self.recipe.second.plan.name} keeps image tokens in memory alone, and encodes"
                " again what has no room there: set image_tokens_folder to encode each image once"
            )
        return tokens

    def _for_second_stage(self, scorer: PreferenceScorer) -> PreferenceScorer:
        """The same scorer, its base in the precision of stage 2; the other is gone by then.

        Beside it a base in 16 bits would need the memory of both.
        """
        if self.recipe.base.second == self.recipe.base.first:
            return scorer
        tokens = scorer.preference_tokens.detach().clone()
        free_weights(scorer)
        changed = build_scorer(
            self.recipe,
            self._files.folder,
            device=self.device,
            precision=self.recipe.base.second,
            adapter=(self.stage1 or self.folder / "stage1") / "adapter",
        )
        with torch.no_grad():
            changed.preference_tokens.copy_(tokens)
        return changed

    def _save(
        self,
        scorer: PreferenceScorer,
        learned: TrainedOn,
        folder: Path,
        write_more: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        if self.processes.is_main:
            self._write(scorer, learned, folder, write_more)
        self.processes.wait()  # the others read it

    def _write(
        self,
        scorer: PreferenceScorer,
        learned: TrainedOn,
        folder: Path,
        write_more: Callable[[Path], None],
    ) -> None:
        base = self._named_base
        save_scorer(
            scorer,
            folder,
            base=base,
            tokenizer=load_tokenizer(self._files.folder),
            base_files=self._files.folder if base.is_carried else None,
            write_more=write_more,
        )
        write_trained_on(learned, folder)


def read_in_a_run(parts: Split) -> list[int]:
    """Rows of all images that a run may read.

    Validation users are asked about their part behind references from their whole histories.
    """
    asked = parts.validation.pairs
    read = [pairs for part in parts.parts.values() for pairs in part.pairs.values()]
    read += [parts.whole.pairs[user] for user in asked]
    return sorted({row for pairs in read for row in images_of(pairs)})


def stage_batches(table: PairTable, recipe: Recipe, stage: Stage) -> Batches:
    """The batches of a stage.

    Args:
        table: pairs that are learned from.
        recipe: number of references, the share of samples with fewer, and their order in pairs.
        stage: users and pairs of a part, and the seed.
    """
    return batches(
        table,
        num_users=stage.num_users,
        num_pairs=stage.num_pairs,
        num_references=recipe.scorer.num_references,
        fewer_references=recipe.fewer_references,
        seed=stage.plan.seed,
        random_pair_order=recipe.random_pair_order,
        balances_users=recipe.balances_users,
    )
