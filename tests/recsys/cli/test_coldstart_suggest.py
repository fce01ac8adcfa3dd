"""`recsys coldstart`: what a fit warns of; what suggest prints, its images, what it says before."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from recsys.scorer.trained_on import TrainedOn, user_digest, write_trained_on


@pytest.fixture
def people(home: Path, run, picture, monkeypatch: pytest.MonkeyPatch):
    """Six people, each with two images of one prompt, which others may be shown."""
    monkeypatch.setenv("RECSYS_SHARE_MIN_USERS", "1")
    for n in range(6):
        names = []
        for which in range(2):
            path = home / f"{n}-{which}.png"
            path.write_bytes(picture(10 * n + which))
            names.append(path.name)
        command = ["choose", "--user", f"u{n}", "--liked", names[0], "--passed-over", names[1]]
        assert run(*command, "--prompt", f"hill {n}", "--shareable").exit_code == 0


@pytest.fixture
def fitted(run, people, checkpoint: Path) -> list[str]:
    """Flags that name the checkpoint for which it was learned."""
    flags = ["--checkpoint", str(checkpoint)]
    result = run("coldstart", "fit", *flags)
    assert result.exit_code == 0, result.output
    return flags


def test_pairs_and_their_images(run, home: Path, fitted: list[str]) -> None:
    arguments = ["coldstart", "suggest", "-k", "3", "--images", "shown", "--json", *fitted]
    answer = json.loads(run(*arguments).stdout)
    shown = json.loads(run("coldstart", "show", "--json", *fitted).stdout)
    assert answer["population_version"] == shown["population_version"]
    assert len(answer["pairs"]) == 3
    written = sorted(path.name for path in (home / "shown").iterdir())
    assert written == ["1a.png", "1b.png", "2a.png", "2b.png", "3a.png", "3b.png"]
    for place, pair in enumerate(answer["pairs"], start=1):
        for letter, name in (("a", "first_sha256"), ("b", "second_sha256")):
            data = (home / "shown" / f"{place}{letter}.png").read_bytes()
            assert hashlib.sha256(data).hexdigest() == pair[name]
    bits = [pair["information_bits"] for pair in answer["pairs"]]
    assert bits == sorted(bits)
    assert bits[0] >= 0


def test_a_fit_to_few_users_warns_that_it_says_little(
    run, people, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = ["coldstart", "fit", "--json", "--checkpoint", str(checkpoint)]
    few = run(*fit)
    assert few.exit_code == 0
    assert json.loads(few.stdout)["num_users"] == 6
    assert "classes learned from 6 users say little about others" in few.stderr
    assert "fit again with at least 100 users" in few.stderr
    monkeypatch.setattr("recsys.coldstart.fit.ENOUGH_USERS", 6)
    assert run(*fit).stderr == ""


def test_a_fit_warns_where_users_decided_whom_the_checkpoint_learned_from(
    home: Path, run, people, checkpoint: Path
) -> None:
    knowing = Path(shutil.copytree(checkpoint, home / "knowing"))
    known = TrainedOn({user_digest(None, f"u{n}"): 1.0 for n in range(5)})
    write_trained_on(known, knowing)
    fit = ["coldstart", "fit", "--json", "--checkpoint"]
    own, other = run(*fit, str(knowing)), run(*fit, str(checkpoint))
    assert json.loads(own.stdout)["known_users_decided"] is True
    assert "the checkpoint learned from all but 1 of the 6 users, too few to decide" in own.stderr
    assert json.loads(other.stdout)["known_users_decided"] is False
    assert "learned from all but" not in other.stderr
    assert [json.loads(each.stdout)["num_judges"] for each in (own, other)] == [2, 2]


def test_a_fit_learns_from_those_alone_who_are_named(run, people, checkpoint: Path) -> None:
    fit = ["coldstart", "fit", "--json", "--checkpoint", str(checkpoint), "--only"]
    assert json.loads(run(*fit, "u[1-4]").stdout)["num_users"] == 4
    few = run(*fit, "u[1-3]")
    assert few.exit_code == 1
    assert "a fit needs at least 4 users" in few.stderr


def test_pairs_whose_image_cannot_be_read_are_left_out_of_a_fit(
    store, run, people, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (liked,) = (stored.choice.liked for stored in store.read("u1").choices)
    store.blobs.delete(liked)
    fit = ["coldstart", "fit", "--json", "--checkpoint", str(checkpoint)]
    refused = run(*fit)
    assert refused.exit_code == 3, "one of twelve is more than one in a hundred"
    assert f"no image {liked} is stored" in refused.stderr
    monkeypatch.setattr("recsys.coldstart.learning.MOST_UNREADABLE", 0.1)
    done = run(*fit)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["num_users"] == 5
    assert "1 image cannot be read: pairs that show one are left out" in done.stderr
    told = run("coldstart", "suggest", "-k", "8", "--json", "--checkpoint", str(checkpoint))
    pairs = json.loads(told.stdout)["pairs"]
    assert liked not in {each[side] for each in pairs for side in ("first_sha256", "second_sha256")}


def test_a_table_of_four_by_default(run, fitted: list[str]) -> None:
    result = run("coldstart", "suggest", *fitted)
    assert result.exit_code == 0
    assert "bits so far" in result.stdout
    first_words = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert first_words[2:] == ["1", "2", "3", "4"]


def test_an_erased_pair_is_left_out(run, fitted: list[str]) -> None:
    def suggested() -> list:
        return json.loads(run("coldstart", "suggest", "-k", "8", "--json", *fitted).stdout)["pairs"]

    before = suggested()
    assert run("users", "erase", "u1", "--yes").exit_code == 0
    after = suggested()
    assert 0 < len(after) < len(before)
    assert [pair for pair in before if pair in after] == after


def test_no_prompt_is_shown_unless_the_settings_say_so(run, fitted: list[str]) -> None:
    def prompts(*flags: str) -> set[str]:
        told = json.loads(run(*flags, "coldstart", "suggest", "--json", *fitted).stdout)
        return {pair["prompt"] for pair in told["pairs"]}

    assert prompts() == {""}
    shown = prompts("--set", "share_prompts=true")
    assert shown <= {"", *(f"hill {n}" for n in range(6))}
    assert shown != {""}


def test_a_fit_asks_nothing_where_no_image_may_be_shown(run, people, checkpoint: Path) -> None:
    flags = ["--checkpoint", str(checkpoint)]
    result = run("--set", "share_min_users=2", "coldstart", "fit", *flags)
    assert result.exit_code == 0
    assert "warning: no first question was chosen" in result.stderr
    assert "seen by 2 users or more" in result.stderr
    result = run("coldstart", "suggest", *flags)
    assert result.exit_code == 1
    assert "recsys images share" in result.stderr


def test_a_fit_draws_from_what_may_be_shown(home: Path, run, people, checkpoint: Path) -> None:
    hidden = [f"{n}-{which}.png" for n in range(4) for which in range(2)]
    assert run("images", "unshare", *hidden).exit_code == 0
    flags = ["--checkpoint", str(checkpoint)]
    assert run("coldstart", "fit", *flags).exit_code == 0
    told = json.loads(run("coldstart", "suggest", "-k", "8", "--json", *flags).stdout)["pairs"]
    names = {name for pair in told for name in (pair["first_sha256"], pair["second_sha256"])}
    left = [home / f"{n}-{which}.png" for n in (4, 5) for which in range(2)]
    assert names == {hashlib.sha256(path.read_bytes()).hexdigest() for path in left}


def test_before_the_fit_it_tells_what_to_run(run, people, checkpoint: Path) -> None:
    result = run("coldstart", "suggest", "--checkpoint", str(checkpoint))
    assert result.exit_code == 1
    assert "run `recsys coldstart fit`" in result.stderr


def test_a_fit_reads_images_by_the_limits_of_the_settings(run, people, checkpoint: Path) -> None:
    smaller = ["--set", "max_image_bytes=20"]
    result = run(*smaller, "coldstart", "fit", "--checkpoint", str(checkpoint))
    assert result.exit_code == 2
    assert "image must have at most 20 bytes" in result.stderr


@pytest.mark.parametrize("num_pairs", ["0", "9"])
def test_a_number_out_of_range_is_refused(run, num_pairs: str) -> None:
    assert run("coldstart", "suggest", "-k", num_pairs).exit_code == 2


def test_who_opted_out_is_asked_nothing(run, fitted: list[str]) -> None:
    run("users", "consent", "u1", "--no-personalize")
    refused = run("coldstart", "suggest", "--user", "u1", *fitted)
    assert refused.exit_code == 1
    assert "'u1' is not personalised" in refused.stderr
    assert run("coldstart", "suggest", "--user", "u2", *fitted).exit_code == 0


def test_who_was_erased_is_asked_nothing(run, fitted: list[str]) -> None:
    run("users", "erase", "u1", "--yes")
    refused = run("coldstart", "suggest", "--user", "u1", *fitted)
    assert refused.exit_code == 1
    assert "nothing of erased users is stored, got 'u1'" in refused.stderr
