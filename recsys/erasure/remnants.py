"""What still holds something of an erased user, in a text each: learned weights, fitted figures."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from recsys.erasure.before import Before
from recsys.scorer.trained_on import FILE, read_trained_on
from recsys.signatures.folder import probe_digests
from storage.coldstart.populations import ColdStartStore
from storage.database import Database
from storage.identity_keys import IdentityKeys
from storage.trainings import TrainingRun, TrainingStore

_CHECKPOINTS = ("stage1", "final")  # in the folder of a training
_SHORT = 12  # characters of a model version, for people
_UNTOLD = f"no {FILE} is there to tell whom it learned from"


def in_figures(database: Database, before: Before | None) -> Iterator[str]:
    """What was computed from many users' choices, one of whom was the user.

    Args:
        database: of the runs and fits.
        before: the user as they were stored; None: unknown, so that nothing can be told.

    Raises:
        StorageError: if storage does not answer.
    """
    if before is None:
        return
    for run in before.runs:
        yield (
            f"the clusters of {run.name}: their centroids, counts of likes and words are from when"
            " the user was a member; `recsys clusters remove` removes them"
        )
    for model_version, fitted_at in ColdStartStore(database).fitted_at().items():
        if fitted_at >= before.created_at:
            yield (
                f"perhaps the classes of taste of model version {model_version[:_SHORT]}, fitted on"
                f" {fitted_at:%Y-%m-%d}; `recsys coldstart fit` learns without the user"
            )


def in_checkpoints(
    database: Database,
    user_id: str,
    before: Before | None,
    *,
    images: Collection[str],
    keys: IdentityKeys,
    served: Iterable[Path],
) -> Iterator[str]:
    """Trainings that learned from the user, or may have, and the served checkpoints.

    Args:
        database: knows where trainings are.
        user_id: who.
        before: the user as they were stored; None: unknown.
        images: SHA-256 of images that were the user's alone.
        keys: under which checkpoints tell whom they learned from.
        served: folders of served checkpoints; not there for one that is shipped, whose people do
            not exist.

    Raises:
        StorageError: if storage does not answer.
    """
    trainings = TrainingStore(database).all()
    for training in trainings:
        folder = Path(training.folder)
        named = f"the training in {folder} of {training.trained_at:%Y-%m-%d}"
        folders = [folder, *(folder / name for name in _CHECKPOINTS)]
        may_hold = before is None or training.trained_at >= before.created_at
        yield from _in_weights(named, folders, user_id, keys, may_hold=may_hold)
        for each in (folder, folder / "final"):  # a checkpoint that was adapted is the folder
            yield from _in_probes(each, images)
    for each in dict.fromkeys(served):
        if (each / "scorer.json").is_file() and not _is_among(trainings, each):
            named = f"the served checkpoint in {each}"
            yield from _in_weights(named, [each], user_id, keys, may_hold=True)
            yield from _in_probes(each, images)


def _in_weights(
    named: str, folders: list[Path], user_id: str, keys: IdentityKeys, *, may_hold: bool
) -> Iterator[str]:
    """That weights in one of the folders learned from a user, or that nobody can tell."""
    doubts = []
    records = []
    for folder in folders:
        try:
            record = read_trained_on(folder, keys)
        except (OSError, ValueError) as error:
            doubts.append(str(error))
            continue
        for layer in () if record is None else record.layers:
            if layer.can_tell:
                records.append(layer)
            else:
                doubts.append(
                    f"it tells whom it learned from under the identity key {layer.key_id}, which"
                    " is not given"
                )
    if any(record.holds(user_id) for record in records):
        yield f"{named}: it learned from the user, or its weights were chosen by what they liked"
    elif may_hold and (doubts or not records):
        yield f"perhaps {named}: {next(iter(doubts), _UNTOLD)}"


def _in_probes(checkpoint: Path, images: Collection[str]) -> Iterator[str]:
    try:
        num_probes = len(probe_digests(checkpoint) & set(images))
    except OSError as error:
        yield f"perhaps the probe images in {checkpoint}: {error}"
        return
    if num_probes:
        yield f"{num_probes} of the probe images in {checkpoint}, which were the user's alone"


def _is_among(trainings: list[TrainingRun], served: Path) -> bool:
    return any(served.resolve().is_relative_to(training.folder) for training in trainings)
