"""Adapt a checkpoint to the people in storage: P_v alone are trained, all else stays its parent's.

The run's state is kept in a folder beside the checkpoint that is written, until that stands.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rich.console import Console

from recsys.coldstart.fit import ENOUGH_JUDGES, ENOUGH_USERS
from recsys.history import Pair
from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import TrainedOn, read_trained_on, write_trained_on
from storage.files import replace_file
from storage.histories import HistoryStore
from storage.trainings import TrainingStore
from training.data.batches import Batches, without_rows
from training.data.encoding import Encoded, encode_all
from training.data.features import OpenTokens
from training.data.samples import PairTable, read_pair_table
from training.data.trained_on import histories_digest, trained_on
from training.evaluation.four_ways import (
    WayAnswers,
    answer,
    borrowed,
    compare_in_each_way,
    possible,
)
from training.evaluation.lending import lenders
from training.fitting.adapting.dealing import Dealt, deal, deal_privately
from training.fitting.adapting.learning import learn, step_draws
from training.fitting.adapting.privacy import Mechanism, mechanism_for
from training.fitting.adapting.private_loss import private_loss
from training.fitting.adapting.secret import secret_of
from training.fitting.adapting.tuning import Tuning
from training.fitting.adapting.writing import FILE, Adapted, check_signature, write_adapted
from training.fitting.assembly import second_parameters, train_only
from training.fitting.precision import needs_loss_scaling
from training.fitting.sole_run import sole_run
from training.fitting.trainer import Run, fit
from training.fitting.validation import calibrate
from training.world.truth import WorldTruth

_RUN = "adaptation.json"


@dataclass(frozen=True, eq=False)
class Adaptation:
    """One run that adapts a checkpoint.

    Attributes:
        checkpoint: folder, or the name of a shipped one.
        store: the people's choices.
        folder: of the checkpoint that is written; it must not be there yet.
        console: where progress is shown.
        tuning: how P_v are trained.
        users: of these alone; everybody by default.
        limits: of each image, bytes and pixels.
        image_tokens: opens where those of the checkpoint are kept; None: they are made anew.
        load: reads the checkpoint, e.g. with its base from another place.
        writes_anyway: write it even if it does not help.
        blends: whether others' taste is blended in where the checkpoint is served; then the gain
            of the blend decides, if there are `ENOUGH_USERS` to borrow from and `ENOUGH_JUDGES` of
            them are validated on. Never with privacy.
        truth: of a synthetic world, for the best possible.
    """

    checkpoint: str | Path
    store: HistoryStore
    folder: Path
    console: Console
    tuning: Tuning = field(default_factory=Tuning)
    users: Sequence[str] | None = None
    limits: ImageLimits = DEFAULT_LIMITS
    image_tokens: OpenTokens | None = None
    load: Callable[[str | Path], PreferenceScorer] = load_scorer
    writes_anyway: bool = False
    blends: bool = True
    truth: WorldTruth | None = None

    @property
    def run_folder(self) -> Path:
        """Where state and logs are until the checkpoint stands."""
        return self.folder.with_name(f"{self.folder.name}.run")

    def run(self) -> Adapted:
        """Train, judge, and write the checkpoint if it helps; a run that was stopped goes on.

        Raises:
            CheckpointRefused, NotFound: if the checkpoint cannot be loaded.
            ValueError: if the folder is there, another run is using its run folder or something
                else lies there, there are too few people, the checkpoint has no P_v, or tells whom
                it learned from under a key that is not given.
            IdentityKeyMissing: if there is no key for trained_on.json.
            PreconditionFailed: if privacy is asked for and the library for it is missing.
            LossNotFinite, RunNotSaved, TooManyBadImages: as `fit` and `encode_all`.
        """
        self._check_folder()
        self._check_run_folder()
        with sole_run(self.run_folder):
            adapted = self._run()
        if adapted.is_written:
            self._forget_run()
        return adapted

    def _run(self) -> Adapted:
        began = time.monotonic()
        parent = find_checkpoint(self.checkpoint)
        earlier = self._known(parent)
        table = read_pair_table(self.store, self.users)
        scorer = self.load(self.checkpoint)
        _check_tokens(scorer)
        num_references = scorer.config.num_references
        dealt = self._deal(table, earlier, num_references)  # before images are read
        if self.tuning.privacy is None:
            check_signature(parent, dealt, num_references=num_references)
        encoded = self._encode(scorer, table.images, dealt)
        while encoded.bad:  # other pairs are asked in their place, which are to be encoded, too
            table = without_rows(table, encoded.bad)
            dealt = self._deal(table, earlier, num_references)
            encoded = self._encode(scorer, table.images, dealt)
        drawn = step_draws(dealt.learned, num_references=num_references, seed=self.tuning.seed)
        mechanism = self._mechanism(scorer, drawn)
        bound_to = _bound_to(scorer, dealt, mechanism)
        self._drop_another(bound_to)  # while its record still tells whom it learned from
        learned = self._record(dealt, earlier)
        lent = self._lent(dealt)
        before = _answers(scorer, dealt, encoded, lent)
        self._fit(scorer, dealt, encoded, drawn, mechanism, bound_to)
        calibrate(scorer, encoded, dealt.validation)
        after = _answers(scorer, dealt, encoded, lent)
        world = possible(dealt.comparison, table, self.truth)
        adapted = Adapted(
            self.folder,
            parent=parent.resolve().name,
            parent_version=scorer.model_version,
            tuning=self.tuning,
            num_people=dealt.num_people,
            comparison=compare_in_each_way(before, after, world),
            num_lenders=len(lent),
            seconds=time.monotonic() - began,
            is_certain=earlier is not None,
            mechanism=mechanism,
            num_left_out=dealt.num_left_out,
        )
        return self._written(adapted, scorer, parent, dealt, encoded, learned)

    def _check_folder(self) -> None:
        if self.folder.exists():
            is_adapted = (self.folder / FILE).is_file()
            fit = f"; `recsys coldstart fit --checkpoint {self.folder}` lets it borrow, if not yet"
            raise ValueError(
                f"{self.folder} must not be there yet: give another folder or remove it"
                f"{fit if is_adapted else ''}"
            )

    def _check_run_folder(self) -> None:
        """It is removed in the end: nothing may be in it but what an adaptation has left."""
        folder = self.run_folder
        others = [path for path in folder.glob("*") if path.name != ".lock"]
        if others and not (folder / _RUN).is_file():
            raise ValueError(
                f"{folder} must be empty or of an earlier adaptation, and has other files: move"
                " them or give another folder"
            )

    def _known(self, parent: Path) -> TrainedOn | None:
        record = read_trained_on(parent, self.store.keys.known())
        if record is not None and not record.can_tell:
            raise ValueError(
                "nobody whom the checkpoint learned from may judge it, and it tells them under the"
                f" identity key {record.missing_key_id}, which is not given: name it in"
                " identity_key"
            )
        return record

    def _encode(self, scorer: PreferenceScorer, images: Sequence[str], dealt: Dealt) -> Encoded:
        return encode_all(
            scorer,
            self.store,
            images,
            dealt.rows,
            limits=self.limits,
            console=self.console,
            tokens=None if self.image_tokens is None else self.image_tokens(scorer),
        )

    def _lent(self, dealt: Dealt) -> dict[str, tuple[Pair, ...]]:
        """The pairs that those who are compared borrow, by person; none where too few lend.

        Those who were validated on decide how; where they are too few, those whom the checkpoint
        learned from would have to. With differential privacy nothing is borrowed: figures of the
        blend would tell of lenders.
        """
        is_private = self.tuning.privacy is not None
        if not self.blends or is_private:
            return {}
        lent = lenders(dealt.lendable, (), seed=0)
        num_judges = len(lent.keys() & dealt.validation.keys())
        return lent if len(lent) >= ENOUGH_USERS and num_judges >= ENOUGH_JUDGES else {}

    def _record(self, dealt: Dealt, earlier: TrainedOn | None) -> TrainedOn:
        """Tell whom the run learns from before its first state holds something of them."""
        learned = trained_on(
            dealt.learned,
            validation=list(dealt.validation),
            parts={"train": histories_digest(dealt.learned)},
            key=self.store.keys.needed().current,
        )
        learned = replace(learned, earlier=() if earlier is None else earlier.layers)
        write_trained_on(learned, self.run_folder)
        TrainingStore(self.store.database).record(str(self.run_folder.resolve()))
        return learned

    def _deal(self, table: PairTable, earlier: TrainedOn | None, num_references: int) -> Dealt:
        dealing = deal if self.tuning.privacy is None else deal_privately
        return dealing(table, parent=earlier, num_references=num_references)

    def _mechanism(self, scorer: PreferenceScorer, drawn: Batches) -> Mechanism | None:
        privacy = self.tuning.privacy
        if privacy is None:
            return None
        if needs_loss_scaling(scorer):
            raise ValueError(
                "differential privacy needs a checkpoint that computes in bfloat16 or float32, got"
                " float16, in which a person's gradient may overflow: give --device cpu"
            )
        return mechanism_for(privacy, num_people=len(drawn.users), num_steps=self.tuning.num_steps)

    def _fit(
        self,
        scorer: PreferenceScorer,
        dealt: Dealt,
        encoded: Encoded,
        drawn: Batches,
        mechanism: Mechanism | None,
        bound_to: str,
    ) -> None:
        trained = second_parameters(scorer)
        run = Run(self.run_folder, self.console, bound_to, model=scorer)
        if mechanism is None:
            learn(
                scorer,
                trained,
                drawn=drawn,
                encoded=encoded,
                asked=dealt.validation,
                plan=self.tuning.plan,
                run=replace(run, identify=drawn.names),
            )
            return
        train_only(scorer, trained)
        scorer.eval()  # people would share what dropout draws
        secret = secret_of(self.run_folder / f"{self.tuning.plan.name}.secret")
        loss = private_loss(scorer, drawn, encoded, mechanism, secret)
        fit(loss, trained, self.tuning.plan, run=run)
        train_only(scorer, {})

    def _drop_another(self, bound_to: str) -> None:
        """Remove what a run of other choices or values left: a run is short, and begins anew."""
        path = self.run_folder / _RUN
        values = {"bound_to": bound_to, "tuning": asdict(self.tuning)}
        if path.exists() and json.loads(path.read_text()) != values:
            self.console.print("choices or options are others than before: training begins anew")
            for left in self.run_folder.glob(f"{self.tuning.plan.name}.*"):
                left.unlink()
        with replace_file(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n")

    def _written(
        self,
        adapted: Adapted,
        scorer: PreferenceScorer,
        parent: Path,
        dealt: Dealt,
        encoded: Encoded,
        learned: TrainedOn,
    ) -> Adapted:
        if not (adapted.comparison.is_better or self.writes_anyway):
            return adapted
        self._check_folder()
        folder = str(self.folder.resolve())
        TrainingStore(self.store.database).record(folder)  # before it holds something of anybody
        write_adapted(
            adapted,
            scorer,
            parent=parent,
            dealt=dealt,
            encoded=encoded,
            learned=learned,
            console=self.console,
        )
        TrainingStore(self.store.database).record(folder, scorer.model_version)
        return replace(adapted, model_version=scorer.model_version)

    def _forget_run(self) -> None:
        """The checkpoint says all that the run's folder said."""
        shutil.rmtree(self.run_folder)
        TrainingStore(self.store.database).forget(str(self.run_folder.resolve()))


def _answers(
    scorer: PreferenceScorer, dealt: Dealt, encoded: Encoded, lent: Mapping[str, tuple[Pair, ...]]
) -> WayAnswers:
    """Of those who judge; those who were validated on decide how the model is blended."""
    cold_start = None
    if lent:
        judges = [user in dealt.validation for user in lent]
        cold_start = borrowed(scorer, lent, encoded.rows, may_judge=judges)
    return answer(scorer, encoded.rows, dealt.comparison, cold_start)


def _bound_to(scorer: PreferenceScorer, dealt: Dealt, mechanism: Mechanism | None) -> str:
    """What states of a run belong to: checkpoint, who is learned from and validated on, noise."""
    asked = dealt.validation
    validated = replace(dealt.learned, pairs={user: asked[user].pairs for user in asked})
    digests = (histories_digest(dealt.learned), histories_digest(validated))
    noise = () if mechanism is None else (json.dumps(asdict(mechanism)),)
    return " ".join((scorer.model_version, *digests, *noise))


def _check_tokens(scorer: PreferenceScorer) -> None:
    if not second_parameters(scorer):
        raise ValueError(
            "a checkpoint must have preference tokens to be adapted, got one with none: give one"
            " that was trained with scorer.num_preference_tokens above 0"
        )
