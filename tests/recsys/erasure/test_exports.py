"""An erasure reaches the exports of clusters that may hold the user, and names those it cannot."""

import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from recsys.clusters.export import export_run
from recsys.erasure.eraser import Eraser
from recsys.erasure.opt_out import update_consent
from storage.clusters.building import ClusterBuilder
from storage.clusters.runs import ClusterStore
from storage.consents import ConsentStore
from storage.errors import AlreadyErased
from storage.files import replace_file
from storage.histories import HistoryStore
from storage.records import ConsentUpdate, Erased


@pytest.fixture
def erase(eraser: Eraser) -> Callable[[str], Erased]:
    return lambda user_id: eraser.erase(user_id, by="a test")


@pytest.fixture
def clusters(signed: HistoryStore) -> ClusterStore:
    return ClusterStore(signed.database)


@pytest.fixture
def export(
    clusters: ClusterStore, build: Callable[..., int], tmp_path: Path
) -> Callable[..., Path]:
    """Build a run of these users, and export it."""

    def export(name: str, *users: str) -> Path:
        folder = tmp_path / name
        export_run(clusters, build(*users), folder, format="csv")
        return folder

    return export


def named(erased: Erased, what: str) -> list[str]:
    return [remnant for remnant in erased.remnants if what in remnant]


def text(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in folder.iterdir())


def test_exports_that_hold_the_user_are_rewritten(erase, export) -> None:
    both, bobs = export("both", "ann", "bob"), export("bobs", "bob")
    erased = erase("ann")
    assert erased.rewritten_exports == (str(both),)
    assert not named(erased, "export")
    assert "ann" not in text(both)
    assert "bob" in text(both)
    assert "bob" in text(bobs)


def test_a_folder_that_was_moved_is_named(erase, export) -> None:
    moved, bobs = export("both", "ann", "bob"), export("bobs", "bob")
    for folder in (moved, bobs):
        shutil.move(folder, folder.with_name(f"{folder.name} elsewhere"))
    told = named(erase("ann"), "export")
    for folder, remnant in zip((moved, bobs), told, strict=True):
        assert remnant.startswith(f"perhaps the export of clusters to {folder} of")


def test_a_folder_that_cannot_be_written_is_named(
    erase, export, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export("both", "ann", "bob")

    def refused(*_: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr("recsys.clusters.rewriting.replace_file", refused)
    erased = erase("ann")
    assert erased.rewritten_exports == ()
    (remnant,) = named(erased, "export")
    assert str(folder) in remnant
    assert "read-only file system" in remnant


def test_an_export_that_cannot_be_locked_is_named_if_it_holds_the_user(
    erase, export, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, bobs = export("both", "ann", "bob"), export("bobs", "bob")

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("storage.files.fcntl.flock", refused)
    erased = erase("ann")
    assert erased.rewritten_exports == ()
    (remnant,) = named(erased, "export")
    assert str(both) in remnant
    assert "No locks available" in remnant
    assert "ann" in text(both)
    assert not (bobs / ".lock").exists()


def test_two_who_opt_out_at_once_both_leave_the_export(
    export, signed: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = export("both", "ann", "bob")
    consents = ConsentStore(signed.database, signed.keys)
    both_have_read = threading.Barrier(2)

    @contextmanager
    def replace_once_both_have_read(path: Path) -> Iterator[Path]:
        with replace_file(path) as temporary:
            yield temporary
            with suppress(threading.BrokenBarrierError):
                both_have_read.wait(timeout=1)  # in vain, while only one may read

    def opt_out(user_id: str) -> ConsentUpdate:
        return update_consent(signed, consents, user_id, learn_from=False)

    monkeypatch.setattr("recsys.clusters.rewriting.replace_file", replace_once_both_have_read)
    with ThreadPoolExecutor() as threads:
        updates = list(threads.map(opt_out, ["ann", "bob"]))

    assert [update.rewritten_exports for update in updates] == [(str(both),)] * 2
    assert "ann" not in text(both)
    assert "bob" not in text(both)


def test_exports_of_a_run_that_was_removed_are_looked_into(
    erase, export, clusters: ClusterStore
) -> None:
    folder = export("both", "ann", "bob")
    ClusterBuilder(clusters.database).remove(clusters.run().run_id)
    assert erase("ann").rewritten_exports == (str(folder),)
    assert "ann" not in text(folder)


def test_who_left_the_clusters_before_is_in_the_export_still(
    erase, export, signed: HistoryStore
) -> None:
    folder = export("both", "ann", "bob")
    ConsentStore(signed.database, signed.keys).update("ann", learn_from=False)
    assert erase("ann").rewritten_exports == (str(folder),)
    assert "ann" not in text(folder)


@pytest.mark.parametrize("off", ["personalize", "learn_from"])
def test_who_opts_out_leaves_exports_at_once(
    export, clusters: ClusterStore, signed: HistoryStore, off: str
) -> None:
    both, moved = export("both", "ann", "bob"), export("moved", "ann", "bob")
    shutil.move(moved, moved.with_name("elsewhere"))
    consents = ConsentStore(signed.database, signed.keys)

    update = update_consent(signed, consents, "ann", **{off: False})

    assert not getattr(update, off)
    assert update.rewritten_exports == (str(both),)
    (remnant,) = update.remnants
    assert remnant.startswith(f"perhaps the export of clusters to {moved} of")
    assert "ann" not in text(both)
    assert "bob" in text(both)
    # What is not reached now is looked into again.
    shutil.move(moved.with_name("elsewhere"), moved)
    again = update_consent(signed, consents, "ann", **{off: False})
    assert (again.rewritten_exports, again.remnants) == ((str(moved),), ())
    assert "ann" not in text(moved)


def test_who_allows_something_is_looked_for_nowhere(export, signed: HistoryStore) -> None:
    shutil.rmtree(export("both", "ann", "bob"))
    consents = ConsentStore(signed.database, signed.keys)
    update = update_consent(signed, consents, "ann", learn_from=True)
    assert update == ConsentUpdate(personalize=True, learn_from=True)


def test_exports_from_before_the_user_came_are_not_missed(erase, export, choose) -> None:
    shutil.rmtree(export("both", "ann", "bob"))
    choose("cid", b"cid")
    assert erase("cid").remnants == ()


def test_exports_follow_where_an_erasure_was_stopped(erase, export, signed: HistoryStore) -> None:
    folder = export("both", "ann", "bob")
    signed.erase("ann", by="a process that was killed then")
    with pytest.raises(AlreadyErased):
        erase("ann")
    assert "ann" not in text(folder)
