"""`recsys users`."""

import json
import zipfile
from pathlib import Path

import pytest

from storage.clusters.exports import ClusterExportStore
from storage.trainings import TrainingStore


@pytest.fixture
def ann(home: Path, run, picture) -> None:
    """A user with a pair and a like."""
    for seed, name in enumerate(["a.png", "b.png"]):
        (home / name).write_bytes(picture(seed))
    run("choose", "--user", "ann", "--liked", "a.png", "--passed-over", "b.png")
    run("choose", "--user", "ann", "--liked", "b.png")


@pytest.mark.usefixtures("ann")
def test_show_tells_what_is_stored(run) -> None:
    shown = json.loads(run("users", "show", "ann", "--json").stdout)
    assert shown["user_id"] == "ann"
    assert (shown["revision"], shown["num_choices"], shown["num_pairs"]) == (2, 2, 1)
    assert shown["created_at"] <= shown["last_choice_at"]
    table = run("users", "show", "ann")
    assert table.exit_code == 0
    assert "num_choices" in table.stdout


def test_where_an_import_told_no_times_the_last_choice_is_of_an_unknown_one(
    home: Path, run, picture
) -> None:
    (home / "some").mkdir()
    for seed, name in enumerate(["a.png", "b.png"]):
        (home / "some" / name).write_bytes(picture(seed))
    rows = "user_id,liked_image,disliked_image,prompt\nann,a.png,b.png,a hat\n"
    (home / "some" / "pairs.csv").write_text(rows)
    assert run("import", "pairs", "some").exit_code == 0
    table = run("users", "show", "ann").stdout
    assert "unknown" in table
    assert "1970" not in table
    assert json.loads(run("users", "show", "ann", "--json").stdout)["last_choice_at"] is None


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize(
    ("verb", "advice"),
    [
        (["show"], "check the id"),
        (["erase"], "check the id"),
        (["erase", "--yes"], "there is nothing to erase"),
    ],
)
def test_an_unknown_user_is_not_found(run, verb: list[str], advice: str) -> None:
    result = run("users", *verb, "nobody")
    assert result.exit_code == 3
    assert "nobody" in result.stderr
    assert advice in result.stderr


@pytest.mark.parametrize("verb", [["show"], ["erase", "--yes"]])
def test_before_anything_is_stored_nothing_is_created(home: Path, run, verb: list[str]) -> None:
    result = run("users", *verb, "ann")
    assert result.exit_code == 3
    assert "nothing is stored yet" in result.stderr
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("ann")
def test_erase_takes_all_and_tells_how_much(run, store) -> None:
    erased = json.loads(run("users", "erase", "ann", "--yes", "--json").stdout)
    assert (erased["num_choices"], erased["num_images"]) == (2, 2)
    assert erased["num_bytes"] > 0
    assert store.user_ids() == []
    assert run("users", "show", "ann").exit_code == 3


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
def test_erase_asks_and_without_a_yes_does_nothing(run, store, answer: str) -> None:
    result = run("users", "erase", "ann", input=answer)
    assert result.exit_code == 1
    assert "2 choices" in result.stderr
    assert "nothing was erased" in result.stderr
    assert store.user("ann").num_choices == 2


@pytest.mark.usefixtures("ann")
def test_erase_goes_on_after_a_yes(run, store) -> None:
    result = run("users", "erase", "ann", input="y\n")
    assert result.exit_code == 0
    assert "ann is erased: 2 choices" in result.stdout
    assert store.user_ids() == []


def test_one_of_a_thing_is_told_in_the_singular(home: Path, run, picture) -> None:
    (home / "a.png").write_bytes(picture(0))
    run("choose", "--user", "ann", "--liked", "a.png")
    result = run("users", "erase", "ann", input="y\n")
    assert "Erase ann and 1 choice?" in result.stderr
    assert "ann is erased: 1 choice, 0 signatures and 1 image (" in result.stdout


@pytest.mark.usefixtures("ann")
def test_an_erased_user_is_kept_out_until_restored(home: Path, run) -> None:
    assert run("users", "erase", "ann", "--yes", "--by", "a clerk").exit_code == 0
    assert (home / "data" / "recsys" / "identity.key").is_file()
    again = run("users", "erase", "ann", "--yes")
    assert again.exit_code == 3
    assert "was erased on" in again.stderr
    assert "by a clerk" in again.stderr
    refused = run("choose", "--user", "ann", "--liked", "a.png")
    assert refused.exit_code == 1
    assert "recsys users restore" in refused.stderr
    restored = json.loads(run("users", "restore", "ann", "--json").stdout)
    assert (restored["user_id"], restored["erased_by"]) == ("ann", "a clerk")
    assert run("choose", "--user", "ann", "--liked", "a.png").exit_code == 0
    assert run("users", "restore", "ann").exit_code == 3


@pytest.mark.usefixtures("ann")
def test_by_default_the_systems_user_has_erased(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "an operator")
    run("users", "erase", "ann", "--yes")
    assert "by an operator, may be stored again" in run("users", "restore", "ann").stdout


