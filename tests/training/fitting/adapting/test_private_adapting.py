"""A checkpoint adapted with differential privacy, as `recsys adapt --epsilon` does it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.trained_on import TrainedOn, read_trained_on
from recsys.signatures.files import load_signature_reader
from storage.histories import HistoryStore
from training.data.samples import PairTable, images_of, read_pair_table
from training.data.trained_on import trained_on
from training.fitting.adapting.dealing import Dealt, deal_privately
from training.fitting.adapting.privacy import NEIGHBOURS, Privacy
from training.fitting.adapting.tuning import Tuning
from training.fitting.adapting.writing import Adapted

SHARED = ("adapter", "base", "tokenizer")


@pytest.fixture(scope="session")
def privately(tuning: Tuning) -> Tuning:
    """The tuning of the tests without privacy, with it."""
    return replace(tuning, privacy=Privacy(8.0))


def files_of(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def private(world: Path, parent: Path, adapt, store_in, privately) -> Adapted:
    """What came of one adaptation with differential privacy, in `private` beside its parent."""
    store = store_in(world)
    done = adapt(store, parent, world / "private", tuning=privately)
    store.database.dispose()
    return done


def test_a_private_adaptation_tells_what_it_promises(private: Adapted) -> None:
    kept = json.loads((private.folder / "adapted.json").read_text())
    promised = kept["privacy"]
    assert promised["epsilon"] <= 8.0
    assert promised["num_people"] == kept["num_people"]["learned"]
    assert promised["delta"] == 0.1 / promised["num_people"]
    assert promised["neighbours"] == NEIGHBOURS
    assert promised["num_left_out"] == 10
    assert kept["num_people"]["validation"] == 0
    assert kept["num_lenders"] == 0
    card = (private.folder / "MODEL_CARD.md").read_text()
    assert f"each of the {promised['num_people']} people who were learned from" in card
    assert "They are not covered" in card
    assert "10 people whom the parent knows had no part in this" in card
    assert not (private.folder.with_name("private.run")).exists(), "and with it the secret"


def test_a_private_adaptation_leaves_what_else_would_tell_of_people(
    parent: Path, adapted: Adapted, private: Adapted
) -> None:
    old, new = load_scorer(parent), load_scorer(private.folder)
    assert not torch.equal(old.preference_tokens, new.preference_tokens)
    assert old.config.temperature == new.config.temperature
    assert old.config.temperature != load_scorer(adapted.folder).config.temperature
    was, now = (
        load_signature_reader(folder, scorer).projection
        for folder, scorer in ((parent, old), (private.folder, new))
    )
    assert all(
        np.array_equal(getattr(was, part), getattr(now, part))
        for part in ("mean", "scale", "matrix")
    )
    tells = {"trained_on.json"}
    differing = {
        name
        for name, path in files_of(private.folder).items()
        if name.split("/")[0] not in SHARED
        and (not (parent / name).exists() or path.read_bytes() != (parent / name).read_bytes())
    }
    described = {"preference_tokens.safetensors", "scorer.json", "adapted.json", "MODEL_CARD.md"}
    assert differing == described | tells


def test_two_private_runs_have_noise_of_their_own(
    store, parent, private, tmp_path, adapt, privately
) -> None:
    again = adapt(store, parent, tmp_path / "again", tuning=privately)
    one, other = (load_scorer(each.folder).preference_tokens for each in (private, again))
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_a_private_run_that_was_stopped_ends_like_one_that_was_not(
    store, parent, tmp_path, adapt, privately, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.fitting.run_state import StateFile

    save = StateFile.save

    def saved(self, *arguments, **options):
        save(self, *arguments, **options)
        if arguments[2] == 2:
            raise KeyboardInterrupt

    plan = replace(privately.plan, save_every_s=0.0)
    monkeypatch.setattr(Tuning, "plan", plan)
    monkeypatch.setattr(StateFile, "save", saved)
    with pytest.raises(KeyboardInterrupt):
        adapt(store, parent, tmp_path / "stopped", tuning=privately)
    stopped, whole = tmp_path / "stopped.run", tmp_path / "whole.run"
    assert (stopped / "adapt.state.safetensors").exists()
    whole.mkdir()
    for name in ("adaptation.json", "adapt.secret"):
        shutil.copy(stopped / name, whole / name)
    monkeypatch.setattr(StateFile, "save", save)
    for name in ("stopped", "whole"):
        adapt(store, parent, tmp_path / name, tuning=privately)
    for name in ("preference_tokens.safetensors", "scorer.json", "adapted.json"):
        one, other = (tmp_path / each / name for each in ("stopped", "whole"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_with_other_choices_the_secret_is_another(
    store, parent, tmp_path, adapt, privately
) -> None:
    """Two runs under one noise would tell what differs between them."""
    secret = tmp_path / "out.run" / "adapt.secret"
    adapt(store, parent, tmp_path / "out", tuning=privately, writes_anyway=False)
    before = secret.read_bytes()
    adapt(store, parent, tmp_path / "out", tuning=privately, writes_anyway=False)
    assert secret.read_bytes() == before
    gone = next(u for u in deal_privately_of(store).learned.pairs if u.startswith("s5-"))
    others = [user for user in read_pair_table(store).pairs if user != gone]
    adapt(store, parent, tmp_path / "out", tuning=privately, writes_anyway=False, users=others)
    assert secret.read_bytes() != before


def deal_privately_of(
    store: HistoryStore, without: str | None = None, parent: TrainedOn | None = None
) -> Dealt:
    table = read_pair_table(store)
    pairs = {user: own for user, own in table.pairs.items() if user != without}
    return deal_privately(PairTable(pairs, table.images), parent=parent, num_references=2)


@pytest.fixture
def records(store, parent, others_keys) -> dict[str, TrainedOn | None]:
    """Of nobody, of people with images of their own, and of two who choose among others' images."""
    table = read_pair_table(store)
    learned = list(deal_privately_of(store).learned.pairs)
    two = {user: table.pairs[user] for user in learned if user.startswith("s5-")}
    two = dict(list(two.items())[:2])
    return {
        "nobody": None,
        "strangers": read_trained_on(parent, others_keys),
        "two": trained_on(PairTable(two, table.images), parts={}, key=others_keys.current),
    }


