"""`recsys rank --local`, with a small scorer of random weights."""

import json
from pathlib import Path

import pytest

from recsys.cli import rank as module
from recsys.ranking.candidates import CandidateStatus, Personalization, RankedCandidate, Ranking


@pytest.fixture(autouse=True)
def pictures(home: Path, picture, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_CHECKPOINT", str(checkpoint))
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        (home / name).write_bytes(picture(seed))


def ranked(run, *arguments: str, code: int = 0) -> dict:
    result = run("rank", "--local", "--json", *arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_json_is_the_ranking_of_a_stranger_on_an_empty_machine(run, checkpoint: Path) -> None:
    ranking = ranked(run, "--user", "ann", "a.png", "b.png", "c.png", "--prompt", "a hat")
    lent = ["num_references", "num_borrowed_references", "num_neighbours"]
    facts = ["user_id", "model_version", "personalization", *lent, "population_version"]
    assert list(ranking) == [*facts, "is_opted_out", "candidates"]
    assert [ranking[name] for name in lent] == [0, 0, 0]
    assert ranking["user_id"] == "ann"
    signed = json.loads((checkpoint / "scorer.json").read_text())["model_version"]
    assert ranking["model_version"] == signed
    assert ranking["personalization"] == "COLD_START"
    candidates = ranking["candidates"]
    assert [each["rank"] for each in candidates] == [1, 2, 3]
    assert {each["id"] for each in candidates} == {"a.png", "b.png", "c.png"}
    scores = [each["score"] for each in candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert all(list(each) == ["id", "score", "rank"] for each in candidates)


def test_choices_make_it_personal_and_order_of_arguments_does_not(run) -> None:
    before = ranked(run, "--user", "ann", "a.png", "b.png", "c.png")
    for _ in range(2):
        run("choose", "--user", "ann", "--liked", "c.png", "--passed-over", "a.png")
        after = ranked(run, "--user", "ann", "a.png", "b.png", "c.png")
    assert after["personalization"] == "WARM"
    score = {each["id"]: each["score"] for each in after["candidates"]}
    assert score != {each["id"]: each["score"] for each in before["candidates"]}
    again = ranked(run, "--user", "ann", "c.png", "b.png", "a.png")
    assert {each["id"]: each["score"] for each in again["candidates"]} == pytest.approx(score)
    assert ranked(run, "--user", "bob", "a.png", "b.png", "c.png") == {**before, "user_id": "bob"}


def test_a_stored_image_is_ranked_by_its_digest(run, store) -> None:
    run("choose", "--user", "ann", "--liked", "a.png")
    sha = store.read("ann").choices[0].choice.liked
    by_file, by_digest = ranked(run, "--user", "bob", "a.png", sha)["candidates"]
    assert by_file["score"] == pytest.approx(by_digest["score"])


def test_one_bad_image_costs_the_others_nothing(home: Path, run) -> None:
    (home / "text.png").write_text("I am a picture, honestly.")
    ranking = ranked(run, "--user", "ann", "text.png", "a.png", "ab" * 32, code=5)
    best, text, unknown = ranking["candidates"]
    assert (best["id"], best["rank"]) == ("a.png", 1)
    assert (text["id"], text["score"], text["rank"]) == ("text.png", None, None)
    assert text["status"] == "INVALID_IMAGE"
    assert text["reason"] == "IMAGE_TYPE_UNSUPPORTED"
    assert "must be a PNG" in text["message"]
    assert (unknown["id"], unknown["status"]) == ("ab" * 32, "IMAGE_NOT_FOUND")
    table = run("rank", "--local", "--user", "ann", "text.png", "a.png")
    assert table.exit_code == 5
    assert "reason" in table.stdout


def test_nothing_that_could_be_ranked_is_a_failure(home: Path, run) -> None:
    (home / "text.png").write_text("I am a picture, honestly.")
    assert ranked(run, "--user", "ann", "text.png", code=1)["candidates"][0]["rank"] is None


def test_one_reference_is_told_in_the_singular(run) -> None:
    run("choose", "--user", "ann", "--liked", "a.png", "--passed-over", "b.png")
    assert ", 1 reference, model" in run("rank", "--local", "--user", "ann", "c.png").stdout


def test_the_table_is_for_people(run) -> None:
    result = run("rank", "--local", "--user", "ann", "a.png", "b.png")
    assert result.exit_code == 0
    assert "ann: cold start, 0 references" in result.stdout
    assert "reason" not in result.stdout
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--user", "ann"], 2, "IMAGE..."),
        (["a.png"], 2, "--user"),
        (["--user", "ann", "none.png"], 3, "none.png"),
        (["--user", "ann", "a.png", "a.png"], 2, "a.png twice"),
        (["--user", "ann", "--server", "x:1", "a.png"], 2, "exclude each other"),
        (["--user", "u" * 1000, "a.png"], 2, "user_id"),
        (["--user", "a\tb", "a.png"], 2, "control characters"),
        (["--user", "ann", "a.png", "--prompt", "x" * 10_001], 2, "prompt"),
    ],
)
def test_a_bad_request_is_one_sentence(run, arguments: list[str], code: int, says: str) -> None:
    result = run("rank", "--local", *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert result.stdout == ""


def test_too_many_candidates_are_refused(run) -> None:
    arguments = ["--set", "max_candidates=2", "rank", "--local", "--user", "ann"]
    result = run(*arguments, "a.png", "b.png", "c.png")
    assert result.exit_code == 2
    assert "1 to 2, got 3" in result.stderr


def test_a_prompt_of_emoji_and_ten_thousand_characters_is_fine(run) -> None:
    ranking = ranked(run, "--user", "😀", "a.png", "--prompt", "😀" * 10_000)
    assert ranking["user_id"] == "😀"


def test_a_missing_checkpoint_is_told(run) -> None:
    result = run("--set", "checkpoint=no/such", "rank", "--local", "--user", "ann", "a.png")
    assert result.exit_code == 3
    assert "there is no checkpoint no/such" in result.stderr


def test_a_limit_on_bytes_holds(run) -> None:
    arguments = ["--set", "max_image_bytes=20", "rank", "--local", "--json", "--user", "ann"]
    result = run(*arguments, "a.png")
    assert json.loads(result.stdout)["candidates"][0]["status"] == "INVALID_IMAGE"


def test_paths_of_any_length_and_bytes_are_ids(home: Path, run, monkeypatch) -> None:
    def echo(user, candidates, settings, *, audience):
        assert audience == "north"
        assert [each.id for each in candidates] == ["0", "1"]
        return Ranking(
            user,
            "version",
            Personalization.PARTIAL,
            1,
            (
                RankedCandidate("1", 0.75, 1, CandidateStatus.RANKED),
                RankedCandidate("0", 0.25, 2, CandidateStatus.RANKED),
            ),
        )

    monkeypatch.setattr(module, "rank_there", echo)
    deep = home / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    odd = deep / "\udcff.png"
    odd.write_bytes(b"1")
    ask = ["rank", "--audience", "north", "--user", "ann"]
    result = run(*ask, "--json", str(odd), "a.png")
    assert [each["id"] for each in json.loads(result.stdout)["candidates"]] == ["a.png", str(odd)]
    assert run(*ask, str(odd), "a.png").exit_code == 0


def test_a_device_that_is_not_there_is_said_to_be_that(run, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_DEVICE", "cuda")
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: False)
    result = run("rank", "--local", "--user", "ann", "a.png")
    assert result.exit_code == 1
    assert "device cuda needs a PyTorch with CUDA" in result.stderr
    assert "base model" not in result.output


def test_a_scorer_in_this_process_computes_in_the_type_that_is_asked_for(run) -> None:
    exact = ranked(run, "--user", "ann", "a.png", "b.png", "c.png")
    rounded = ranked(run, "--dtype", "bfloat16", "--user", "ann", "a.png", "b.png", "c.png")
    assert rounded["model_version"] == exact["model_version"]
    one, other = ({e["id"]: e["score"] for e in r["candidates"]} for r in (exact, rounded))
    assert one != other
    assert other == pytest.approx(one, abs=0.02)


@pytest.mark.parametrize("option", [("--device", "cpu"), ("--dtype", "bfloat16")])
def test_how_a_server_computes_is_not_for_its_caller_to_say(run, option) -> None:
    result = run("rank", *option, "--user", "ann", "a.png")
    assert result.exit_code == 2
    assert "for a scorer in this process: add --local" in result.stderr
