"""`recsys import`: reports, full disks, and Ctrl-C followed by another try."""

import csv
import errno
import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from recsys.cli.invocation import read_settings
from recsys.runtime import Runtime
from storage.histories import HistoryStore


@pytest.fixture
def write_pairs(home: Path, picture):
    """Write a folder of pairs, two rows for each user, an image of its own for every place."""

    def write_pairs(num_rows: int) -> Path:
        folder = home / "pairs"
        folder.mkdir()
        with (folder / "pairs.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["user_id", "liked_image", "disliked_image", "prompt", "created_at"])
            for row in range(num_rows):
                names = f"{row}a.png", f"{row}b.png"
                for side, name in enumerate(names):
                    (folder / name).write_bytes(picture(2 * row + side))
                rows.writerow([f"user{row // 2}", *names, "a hat 😀", "2026-01-02T03:04:05Z"])
        return folder

    return write_pairs


def contents(store: HistoryStore) -> dict[str, list[tuple]]:
    """All that was chosen, without the numbers that storage gives."""
    return {
        user: [
            (stored.revision, stored.choice.liked, stored.choice.passed_over, stored.choice.prompt)
            for stored in store.read(user).choices
        ]
        for user in store.user_ids()
    }


def num_choices(home: Path) -> int:
    """Committed so far, as another process sees it."""
    with (
        suppress(sqlite3.OperationalError),
        closing(
            sqlite3.connect(f"file:{home}/data/recsys/recsys.db?mode=ro", uri=True, timeout=0)
        ) as reader,
    ):
        return reader.execute("SELECT count(*) FROM choices").fetchone()[0]
    return 0


def test_pairs_are_stored_once_and_reported(run, write_pairs, store) -> None:
    folder = write_pairs(5)
    first = json.loads(run("import", "pairs", str(folder), "--json").stdout)
    assert (first["num_read"], first["num_stored"], first["num_repeated"]) == (5, 5, 0)
    before = contents(store)
    again = json.loads(run("import", "pairs", str(folder), "--json").stdout)
    assert (again["num_read"], again["num_stored"], again["num_repeated"]) == (5, 0, 5)
    assert contents(store) == before
    assert sorted(before) == ["user0", "user1", "user2"]


def test_what_is_left_out_is_told(run, write_pairs) -> None:
    folder = write_pairs(3)
    (folder / "0a.png").write_text("I am a picture, honestly.")
    (folder / "1a.png").unlink()
    result = run("import", "pairs", str(folder))
    assert result.exit_code == 0
    assert "skipped because" in result.stdout
    strict = run("import", "pairs", str(folder), "--json", "--strict")
    assert strict.exit_code == 5
    report = json.loads(strict.stdout)
    assert (report["num_repeated"], report["num_skipped"]) == (1, 2)
    assert sum(report["skipped"].values()) == 2


def test_a_column_that_no_row_has_is_told_once(home: Path, run) -> None:
    for name, text in {
        "comma/pairs.csv": "user_id,liked_image,prompt\nann,a.png,\nbob,b.png,\n",
        "rated/items.csv": "image_id\na\n",
        "rated/ratings.csv": "user_id,image_id,rating_1to5\nann,a,5\n",
        "lines/pairs.jsonl": '{"disliked_image": "a"}\n' * 3,
    }.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    missing = {("pairs", "comma"): "disliked_image", ("ratings", "rated"): "prompt"}
    for (kind, folder), column in missing.items():
        result = run("import", kind, folder)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.count(f"must have the column {column}, got") == 1
    assert run("import", "pairs", "lines").stdout.count("user_id must not be empty") == 1


@pytest.mark.parametrize("kind", ["pairs", "ratings", "pickapic"])
def test_what_is_not_there_is_told(home: Path, run, kind: str) -> None:
    result = run("import", kind, "none")
    assert result.exit_code == 3
    assert "none" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pairs", "none: no such folder"),
        ("ratings", "none: no such folder"),
        ("pickapic", "none: no such file"),
    ],
)
def test_a_wrong_path_is_told_before_anything_is_loaded_or_created(
    home: Path, kind: str, says: str
) -> None:
    code = (
        "import sys\nfrom recsys.cli.main import cli\n"
        f"try:\n    cli(['import', '{kind}', 'none'])\n"
        "except SystemExit as end:\n    assert end.code == 3\n"
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (answer.stdout, answer.stderr) == ("False\n", f"Error: {says}\n")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pairs", "no pairs.csv, pairs.jsonl or pairs.parquet there"),
        ("ratings", "no items.csv and no ratings.csv there"),
    ],
)
def test_an_empty_folder_is_told_before_anything_is_created(
    home: Path, run, kind: str, says: str
) -> None:
    (home / "empty").mkdir()
    result = run("import", kind, "empty")
    assert (result.exit_code, result.stderr) == (3, f"Error: empty: {says}\n")
    assert [path.name for path in home.iterdir()] == ["empty"]


