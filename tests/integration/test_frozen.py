"""What release 0.1 wrote still opens, and ranks as it did."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from recsys.cli.rank import rank_here
from recsys.ranking.candidates import Candidate, Personalization
from recsys.runtime import Runtime
from recsys.settings import Settings
from storage.database import check, upgrade
from storage.errors import SchemaMismatch

FROZEN = Path(__file__).parents[1] / "frozen" / "0.1"
# By user, for the images in the order of their digests; "nobody" is not stored.
KNOWN = {
    "user-03": [
        0.46885,
        0.46874,
        0.46874,
        0.46879,
        0.46873,
        0.46874,
        0.46875,
        0.46874,
        0.46733,
        0.46883,
    ],
    "user-05": [
        0.38908,
        0.38908,
        0.39583,
        0.38908,
        0.39019,
        0.38908,
        0.38902,
        0.38908,
        0.38912,
        0.38653,
    ],
    "nobody": [
        0.39744,
        0.40401,
        0.41041,
        0.40371,
        0.41282,
        0.40426,
        0.42152,
        0.39103,
        0.40089,
        0.40515,
    ],
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a copy of what was frozen, with the database at 0005."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    shutil.copytree(FROZEN, tmp_path / "0.1")
    with closing(sqlite3.connect(tmp_path / "recsys.db")) as connection:
        connection.executescript((FROZEN / "database.sql").read_text())
    return Settings(
        database_url=f"sqlite:///{tmp_path}/recsys.db",
        blob_url=f"file://{tmp_path}/0.1/blobs",
        index_folder=str(tmp_path / "index"),
        checkpoint=str(tmp_path / "0.1" / "checkpoint"),
    )


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """Of the database brought up to what this code needs."""
    with Runtime(settings) as runtime:
        upgrade(runtime.database)
        yield runtime


def images() -> list[str]:
    return sorted(path.name for path in (FROZEN / "blobs").glob("*/*"))


def test_the_database_is_the_one_of_0_1_and_is_upgraded_by_hand_alone(settings) -> None:
    with Runtime(settings) as runtime:
        assert check(runtime.database).current == "0005"
        with pytest.raises(SchemaMismatch, match="run `recsys db upgrade`"):
            _ = runtime.store
        upgrade(runtime.database)
        assert check(runtime.database).is_current
        assert runtime.store.user_ids() == [f"user-{number:02}" for number in range(12)]


@pytest.mark.parametrize("user", ["user-03", "user-05", "nobody"])
def test_rankings_are_the_ones_of_0_1(runtime, settings, user: str) -> None:
    names = images()
    candidates = [Candidate(name, "three small fish", sha256=name) for name in names]
    ranking = rank_here(user, candidates, settings)
    scores = {each.id: each.score for each in ranking.candidates}
    assert [scores[name] for name in names] == pytest.approx(KNOWN[user], abs=2e-4)
    is_known = user != "nobody"
    assert ranking.num_references == (4 if is_known else 0)
    assert ranking.personalization == (
        Personalization.WARM if is_known else Personalization.COLD_START
    )


def test_signatures_of_0_1_are_what_this_code_reads(runtime) -> None:
    version = runtime.model_version
    assert runtime.ledger.num_due(version) == 0
    stored = runtime.signatures.get("user-05", version)
    assert stored is not None
    with runtime.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM signatures WHERE user_id = 'user-05'"))
    fresh = runtime.current_signatures().of("user-05")
    assert not fresh.is_stale
    np.testing.assert_allclose(fresh.signature.vector, stored.vector, atol=1e-3)


def test_clusters_and_first_questions_of_0_1_are_shown(runtime) -> None:
    run = runtime.clusters.run("frozen")
    assert (run.num_users, run.num_clusters) == (12, 2)
    questions = runtime.cold_starts.first_questions(runtime.model_version)
    assert questions is not None
    assert {questions.pairs[0].first_sha256, questions.pairs[0].second_sha256} <= set(images())


def test_an_upgraded_history_goes_on(runtime) -> None:
    stored = runtime.store.read("user-03").choices
    assert [each.choice.request_id for each in stored] == [
        None,
        *(f"request-3-{n}" for n in (1, 2, 3)),
    ]
    assert stored[0].choice.liked is None
    assert stored[1].choice.prompt == "three small fish 🐟"
    assert runtime.store.append(stored[1].choice).repeated
