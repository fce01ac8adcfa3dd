"""A checkpoint adapted to the people in storage, as `recsys adapt` does it, at toy size."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from recsys.cli.main import cli
from recsys.scorer.checkpoint import load_scorer, save_adapted
from recsys.scorer.model import Reference
from recsys.scorer.trained_on import read_trained_on
from recsys.signatures.files import load_signature_reader, stored_probes
from storage.identity_keys import IdentityKeys
from storage.trainings import TrainingStore
from training.data.samples import images_of, read_pair_table
from training.fitting.adapting.adaptation import Adaptation
from training.fitting.adapting.dealing import deal

SHARED = ("adapter", "base", "tokenizer")


def files_of(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def test_preference_tokens_move_and_nothing_else_does(parent, adapted, parents_files) -> None:
    now = {n: (path.read_bytes(), path.stat().st_mode) for n, path in files_of(parent).items()}
    assert now == parents_files
    old, new = load_scorer(parent), load_scorer(adapted.folder)
    was, now = dict(old.named_parameters()), dict(new.named_parameters())
    assert {name for name in was if not torch.equal(was[name], now[name])} == {"preference_tokens"}
    assert old.model_version != new.model_version
    for name, path in files_of(parent).items():
        if name.split("/")[0] in SHARED:
            assert os.path.samefile(path, adapted.folder / name)


def test_where_there_are_no_hard_links_files_are_copied(
    parent, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_, **__):
        raise OSError("no second names here")

    monkeypatch.setattr(os, "link", link)
    save_adapted(load_scorer(parent), tmp_path / "out", parent=parent)
    for name, path in files_of(parent).items():
        if name.split("/")[0] in SHARED:
            assert (tmp_path / "out" / name).read_bytes() == path.read_bytes()
            assert not os.path.samefile(path, tmp_path / "out" / name)


def test_what_is_adapted_scores_and_reads_signatures(parent, adapted) -> None:
    scorer = load_scorer(adapted.folder)
    assert scorer.model_version == adapted.model_version
    reader = load_signature_reader(adapted.folder, scorer)
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    )
    signature = reader.read([Reference(pixels, pixels.flip(1), "a fish")])
    assert np.linalg.norm(signature) == pytest.approx(1, abs=1e-4)
    probes, own = stored_probes(parent), stored_probes(adapted.folder)
    assert own == probes
    fitted = load_signature_reader(parent, load_scorer(parent)).projection
    assert not np.array_equal(fitted.matrix, reader.projection.matrix)


def test_figures_are_told_and_kept_beside_the_weights(adapted) -> None:
    kept = json.loads((adapted.folder / "adapted.json").read_text())
    assert kept["alone"] == adapted.to_json()["alone"]
    assert list(kept["alone"]["by_references"]) == ["0", "1", "2"]
    assert kept["num_people"]["comparison"] >= 8
    assert "| references |" in (adapted.folder / "MODEL_CARD.md").read_text()


def test_the_same_twice_is_the_same_checkpoint(store, parent, adapted, tmp_path, adapt) -> None:
    adapt(store, parent, tmp_path / "again")
    again = files_of(tmp_path / "again")
    assert again.keys() == files_of(adapted.folder).keys()
    for name, path in files_of(adapted.folder).items():
        assert path.read_bytes() == again[name].read_bytes(), name


KILLED = """
import importlib.util, sys
from pathlib import Path

