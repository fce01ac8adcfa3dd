"""What `recsys adapt` leaves to be served: cold start for the same people, or word that it is not.

Whatever becomes of that, the checkpoint stands and its figures are told.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recsys.cli.main import cli
from recsys.errors import PreconditionFailed
from recsys.scorer.checkpoint import checkpoint_version
from training.data.samples import read_pair_table


def cold_start_of(checkpoint: Path) -> Result:
    arguments = ["coldstart", "show", "--checkpoint", str(checkpoint), "--json"]
    return CliRunner().invoke(cli, arguments)


def asked(parent: Path, out: Path, *more: str) -> tuple[str, ...]:
    return (str(parent), "--out", str(out), "--steps", "2", "--force", *more)


def test_cold_start_is_of_the_people_adapted_to_and_images_that_are_bad_are_left_out(
    world, parent, run, store_in, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world / "blobs", tmp_path / "blobs")
    shutil.copy(world / "recsys.db", tmp_path)
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")
    store = store_in(tmp_path)
    table = read_pair_table(store)
    store.database.dispose()
    people = [user for user in table.pairs if user.startswith("s5-")]
    name = table.images[table.pairs[people[0]][-1].liked]
    (tmp_path / "blobs" / name[:2] / name).write_bytes(b"no image")
    done = run(*asked(parent, tmp_path / "out", "--only", "s5-*", "--json"))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["cold_start_is_fitted"] is True
    assert "1 image cannot be read: pairs that show one are left out" in done.stderr
    fitted = json.loads(cold_start_of(tmp_path / "out").stdout)
    assert fitted["model_version"] == checkpoint_version(tmp_path / "out")
    assert fitted["num_users"] == len(people) < len(table.pairs)


def test_a_private_adaptation_is_served_with_cold_start(parent, run, tmp_path) -> None:
    done = run(*asked(parent, tmp_path / "out", "--epsilon", "8"))
    assert done.exit_code == 0, done.output
    assert "cold start is fitted for it" in done.stdout
    assert cold_start_of(tmp_path / "out").exit_code == 0


def test_where_too_few_lend_it_says_what_to_run_later(
    parent, run, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.coldstart.fit.ENOUGH_USERS", 1000)
    done = run(*asked(parent, tmp_path / "out", "--only", "s*"))
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "cold start is not fitted for it, for too few people can be borrowed from" in told
    assert f"`recsys coldstart fit --checkpoint {tmp_path / 'out'} --only 's*'`" in told
    assert cold_start_of(tmp_path / "out").exit_code == 3


def test_where_cold_start_fails_the_checkpoint_stands_and_its_figures_are_told(
    parent, run, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_, **__):
        raise PreconditionFailed("the moon is full")

    monkeypatch.setattr("recsys.coldstart.learning.learn_cold_start", fails)
    out = tmp_path / "out"
    done = run(*asked(parent, out, "--json"))
    assert done.exit_code == 5
    told = json.loads(done.stdout)
    assert told["cold_start_is_fitted"] is False
    assert told["model_version"] == checkpoint_version(out)
    why = f"{out} is written, but cold start is not fitted for it (the moon is full)"
    assert why in done.stderr
    assert f"`recsys coldstart fit --checkpoint {out}`" in done.stderr


def test_what_is_stopped_while_cold_start_is_fitted_has_told_its_figures(
    parent, run, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("recsys.coldstart.learning.learn_cold_start", stopped)
        done = run(*asked(parent, out))
    assert done.exit_code != 0
    assert "references   before   after" in done.stdout
    assert f"checkpoint: {out}" in done.stdout
    again = run(*asked(parent, out))
    assert again.exit_code == 1
    assert f"`recsys coldstart fit --checkpoint {out}` lets it borrow" in again.stderr
