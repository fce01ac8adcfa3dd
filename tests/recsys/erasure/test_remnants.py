"""What an erasure cannot undo is told, and nothing else is."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from recsys.erasure.eraser import Eraser
from recsys.scorer.trained_on import TrainedOn, user_digest, write_trained_on
from recsys.signatures.folder import FOLDER, probe_name
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.errors import AlreadyErased
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKey, IdentityKeys
from storage.trainings import TrainingStore


@pytest.fixture
def trained(signed: HistoryStore, keys: IdentityKeys, tmp_path: Path) -> Callable[..., Path]:
    """Record a training, with what its checkpoint says of whom it learned from."""

    def trained(
        name: str, learned: Iterable[str] = (), chosen_by: Iterable[str] = (), **changes: object
    ) -> Path:
        folder = tmp_path / name
        write(folder / "final", keys.current, learned, chosen_by, **changes)
        TrainingStore(signed.database).record(str(folder), "a model version")
        return folder

    return trained


def write(
    folder: Path,
    key: IdentityKey | None,
    learned: Iterable[str],
    chosen_by: Iterable[str] = (),
    **changes: object,
) -> None:
    folder.mkdir(parents=True)
    (folder / "scorer.json").write_text("{}")
    newest = {user_digest(key, user): 1.0 for user in learned}
    record = TrainedOn(
        newest,
        validation=frozenset(user_digest(key, user) for user in chosen_by),
        key_id=key and key.key_id,
    )
    write_trained_on(dataclasses.replace(record, **changes), folder)


def erase(eraser: Eraser, user_id: str = "ann") -> tuple[str, ...]:
    return eraser.erase(user_id, by="a test").remnants


def test_trainings_that_learned_from_the_user_are_named(
    eraser: Eraser, trained: Callable[..., Path]
) -> None:
    anns, chosen = trained("anns", ["ann", "bob"]), trained("chosen", ["bob"], ["ann"])
    trained("bobs", ["bob"])
    told = erase(eraser)
    assert [str(folder) in text for folder, text in zip((anns, chosen), told, strict=True)] == [
        True,
        True,
    ]
    assert all("learned from the user" in text for text in told)
    assert not any(text.startswith("perhaps") for text in told)


def test_a_training_that_does_not_tell_is_named_as_doubtful(
    eraser: Eraser, trained: Callable[..., Path]
) -> None:
    moved, foreign = trained("moved", ["ann"]), trained("foreign", key_id="0123456789abcdef")
    damaged = trained("damaged")
    moved.rename(moved.with_name("elsewhere"))
    (damaged / "final" / "trained_on.json").write_text("{")
    told = erase(eraser)
    assert len(told) == 3
    assert all(text.startswith("perhaps the training in") for text in told)
    assert f"{moved} " in told[0]
    assert "no trained_on.json is there" in told[0]
    assert f"{foreign} " in told[1]
    assert "identity key 0123456789abcdef, which is not given" in told[1]
    assert "is damaged" in told[2]


def test_an_adapted_checkpoint_is_told_by_its_own_record_and_its_parents(
    eraser: Eraser, signed: HistoryStore, keys: IdentityKeys, tmp_path: Path
) -> None:
    parents = TrainedOn({user_digest(None, "ann"): 1.0})
    foreign = TrainedOn({}, key_id="0123456789abcdef")
    for name, earlier in (("of ann", (parents,)), ("of nobody known", (foreign,))):
        write(tmp_path / name, keys.current, ["bob"], earlier=earlier)
        TrainingStore(signed.database).record(str(tmp_path / name), "a model version")
    told = erase(eraser)
    assert len(told) == 2
    assert f"the training in {tmp_path / 'of ann'} of" in told[0]
    assert "it learned from the user" in told[0]
    assert told[1].startswith("perhaps the training")
    assert "identity key 0123456789abcdef, which is not given" in told[1]


def test_a_training_from_before_the_user_came_is_no_doubt(
    eraser: Eraser, trained: Callable[..., Path], choose: Callable[..., str]
) -> None:
    trained("foreign", key_id="0123456789abcdef")
    choose("cid", b"cid")
    assert erase(eraser, "cid") == ()


def test_the_interrupted_training_is_named(
    eraser: Eraser, signed: HistoryStore, keys: IdentityKeys, tmp_path: Path
) -> None:
    """Its states are there, its checkpoints are not."""
    write(tmp_path / "run", keys.current, ["ann"])
    TrainingStore(signed.database).record(str(tmp_path / "run"))
    (text,) = erase(eraser)
    assert f"the training in {tmp_path / 'run'} of" in text


@pytest.mark.parametrize("has_key", [True, False])
def test_the_served_checkpoint_is_looked_at_too(
    eraser: Eraser, keys: IdentityKeys, tmp_path: Path, has_key: bool
) -> None:
    write(tmp_path / "served", keys.current if has_key else None, ["ann"])
    (text,) = erase(eraser)
    assert f"the served checkpoint in {tmp_path / 'served'}: it learned from the user" in text


def test_checkpoints_of_audiences_are_looked_at_too(
    signed: HistoryStore, keys: IdentityKeys, tmp_path: Path
) -> None:
    for name, users in {"served": ["bob"], "north": ["ann"], "south": ["ann", "bob"]}.items():
        write(tmp_path / name, keys.current, users)
    served = [tmp_path / name for name in ("served", "north", "south", "north")]
    told = erase(Eraser(signed, index_folder=tmp_path / "index", checkpoints=served))
    assert [text.split(":")[0] for text in told] == [
        f"the served checkpoint in {tmp_path / name}" for name in ("north", "south")
    ]


def test_a_served_checkpoint_that_does_not_tell_is_named_as_doubtful(
    eraser: Eraser, keys: IdentityKeys, tmp_path: Path
) -> None:
    write(tmp_path / "served", keys.current, ["ann"])
    (tmp_path / "served" / "trained_on.json").unlink()
    (text,) = erase(eraser)
    assert text.startswith("perhaps the served checkpoint")


def test_a_served_checkpoint_of_a_known_training_is_named_once(
    signed: HistoryStore, trained: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained("run", ["ann"])
    eraser = Eraser(signed, index_folder=tmp_path / "index", checkpoints=[folder / "final"])
    assert len(erase(eraser)) == 1


@pytest.mark.parametrize("place", ["final", "."])
def test_probe_images_that_were_the_users_alone_are_told(
    eraser: Eraser, trained: Callable[..., Path], choose: Callable[..., str], place: str
) -> None:
    """A training's checkpoint is in its folder, and one that was adapted is the folder."""
    folder = trained("run", ["bob"]) / place
    shared = b"an image of both"
    for user in ("ann", "bob"):
        choose(user, shared)
    choose("ann", b"an image of ann's")
    (folder / FOLDER).mkdir()
    for number, data in enumerate([shared, b"an image of ann's", b"another"]):
        (folder / FOLDER / probe_name(number)).write_bytes(data)
    assert erase(eraser) == (f"1 of the probe images in {folder}, which were the user's alone",)


def test_of_a_user_who_is_erased_already_it_is_told_again(
    eraser: Eraser, trained: Callable[..., Path]
) -> None:
    folder = trained("run", ["ann"])
    trained("bobs", ["bob"])
    first = erase(eraser)
    with pytest.raises(AlreadyErased) as refused:
        erase(eraser)
    assert refused.value.remnants == first
    assert f"the training in {folder} of" in first[0]


def test_clusters_and_classes_of_taste_are_told(
    eraser: Eraser, signed: HistoryStore, build: Callable[..., int], choose: Callable[..., str]
) -> None:
    build("bob")
    build("ann", "bob")
    ColdStartStore(signed.database).put(StoredColdStart("version 1", 2, 2, b"classes"))
    told = erase(eraser)
    assert len(told) == 2
    assert told[0].startswith("the clusters of run-2: ")
    assert told[1].startswith("perhaps the classes of taste of model version version 1, fitted on")
    choose("cid", b"cid")
    assert erase(eraser, "cid") == ()