@pytest.mark.parametrize("known", ["nobody", "strangers", "two"])
def test_what_is_asked_tells_nothing_of_who_is_learned_from(store, records, known: str) -> None:
    record = records[known]
    dealt = deal_privately_of(store, parent=record)
    assert not dealt.validation
    assert not dealt.learned.pairs.keys() & dealt.comparison.keys()
    asked = {row for each in dealt.comparison.values() for row in images_of(each.pairs)}
    assert not asked & set().union(*map(images_of, dealt.learned.pairs.values()))
    for user in list(dealt.learned.pairs)[::9]:
        without = deal_privately_of(store, user, record)
        assert without.comparison == dealt.comparison
        others = {u: own for u, own in dealt.learned.pairs.items() if u != user}
        assert without.learned.pairs == others


def test_whom_the_parent_knows_is_not_learned_from(store, records) -> None:
    """What is asked shows no image that they chose among, so it tells of them."""
    everybody = deal_privately_of(store).learned.pairs
    dealt = deal_privately_of(store, parent=records["two"])
    known = {user for user in everybody if records["two"].holds(user)}
    assert len(known) == dealt.num_left_out == 2
    assert not known & (dealt.learned.pairs.keys() | dealt.comparison.keys())
    (gone, *_) = known
    assert deal_privately_of(store, gone, records["two"]).comparison != dealt.comparison


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epsilon", "0"], 1, "epsilon must be 0.1 to 20, got 0"),
        (["--epsilon", "inf"], 1, "epsilon must be 0.1 to 20, got inf"),
        (["--epsilon", "1", "--delta", "0.5"], 1, "below 1 by the number of people"),
        (["--delta", "0.001"], 2, "--delta is of --epsilon: give both"),
    ],
)
def test_a_promise_of_nothing_is_refused_in_a_sentence(
    run, parent, tmp_path, arguments: list[str], code: int, message: str
) -> None:
    result = run(str(parent), "--out", str(tmp_path / "out"), *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


def test_the_command_adapts_privately(run, parent, tmp_path) -> None:
    """Told by the command: what is promised; nothing is borrowed, whoever is in storage."""
    out = tmp_path / "out"
    asked = (str(parent), "--out", str(out), "--steps", "3", "--epsilon", "8", "--force")
    done = run(*asked)
    assert done.exit_code == 0, done.output
    kept = json.loads((out / "adapted.json").read_text())
    assert kept["privacy"]["epsilon"] <= 8
    assert kept["decided_by"] == "model"
    told = " ".join(done.stdout.split())
    promised = f"private for each of the {kept['num_people']['learned']} people who were learned"
    assert promised in told
    assert f"checkpoint: {out}" in told
