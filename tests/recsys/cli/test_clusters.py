"""`recsys clusters`."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from recsys.cli.main import COMMANDS
from recsys.clusters.build import build_clusters
from recsys.images.decode import inspect
from storage.backfill_ledger import BackfillLedger, BackfillState, LedgerEntry
from storage.clusters.building import ClusterBuilder
from storage.clusters.runs import ClusterStore
from storage.errors import UnknownCluster
from storage.records import Choice, Signature
from storage.signatures import SignatureStore

NUM_USERS = 30
AT = datetime(2026, 1, 1, tzinfo=UTC)
USERS = [f"u{number:02}" for number in range(NUM_USERS)]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command under its name."""
    monkeypatch.setitem(COMMANDS, "clusters", ("recsys.cli.clusters", "Groups of users."))


@pytest.fixture
def choices(store, picture) -> dict[str, str]:
    """Even users like a fox, odd ones a castle, and say so: digests by name."""
    images = {name: picture(seed) for seed, name in enumerate(["fox", "castle"])}
    facts = {name: inspect(data) for name, data in images.items()}
    given = {facts[name].sha256: (facts[name], data) for name, data in images.items()}
    for number, user_id in enumerate(USERS):
        liked, passed = ("fox", "castle") if number % 2 == 0 else ("castle", "fox")
        more = {"prompt": f"a {liked} in snow", "chosen_at": AT, "source": "test"}
        choice = Choice(user_id, facts[liked].sha256, (facts[passed].sha256,), **more)
        store.append(choice, given)
    return {name: each.sha256 for name, each in facts.items()}


@pytest.fixture
def signatures(store, choices) -> dict[str, str]:
    """The same, and a signature of each user: near one of two directions."""
    put_signatures(store, USERS)
    return choices


def put_signatures(store, users: list[str], version: str = "v1") -> None:
    rng = np.random.default_rng(0)
    given = []
    for user_id in users:
        vector = np.eye(8)[int(user_id[1:]) % 2] + 0.03 * rng.normal(size=8)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        given.append(Signature(user_id, version, 1, vector))
    SignatureStore(store.database).put_many(given)


@pytest.mark.usefixtures("signatures")
def test_build_list_and_show(run, signatures) -> None:
    built = json.loads(run("clusters", "build", "--name", "spring", "--json").stdout)
    assert (built["name"], built["model_version"], built["method"]) == ("spring", "v1", "hdbscan")
    assert (built["num_users"], built["num_clusters"]) == (30, 2)
    listed = json.loads(run("clusters", "list", "--json").stdout)
    assert listed["run"] == built
    ids = [cluster["cluster_id"] for cluster in listed["clusters"]]
    fox_lovers = next(
        cluster_id
        for cluster_id in ids
        if json.loads(run("clusters", "show", str(cluster_id), "--json").stdout)["medoid"][1:]
        in [f"{number:02}" for number in range(0, NUM_USERS, 2)]
    )
    shown = json.loads(run("clusters", "show", str(fox_lovers), "--json").stdout)
    assert [image["sha256"] for image in shown["liked_images"]] == [signatures["fox"]]
    assert [image["sha256"] for image in shown["disliked_images"]] == [signatures["castle"]]
    assert [word["word"] for word in shown["words"]] == ["fox"]
    assert shown["drift"] is None
    table = run("clusters", "show", str(fox_lovers)).stdout
    assert all(text in table for text in ["fox", signatures["fox"], shown["medoid"], "cohesion"])
    assert "nothing stands out" not in table
    assert all(fact["q"] < 0.05 for fact in [*shown["liked_images"], *shown["words"]])
    assert shown["liked_images"][0]["num_users"] == NUM_USERS
    assert "spring" in run("clusters", "list").stdout
    assert "hdbscan" in run("clusters", "list", "--runs").stdout
    assert json.loads(run("clusters", "list", "--runs", "--json").stdout) == [built]


@pytest.mark.usefixtures("signatures")
def test_a_second_run_keeps_ids_and_tells_drift(run, store) -> None:
    assert run("clusters", "build").stdout.startswith("run-1: 2 clusters of 30 users")
    first = json.loads(run("clusters", "list", "--json").stdout)["clusters"]
    store.erase("u00")
    assert run("clusters", "build").exit_code == 0
    second = json.loads(run("clusters", "list", "--json").stdout)["clusters"]
    assert {each["cluster_id"] for each in second} == {each["cluster_id"] for each in first}
    assert all(each["drift"]["num_left"] == 0 for each in second)
    assert all(each["drift"]["distance"] < 0.01 for each in second)
    assert "since the previous run" in run("clusters", "show", str(second[0]["cluster_id"])).stdout
    older = json.loads(run("clusters", "list", "--run", "run-1", "--json").stdout)["clusters"]
    assert sum(each["size"] for each in older) == sum(each["size"] for each in first) - 1