def module(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


test, given = map(module, sys.argv[1:3])
test.slow_steps()
world, folder = map(Path, sys.argv[3:])
given.adapt_in_store(given.open_store(world), world / "parent", folder)
"""


def slow_steps() -> None:
    """In a process of its own: each state is saved, and then there is time to be killed."""
    from training.fitting import run_state
    from training.fitting.adapting import tuning

    plan, save = tuning.Plan, run_state.StateFile.save

    def saved(*arguments, **options):
        save(*arguments, **options)
        time.sleep(2)

    tuning.Plan = lambda *values, **named: plan(*values, **{**named, "save_every_s": 0.0})
    run_state.StateFile.save = saved


def test_a_run_that_was_killed_ends_like_one_that_was_not(
    world, store, parent, adapted, tmp_path, adapt
) -> None:
    state = tmp_path / "killed.run" / "adapt.state.safetensors"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    modules = [__file__, str(Path(__file__).with_name("conftest.py"))]
    command = [sys.executable, str(script), *modules, str(world), str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    until = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert state.exists()
    assert not (tmp_path / "killed").exists()
    adapt(store, parent, tmp_path / "killed")
    for name in ("preference_tokens.safetensors", "scorer.json", "adapted.json"):
        assert (adapted.folder / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_what_does_not_help_is_not_written(store, parent, tmp_path, adapt) -> None:
    adapted = adapt(store, parent, tmp_path / "out", writes_anyway=False)
    assert not adapted.comparison.is_better
    assert not adapted.is_written
    assert not (tmp_path / "out").exists()
    assert adapt(store, parent, tmp_path / "out").is_written, "the run's state was kept"
    assert not (tmp_path / "out.run").exists()


def test_the_gain_of_the_blend_behind_four_references_decides(
    make_parent, store, tmp_path, adapt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fitting.adapting.adaptation.ENOUGH_JUDGES", 8, raising=False)
    reads_four = make_parent("reads-four", num_references=4)
    adapted = adapt(store, reads_four, tmp_path / "out", blends=True, writes_anyway=False)
    alone, blended = adapted.comparison.alone, adapted.comparison.blended
    assert list(blended.by_references) == list(alone.by_references) == [0, 1, 2, 4]
    assert (alone.over, blended.over) == ((0, 1, 2, 4), (4,))
    assert adapted.comparison.gain == blended.mean


def test_other_values_begin_anew_in_the_same_folder(
    store, parent, adapted, tmp_path, adapt, tuning
) -> None:
    other = replace(tuning, seed=4)
    adapt(store, parent, tmp_path / "out", writes_anyway=False, tuning=other)
    assert (tmp_path / "out.run" / "adapt.state.safetensors").exists()
    adapt(store, parent, tmp_path / "out")
    name = "preference_tokens.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (adapted.folder / name).read_bytes()


def test_parts_share_neither_people_nor_asked_images(store) -> None:
    dealt = deal(read_pair_table(store), parent=None, num_references=2)
    assert dealt.holds_prompts
    people = [set(dealt.learned.pairs), set(dealt.validation), set(dealt.comparison)]
    assert sum(map(len, people)) == len(set().union(*people))
    learned = set().union(*map(images_of, dealt.learned.pairs.values()))
    validated, judged = (
        set().union(*(images_of(sample.pairs) for sample in part.values()))
        for part in (dealt.validation, dealt.comparison)
    )
    assert not learned & validated
    assert not (learned | validated) & judged


def test_too_few_people_are_refused_before_anything_is_trained(
    store, parent, tmp_path, adapt
) -> None:
    few = list(read_pair_table(store).pairs)[:30]
    with pytest.raises(ValueError, match=r"at least 8 people .* got \d for .* import more choices"):
        adapt(store, parent, tmp_path / "out", users=few)
    assert not (tmp_path / "out.run" / "adapt.log.jsonl").exists()


def test_a_parent_that_cannot_tell_is_refused(store, parent, tmp_path, others_keys, tuning) -> None:
    adaptation = Adaptation(parent, store, tmp_path / "out", Console(quiet=True), tuning=tuning)
    with pytest.raises(ValueError, match=f"identity key {others_keys.current.key_id}, which is"):
        adaptation.run()


def test_a_folder_that_is_there_is_refused(store, parent, tmp_path, adapt) -> None:
    with pytest.raises(ValueError, match="must not be there yet"):
        adapt(store, parent, tmp_path)


def test_a_run_folder_with_anything_else_in_it_is_refused_and_left_alone(
    store, parent, tmp_path, adapt
) -> None:
    theirs = tmp_path / "out.run" / "trained_on.json"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    with pytest.raises(ValueError, match=r"out\.run must be empty or of an earlier adaptation"):
        adapt(store, parent, tmp_path / "out")
    assert theirs.read_text() == "theirs"


def test_an_image_that_cannot_be_read_is_left_out_and_others_are_asked(
    world, parent, tmp_path, adapt, store_in, others_keys
) -> None:
    shutil.copytree(world / "blobs", tmp_path / "blobs")
    shutil.copy(world / "recsys.db", tmp_path)
    store = store_in(tmp_path)
    table = read_pair_table(store)
    record = read_trained_on(parent, others_keys)
    asked = deal(table, parent=record, num_references=2).comparison
    bad = next(iter(asked.values())).pairs[0].liked
    name = table.images[bad]
    (tmp_path / "blobs" / name[:2] / name).write_bytes(b"no image")
    adapted = adapt(store, parent, tmp_path / "out")
    store.database.dispose()
    assert adapted.is_written
    assert adapted.num_people["comparison"] >= 8


def test_the_record_tells_of_both_and_the_database_where_it_is(
    store, parent, adapted, own_keys, others_keys
) -> None:
    keys = IdentityKeys((*own_keys.keys, *others_keys.keys))
    record = read_trained_on(adapted.folder, keys)
    dealt = deal(read_pair_table(store), parent=read_trained_on(parent, keys), num_references=2)
    assert all(record.holds(user) for user in (*dealt.learned.pairs, *dealt.validation))
    assert not any(record.holds(user) for user in dealt.comparison)
    mine, parents = record.layers
    assert mine.key_id == own_keys.current.key_id
    assert parents == read_trained_on(parent, keys)
    half = read_trained_on(adapted.folder, own_keys)
    assert not half.can_tell
    assert half.missing_key_id == others_keys.current.key_id
    folders = {run.folder: run.model_version for run in TrainingStore(store.database).all()}
    assert folders[str(adapted.folder)] == load_scorer(adapted.folder).model_version
    assert str(adapted.folder) + ".run" not in folders


def test_the_command_tells_what_was_gained_and_writes_nothing_for_it(run, parent, tmp_path) -> None:
    asked = (str(parent), "--out", str(tmp_path / "out"), "--steps", "4", "--seed", "3")
    refused = run(*asked, "--json")
    assert refused.exit_code == 1, refused.output
    told = json.loads(refused.stdout)
    assert told["folder"] is None
    assert told["gain"]["low"] <= 0
    assert told["decided_by"] == "blend"
    assert list(told["best_possible"]) == ["0", "1", "2"]
    assert "must do better than its parent's on people held out" in refused.stderr
    assert not (tmp_path / "out").exists()
    forced = run(*asked, "--force")
    assert forced.exit_code == 0, forced.output
    assert "references   before   after" in forced.stdout
    assert "gained in the blend, mean over 2 references" in forced.stdout
    assert f"checkpoint: {tmp_path / 'out'}" in forced.stdout
    fitted = CliRunner().invoke(
        cli, ["coldstart", "show", "--checkpoint", str(tmp_path / "out"), "--json"]
    )
    version = load_scorer(tmp_path / "out").model_version
    assert json.loads(fitted.stdout)["model_version"] == version


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--only", "nobody-*"], 2, "--only 'nobody-*' fits no user in storage"),
        (["--only", "s6-*"], 1, "needs at least 8 people for each of learning, validation and"),
        (["--steps", "0"], 2, "Invalid value for '--steps'"),
        (["--learning-rate", "0"], 2, "Invalid value for '--learning-rate'"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    run, parent, tmp_path, arguments: list[str], code: int, message: str
) -> None:
    result = run(str(parent), "--out", str(tmp_path / "out"), *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
