"""Migrations expand first and contract a release later, so that two versions share one schema.

Whoever takes something away must say so: write schema_compatibility.oldest_revision, the oldest
revision whose code the new schema still serves. Older code is then turned away.
"""

import ast
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

import storage.database
from storage.database import Database, check, upgrade

VERSIONS = Path(storage.database.__file__).parent / "migrations" / "versions"
FIRST_RELEASED = "0005"  # what came before never ran beside another version

_CONTRACTS = {
    *("drop_table", "drop_column", "drop_constraint", "rename_table"),
    *("create_check_constraint", "create_foreign_key", "create_primary_key"),
    *("create_unique_constraint",),
}
_WORDS = ("DROP ", "RENAME ", "NOT NULL", "DELETE ", "ALTER ")


def contractions(source: str) -> list[str]:
    """What `upgrade` in a migration, with what it calls there, takes from older code."""
    module = ast.parse(source)
    found = []
    for function in module.body:
        if isinstance(function, ast.FunctionDef) and function.name != "downgrade":
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            found += [name for call in calls if (name := _contraction(call))]
    return found


def _contraction(call: ast.Call) -> str:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {each.arg: each.value for each in call.keywords}
    if name in _CONTRACTS:
        return name
    if name == "alter_column" and given.keys() & {"new_column_name", "nullable", "type_"}:
        return name
    if name == "create_index" and _is(given.get("unique"), True):
        return "unique index"
    if name == "add_column":
        column = next((each for each in call.args if isinstance(each, ast.Call)), None)
        options = {each.arg: each.value for each in column.keywords} if column else {}
        if _is(options.get("nullable"), False) and "server_default" not in options:
            return "column that older code does not fill"
    if name == "execute":
        words = ast.unparse(call).upper()
        return next((word.strip() for word in _WORDS if word in words), "")
    return ""


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def writes_oldest_revision(source: str) -> bool:
    return "oldest_revision" in source.split("def downgrade")[0].split('"""', 2)[2]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('op.drop_table("users")', ["drop_table"]),
        ('op.rename_table("users", "people")', ["rename_table"]),
        ('op.drop_column("users", "age")', ["drop_column"]),
        ('op.alter_column("users", "age", nullable=False)', ["alter_column"]),
        ('op.alter_column("users", "age", new_column_name="years")', ["alter_column"]),
        ('op.alter_column("users", "age", server_default=None)', []),
        ('op.create_index("ix", "users", ["age"], unique=True)', ["unique index"]),
        ('op.create_index("ix", "users", ["age"])', []),
        ('op.add_column("users", sa.Column("age", sa.Integer(), nullable=True))', []),
        (
            'op.add_column("users", sa.Column("age", sa.Integer(), nullable=False))',
            ["column that older code does not fill"],
        ),
        (
            'op.add_column("u", sa.Column("a", sa.Integer(), nullable=False, server_default="0"))',
            [],
        ),
        ('op.execute("UPDATE users SET age = 0")', []),
        ('op.execute("alter table users drop column age")', ["DROP"]),
    ],
)
def test_the_rule_sees_what_is_taken_away(body: str, found: list[str]) -> None:
    upgrading = f"def upgrade():\n    helper()\ndef helper():\n    {body}\n"
    assert contractions(upgrading) == found
    assert contractions(f"def downgrade():\n    {body}\n") == []


def revisions() -> list[tuple[str, Path]]:
    """Those that a release may run beside: revision and file, oldest first."""
    script = ScriptDirectory(str(VERSIONS.parent))
    line = [(each.revision, Path(each.path)) for each in script.walk_revisions()][::-1]
    first = [revision for revision, _ in line].index(FIRST_RELEASED)
    return line[first + 1 :]


@pytest.mark.parametrize(("revision", "path"), revisions(), ids=[each for each, _ in revisions()])
def test_who_takes_something_away_says_whom_that_still_serves(revision: str, path: Path) -> None:
    source = path.read_text()
    found = contractions(source)
    assert not found or writes_oldest_revision(source), (
        f"{path.name} contracts the schema ({', '.join(found)}): write"
        " schema_compatibility.oldest_revision with it, a release after the expansion"
    )


def test_the_oldest_revision_served_is_known_and_never_goes_back(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    line = [FIRST_RELEASED, *(revision for revision, _ in revisions())]
    served = [FIRST_RELEASED]
    for revision in line[1:]:
        upgrade(database, revision)
        with database.engine.connect() as connection:
            oldest = connection.scalar(text("SELECT oldest_revision FROM schema_compatibility"))
        assert oldest in line[: line.index(revision) + 1]
        served.append(oldest)
    assert check(database).is_current
    places = [line.index(each) for each in served]
    assert places == sorted(places)
    database.dispose()