@pytest.mark.parametrize("prompt", ["+2", "=1+1"])
def test_users_whose_prompts_have_no_word_are_clustered(store, signatures, prompt: str) -> None:
    for user_id in ("v00", "v01"):
        given = {"prompt": prompt, "chosen_at": AT, "source": "test"}
        store.append(Choice(user_id, signatures["fox"], (signatures["castle"],), **given), {})
    put_signatures(store, [*USERS, "v00", "v01"])
    run = build_clusters(store.database, "v1")
    assert (run.num_users, run.num_clusters) == (NUM_USERS + 2, 2)
    clusters = ClusterStore(store.database).clusters(run.run_id)
    assert {word.word for cluster in clusters for word in cluster.words} == {"fox", "castle"}


@pytest.mark.usefixtures("signatures")
def test_images_liked_most_are_written(run, home: Path, store, signatures) -> None:
    run("clusters", "build")
    clusters = ClusterStore(store.database)
    cluster_id = clusters.cluster_of(clusters.run().run_id, ["u00"])["u00"]
    assert run("clusters", "show", str(cluster_id), "--images", "liked").exit_code == 0
    (path,) = (home / "liked").iterdir()
    assert path.name == f"01-{signatures['fox'][:12]}.png"
    assert path.read_bytes() == store.image(signatures["fox"])


def test_what_chance_explains_does_not_stand_out(run, home: Path, store, picture) -> None:
    """In both clusters, half of the members like the fox and half the castle."""
    data = {name: picture(seed) for seed, name in enumerate(["fox", "castle"])}
    facts = {name: inspect(each) for name, each in data.items()}
    given = {facts[name].sha256: (facts[name], each) for name, each in data.items()}
    for number, user_id in enumerate(USERS):
        liked, passed = ("fox", "castle") if number // 2 % 2 else ("castle", "fox")
        more = {"prompt": f"a {liked} in snow", "chosen_at": AT, "source": "test"}
        store.append(Choice(user_id, facts[liked].sha256, (facts[passed].sha256,), **more), given)
    put_signatures(store, USERS)
    run("clusters", "build")
    shown = run("clusters", "show", "1", "--images", "liked").stdout
    assert "nothing stands out" in shown
    assert "liked more" not in shown
    assert "a fox in snow" in shown, "what typical members like is told instead"
    names = sorted(path.name for path in (home / "liked").iterdir())
    assert [name[:10] for name in names] == ["typical-01", "typical-02"]


@pytest.mark.usefixtures("signatures")
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_export(run, home: Path, format: str) -> None:
    run("clusters", "build")
    result = run("clusters", "export", "--format", format, "out")
    names = [f"members.{format}", f"clusters.{format}"]
    assert result.stdout.split() == [f"out/{name}" for name in names]
    if format == "parquet":
        assert parquet.read_table(home / "out" / names[0]).num_rows == 30


def test_help_shows_how_a_notebook_reads_it(run) -> None:
    text = run("clusters", "export", "--help").stdout
    assert 'pl.read_parquet("DIR/members.parquet")' in text
    assert "pd.read_parquet" in text


@pytest.mark.usefixtures("choices")
def test_without_signatures_it_tells_what_to_run(run) -> None:
    result = run("clusters", "build")
    assert result.exit_code == 3
    assert "no signatures are stored: run `recsys backfill`" in result.stderr


@pytest.mark.usefixtures("choices")
def test_users_without_a_signature_are_told_of(run, store) -> None:
    put_signatures(store, USERS[:20])
    result = run("clusters", "build")
    assert "20 users" in result.stdout
    assert "10 users have no current signature: run `recsys backfill`" in result.stderr
    outcomes = {"u20": BackfillState.SKIPPED, "u21": BackfillState.FAILED}
    BackfillLedger(store.database).record(
        [LedgerEntry(user_id, "v1", 1, "job", state) for user_id, state in outcomes.items()]
    )
    told = run("clusters", "build").stderr
    assert "8 users have no current signature: run `recsys backfill`" in told
    assert "1 user cannot have one: no choice of theirs both likes an image" in told
    assert "1 user cannot have one: their images cannot be read" in told


@pytest.mark.usefixtures("signatures")
def test_the_model_version_that_was_put_last_is_meant(run, store) -> None:
    put_signatures(store, USERS[:20], "v2")
    newest = json.loads(run("clusters", "build", "--json").stdout)
    assert (newest["model_version"], newest["num_users"]) == ("v2", 20)
    older = json.loads(run("clusters", "build", "--model-version", "v1", "--json").stdout)
    assert (older["model_version"], older["num_users"]) == ("v1", 30)
    # Users are the same though vectors do not compare.
    listed = json.loads(run("clusters", "list", "--json").stdout)["clusters"]
    assert all(each["drift"]["distance"] is None for each in listed)
    result = run("clusters", "build", "--model-version", "v9")
    assert result.exit_code == 3
    assert "v9" in result.stderr