def write_ratings(home: Path, picture) -> Path:
    folder = home / "ratings"
    (folder / "images").mkdir(parents=True)
    items = [["image_id", "generator", "prompt_id", "prompt"]]
    ratings = [["user_id", "image_id", "question", "rating_1to5", "rated_at"]]
    for number, (prompt, rating) in enumerate([("p1", 5), ("p1", 1), ("p2", 4), ("p2", 3)]):
        (folder / "images" / f"i{number}.png").write_bytes(picture(number))
        items.append([f"i{number}", "g", prompt, f"prompt {prompt}"])
        ratings.append(["1", f"i{number}", "appeal", rating, "2022-09-26 15:42:06 615170"])
        ratings.append(["1", f"i{number}", "realism", 6 - rating, "2022-09-26 15:42:06 615170"])
    for name, rows in (("items.csv", items), ("ratings.csv", ratings)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def test_ratings_become_pairs(home: Path, run, picture, store) -> None:
    folder = write_ratings(home, picture)
    rules = ["--liked-min", "4", "--disliked-max", "2", "--question", "appeal"]
    result = run("import", "ratings", str(folder), *rules, "--json")
    assert result.exit_code == 0, result.output
    (user,) = contents(store).values()
    pairs = [(liked, passed) for _, liked, passed, _ in user if liked and passed]
    assert len(pairs) == 1


def test_thresholds_that_overlap_are_refused(home: Path, run) -> None:
    result = run("import", "ratings", ".", "--liked-min", "3", "--disliked-max", "3")
    assert result.exit_code == 2
    assert "--disliked-max must be below --liked-min" in result.stderr


def test_a_full_disk_loses_nothing_and_another_try_completes(
    run, write_pairs, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pairs(6)
    write, num_written = LocalFileSystem.pipe_file, 0

    def write_until_full(files: LocalFileSystem, path: str, data: bytes) -> None:
        nonlocal num_written
        num_written += 1
        if num_written > 5:
            write(files, path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(files, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "pipe_file", write_until_full)
        full = run("import", "pairs", str(folder))
    assert full.exit_code == 1
    assert "no room left" in full.stderr
    assert "run the same command again" in full.stderr
    assert full.stderr.count("\n") == 1
    for choices in contents(store).values():
        for _, liked, passed_over, _ in choices:
            assert all(store.image(sha) for sha in (liked, *passed_over))
    assert run("import", "pairs", str(folder)).exit_code == 0
    assert sum(map(len, contents(store).values())) == 6


def test_ctrl_c_leaves_whole_choices_and_another_try_completes(
    home: Path, run, spawn, write_pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pairs(1900)
    process = spawn("import", "pairs", str(folder))
    while process.poll() is None:
        time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)  # else it may be done before a busy machine looks
        if num_choices(home):
            break
        process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=60)
    # Where Ctrl-C falls into an `exec` of a string, as dataclasses do, Python ends by the signal.
    assert process.returncode in (130, -signal.SIGINT), output + errors  # to a shell, both are 130
    assert "stopped by Ctrl-C" in errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert 0 < num_choices(home) < 1900
    assert run("import", "pairs", str(folder)).exit_code == 0
    with Runtime(read_settings()) as runtime:
        completed = contents(runtime.store)
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "other"))
    assert run("import", "pairs", str(folder)).exit_code == 0
    with Runtime(read_settings()) as runtime:
        assert contents(runtime.store) == completed
    assert sum(map(len, completed.values())) == 1900


def test_people_of_another_source_and_other_choices_are_warned_of(run, write_pairs, store) -> None:
    folder = write_pairs(4)
    first = run("import", "pairs", str(folder), "--dataset", "first")
    assert "warning" not in first.stderr
    lines = (folder / "pairs.csv").read_text("utf-8").splitlines()
    (folder / "pairs.csv").write_text("\n".join([lines[0], lines[2]]) + "\n", "utf-8")
    left = run("import", "pairs", str(folder), "--dataset", "first")
    assert "3 choices that earlier imports of 'first' have stored are not among" in left.stderr
    (folder / "pairs.csv").write_text("\n".join(lines).replace("a hat", "a cap"), "utf-8")
    merged = run("import", "pairs", str(folder), "--dataset", "second")
    assert "2 users to whom this import gave choices had others, from elsewhere" in merged.stderr
    apart = run("import", "pairs", str(folder), "--dataset", "third", "--user-prefix", "3-")
    assert "warning" not in apart.stderr
    assert store.user_ids() == ["3-user0", "3-user1", "user0", "user1"]
    capped = [lines[0], lines[2].replace("a hat", "a cap")]
    (folder / "pairs.csv").write_text("\n".join(capped) + "\n", "utf-8")
    replaced = run("import", "pairs", str(folder), "--dataset", "second", "--replace", "--json")
    counts = json.loads(replaced.stdout)
    assert (counts["num_repeated"], counts["num_removed"], counts["num_left"]) == (1, 3, 0)
    assert run("import", "pairs", str(folder), "--dataset", "").exit_code == 2


def test_replacing_with_rows_that_cannot_be_used_keeps_and_tells(run, write_pairs, store) -> None:
    folder = write_pairs(4)
    assert run("import", "pairs", str(folder), "--dataset", "first").exit_code == 0
    lines = (folder / "pairs.csv").read_text("utf-8").splitlines()
    unusable = [line.replace(".png", ".gif").replace(".jpg", ".gif") for line in lines]
    (folder / "pairs.csv").write_text("\n".join(unusable) + "\n", "utf-8")
    kept = run("import", "pairs", str(folder), "--dataset", "first", "--replace")
    assert kept.exit_code == 0
    assert "no row could be used, so 4 choices that earlier imports of 'first'" in kept.stderr