@pytest.mark.usefixtures("ann")
def test_a_user_without_a_name_is_told_by_number(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("no username set in the environment")

    monkeypatch.setattr("getpass.getuser", nameless)
    run("users", "erase", "ann", "--yes")
    assert json.loads(run("users", "restore", "ann", "--json").stdout)["erased_by"].startswith(
        "uid "
    )


def test_by_is_not_for_a_server(run) -> None:
    result = run("users", "erase", "ann", "--yes", "--by", "a clerk", "--server", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "--by cannot go with --server" in result.stderr


@pytest.mark.usefixtures("ann")
def test_without_the_key_nothing_is_stored_and_what_to_set_is_told(home: Path, run) -> None:
    run("users", "erase", "ann", "--yes")
    (home / "data" / "recsys" / "identity.key").unlink()
    refused = run("choose", "--user", "bob", "--liked", "a.png")
    assert refused.exit_code == 1
    assert "identity_key" in refused.stderr


@pytest.mark.usefixtures("ann")
def test_snapshots_of_the_index_go_and_one_that_cannot_is_told(
    home: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = home / "data" / "recsys" / "index" / "v1-3-0badcafe"
    snapshot.mkdir(parents=True)
    run("choose", "--user", "bob", "--liked", "a.png")
    assert run("users", "erase", "ann", "--yes").stderr == ""
    assert not snapshot.exists()

    def refused(path: Path) -> None:
        raise PermissionError(f"{path.name} is not ours")

    snapshot.mkdir()
    monkeypatch.setattr("shutil.rmtree", refused)
    result = run("users", "erase", "bob", "--yes")
    assert result.exit_code == 0
    assert "still holds something of bob: a snapshot of the index" in result.stderr
    assert "v1-3-0badcafe is not ours" in result.stderr


@pytest.mark.usefixtures("ann")
def test_consent_is_set_and_shown(run, store) -> None:
    assert json.loads(run("users", "show", "ann", "--json").stdout)["personalize"] is True
    told = run("users", "consent", "ann", "--no-personalize")
    assert (told.exit_code, told.stdout) == (0, "ann is not personalised and may be learned from\n")
    assert json.loads(run("users", "show", "ann", "--json").stdout)["personalize"] is False
    again = json.loads(run("users", "consent", "ann", "--personalize", "--json").stdout)
    assert again == {
        "user_id": "ann",
        "personalize": True,
        "learn_from": True,
        "rewritten_exports": [],
        "remnants": [],
    }
    told = run("users", "consent", "ann", "--no-learn-from")
    assert told.stdout == "ann is personalised and may not be learned from\n"
    assert json.loads(run("users", "show", "ann", "--json").stdout)["learn_from"] is False
    assert store.user("ann").num_choices == 2
    assert run("users", "consent", "ann").exit_code == 2


@pytest.mark.usefixtures("ann")
def test_an_export_that_an_opt_out_does_not_reach_is_told(run, store) -> None:
    ClusterExportStore(store.database).record(1, "/gone/out", "csv")
    told = run("users", "consent", "ann", "--no-learn-from")
    assert told.exit_code == 0
    expected = "still holds something of ann: perhaps the export of clusters to /gone/out of"
    assert expected in told.stderr


@pytest.mark.usefixtures("ann")
def test_what_still_holds_something_of_the_user_is_told_each_time(run, store) -> None:
    TrainingStore(store.database).record("/gone/run")
    told = "still holds something of ann: perhaps the training in /gone/run of"
    first = json.loads(run("users", "erase", "ann", "--yes", "--json").stdout)
    assert first["remnants"][0].startswith("perhaps the training in /gone/run of")
    again = run("users", "erase", "ann", "--yes")
    assert again.exit_code == 3
    assert told in again.stderr


@pytest.mark.usefixtures("ann")
def test_export_writes_an_archive_and_writes_nothing_over(home: Path, run) -> None:
    told = run("users", "export", "ann", "--out", "ann.zip")
    assert told.stdout == "ann.zip holds 2 choices, 2 images and 0 signatures of ann\n"
    with zipfile.ZipFile(home / "ann.zip") as archive:
        choices = archive.read("choices.jsonl").decode().splitlines()
        assert len(choices) == 2
        liked = json.loads(choices[0])["liked"]
        assert archive.read(f"images/{liked}.png") == (home / "a.png").read_bytes()
    before = (home / "ann.zip").read_bytes()
    refused = run("users", "export", "ann", "--out", "ann.zip")
    assert refused.exit_code == 1
    assert (home / "ann.zip").read_bytes() == before
    assert run("users", "export", "nobody", "--out", "nobody.zip").exit_code == 3
    assert not (home / "nobody.zip").exists()
    shown = json.loads(run("users", "export", "ann", "--out", "b.zip", "--json").stdout)
    assert (shown["path"], shown["num_choices"], shown["num_lost"]) == ("b.zip", 2, 0)