@pytest.mark.usefixtures("signatures")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["build", "--num", "31"], 2, "num must be 1 to 30, the number of users, got 31"),
        (["build", "--method", "hdbscan", "--num", "2"], 2, "drop --num"),
        (["build", "--min-size", "1"], 2, "min-size"),
        (["build", "--name", "run-3"], 2, "take another"),
        (["build", "--name", "taken"], 2, "must be unique"),
        (["show", "99"], 3, "no cluster 99"),
        (["show", "1", "--run", "nothing"], 3, "'nothing'"),
        (["list", "--run", "nothing"], 3, "clusters list --runs"),
        (["export", "out", "--run", "nothing"], 3, "'nothing'"),
    ],
)
def test_what_is_refused_leaves_nothing(run, home, arguments, code: int, says: str) -> None:
    run("clusters", "build", "--name", "taken")
    result = run("clusters", *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert len(json.loads(run("clusters", "list", "--runs", "--json").stdout)) == 1
    assert not (home / "out").exists()


@pytest.mark.usefixtures("choices")
@pytest.mark.parametrize("arguments", [["list"], ["show", "1"], ["export", "out"]])
def test_before_the_first_run_it_tells_what_to_run(run, arguments: list[str]) -> None:
    result = run("clusters", *arguments)
    assert result.exit_code == 3
    assert "no clusters are built yet: run `recsys clusters build`" in result.stderr


def test_before_anything_is_stored_nothing_is_created(home: Path, run) -> None:
    result = run("clusters", "build")
    assert result.exit_code == 3
    assert "nothing is stored yet" in result.stderr
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("signatures")
def test_two_builds_at_once(store) -> None:
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(partial(build_clusters, store.database, "v1")) for _ in range(2)]
        runs = [work.result() for work in works]
    clusters = ClusterStore(store.database)
    ids = [{each.cluster_id for each in clusters.clusters(run.run_id)} for run in runs]
    assert ids[0] == ids[1] == {1, 2}


@pytest.mark.usefixtures("signatures")
def test_a_build_that_fails_leaves_nothing(store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.clusters.build.image_opinions", fail)
    with pytest.raises(KeyboardInterrupt):
        build_clusters(store.database, "v1")
    assert ClusterStore(store.database).runs() == []
    with pytest.raises(UnknownCluster, match="run 1 is not being built"):
        ClusterBuilder(store.database).finish(1, [])


@pytest.mark.usefixtures("signatures")
def test_a_removed_run_is_gone_and_its_ids_with_it(run) -> None:
    run("clusters", "build", "--name", "spring")
    assert run("clusters", "remove", "spring").exit_code == 0
    assert run("clusters", "remove", "spring").exit_code == 3
    run("clusters", "build")
    listed = json.loads(run("clusters", "list", "--json").stdout)["clusters"]
    assert {each["cluster_id"] for each in listed} == {3, 4}


@pytest.mark.usefixtures("signatures")
def test_a_name_stays_with_the_cluster(run) -> None:
    run("clusters", "build")
    assert "name" not in run("clusters", "list").stdout
    assert run("clusters", "name", "2", "night cities").stdout == (
        "cluster 2 is called night cities\n"
    )
    run("clusters", "build")
    assert "night cities" in run("clusters", "list").stdout
    assert "night cities" in run("clusters", "show", "2").stdout
    listed = json.loads(run("clusters", "list", "--json").stdout)["clusters"]
    assert {each["cluster_id"]: each["name"] for each in listed} == {1: None, 2: "night cities"}
    assert run("clusters", "name", "2", "--clear").exit_code == 0
    assert "night cities" not in run("clusters", "list").stdout


@pytest.mark.usefixtures("signatures")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["9", "foxes"], 3, "no run has cluster 9"),
        (["1", ""], 2, "1 to 128 printable characters"),
        (["1", "  "], 2, "1 to 128 printable characters"),
        (["1", "x" * 129], 2, "1 to 128 printable characters"),
        (["1", "a\nb"], 2, "1 to 128 printable characters"),
        (["1"], 2, "either NAME or --clear"),
        (["1", "foxes", "--clear"], 2, "either NAME or --clear"),
    ],
)
def test_a_name_that_is_refused(run, arguments: list[str], code: int, says: str) -> None:
    run("clusters", "build")
    result = run("clusters", "name", *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert "name" not in run("clusters", "list").stdout


@pytest.mark.usefixtures("signatures")
def test_another_method_than_the_last_runs_is_told(run) -> None:
    told = "run-2 was grouped by kmeans, run-1 by hdbscan: ids of clusters may not compare"
    run("clusters", "build")
    assert told in run("clusters", "build", "--method", "kmeans", "--num", "2").stderr
    assert told in run("clusters", "list").stdout
    assert "compare" not in run("clusters", "list", "--run", "run-1").stdout
    again = run("clusters", "build", "--method", "kmeans", "--num", "2")
    assert "compare" not in again.stderr


@pytest.mark.usefixtures("signatures")
def test_a_run_without_clusters_tells_what_else_to_try(run) -> None:
    result = run("clusters", "build", "--method", "hdbscan", "--min-size", "40")
    assert result.stdout.startswith("run-1: 0 clusters of 30 users, 30 in none")
    assert "try a smaller --min-size, or --method kmeans" in result.stderr
    listed = json.loads(run("clusters", "list", "--json").stdout)
    assert listed["clusters"] == []
    assert "30 of 30 users in no cluster" in run("clusters", "list").stdout
