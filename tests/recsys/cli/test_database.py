"""`recsys db`, and what commands do about a schema that is not the code's."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest


def execute(path: Path, *statements: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def path(home: Path) -> Path:
    return home / "data" / "recsys" / "recsys.db"


def test_upgrade_then_check(run, path: Path) -> None:
    upgraded = json.loads(run("db", "upgrade", "--json").stdout)
    checked = json.loads(run("db", "check", "--json").stdout)
    assert checked["is_current"]
    assert checked["current"] == checked["expected"] == upgraded["revision"]
    assert run("db", "upgrade").exit_code == 0
    plain = run("db", "check")
    assert plain.exit_code == 0
    assert str(path) in plain.stdout


def test_check_of_nothing_tells_the_remedy_and_creates_nothing(run, home: Path) -> None:
    result = run("db", "check")
    assert result.exit_code == 1
    assert "recsys db upgrade" in result.stderr
    assert run("db", "check", "--json").exit_code == 1
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("revision", "says"), [("0000_unknown", "upgrade"), (None, "recsys db upgrade")]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["db", "check"],
        ["users", "show", "ann"],
        ["choose", "--user", "ann", "--liked", "a.png"],
        ["import", "pairs", "."],
    ],
)
def test_another_schema_is_refused_and_left_alone(
    run, home: Path, path: Path, picture, arguments: list[str], revision: str | None, says: str
) -> None:
    (home / "a.png").write_bytes(picture(1))
    (home / "pairs.csv").write_text("user_id,liked_image,disliked_image,prompt,created_at\n")
    if revision is None:
        execute(path, "CREATE TABLE somebody_elses (id INTEGER)")
    else:
        run("db", "upgrade")
        execute(
            path,
            f"UPDATE alembic_version SET version_num = '{revision}'",
            "UPDATE schema_compatibility SET oldest_revision = '9998'",
        )
    before = dump(path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert dump(path) == before


def test_a_newer_schema_that_serves_this_version_is_used_and_named(run, path: Path) -> None:
    run("db", "upgrade")
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    for arguments in (["db", "check"], ["db", "upgrade"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "at revision 9999, newer than the 0" in " ".join(result.stdout.split())
        assert "and serves it" in " ".join(result.stdout.split())
    checked = json.loads(run("db", "check", "--json").stdout)
    assert (checked["current"], checked["is_current"]) == ("9999", False)
    assert checked["is_usable"]
    assert run("users", "show", "ann").exit_code == 3


def test_a_file_that_is_no_database_is_refused(run, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"I am no database." * 100)
    result = run("users", "show", "ann")
    assert result.exit_code == 1
    assert "must be a SQLite database" in result.stderr
    assert path.read_bytes() == b"I am no database." * 100


def test_a_server_that_is_not_there_is_told(run) -> None:
    pytest.importorskip("psycopg", reason="not installed: psycopg")
    url = "postgresql://ann:hunter2@127.0.0.1:1/db"
    result = run("--set", f"database_url={url}", "users", "show", "ann")
    assert result.exit_code == 4
    assert "the database does not answer" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "hunter2" not in result.output
