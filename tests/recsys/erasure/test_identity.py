"""Identity keys: of the setting, then of a file that is made once, when one is first needed."""

import stat
from functools import partial
from pathlib import Path

import pytest

from recsys.erasure.identity import IdentityKeyFile
from recsys.errors import SettingsRefused
from recsys.runtime import Runtime
from recsys.settings import Settings, load_settings
from storage.errors import IdentityKeyMissing
from storage.identity_keys import IdentityKeys

KEY, OTHER = "the key of this year", "the key of last year"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "identity.key"


def test_a_key_is_made_once_when_one_is_needed_and_for_its_owner_alone(path: Path) -> None:
    source = IdentityKeyFile("", path, makes=True)
    assert source.known() == IdentityKeys()
    assert not path.parent.exists()
    made = source.needed()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 64
    assert source.needed() == source.known() == made
    assert [each.name for each in path.parent.iterdir()] == ["identity.key"]


def test_of_two_processes_that_make_one_both_use_the_first(path: Path, monkeypatch) -> None:
    import recsys.erasure.identity

    link = recsys.erasure.identity.os.link
    source = IdentityKeyFile("", path, makes=True)
    first = []

    def late(*arguments: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("os.link", link)
            first.append(source.needed())
        link(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("os.link", late)
        assert source.needed() == first[0]


def test_the_settings_keys_come_first_and_the_files_still_count(path: Path) -> None:
    made = IdentityKeyFile("", path, makes=True).needed()
    source = IdentityKeyFile(f"{KEY}, {OTHER}", path, makes=True)
    expected = (*IdentityKeys.of([KEY, OTHER]).key_ids, *made.key_ids)
    assert source.known().key_ids == source.needed().key_ids == expected


def test_with_a_setting_no_file_is_made(path: Path) -> None:
    source = IdentityKeyFile(KEY, path, makes=True)
    assert source.needed() == IdentityKeys.of([KEY])
    assert not path.exists()


def test_a_road_that_only_reads_makes_none(path: Path) -> None:
    with pytest.raises(IdentityKeyMissing, match="set identity_key"):
        IdentityKeyFile("", path, makes=False).needed()
    assert not path.parent.exists()


@pytest.mark.parametrize("damage", ["short", "\xff" * 40, "a key that is long enough,,"])
def test_a_damaged_file_is_told_and_not_replaced(path: Path, damage: str) -> None:
    path.parent.mkdir()
    path.write_bytes(damage.encode("latin-1"))
    for ask in (
        IdentityKeyFile("", path, makes=True).known,
        IdentityKeyFile(KEY, path, makes=True).needed,
    ):
        with pytest.raises(SettingsRefused, match=r"identity\.key must hold identity keys"):
            ask()
    assert path.read_bytes() == damage.encode("latin-1")


def test_the_runtime_looks_beside_the_default_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    make = partial(Settings, database_url=url, blob_url=f"file://{tmp_path}/blobs")
    with Runtime(make(), read_only=True) as reading, pytest.raises(IdentityKeyMissing):
        reading.identity.needed()
    with Runtime(make(), creates=True) as runtime:
        assert runtime.store.keys is runtime.identity
        made = runtime.identity.needed()
    assert (tmp_path / "recsys" / "identity.key").is_file()
    with Runtime(make(identity_key=KEY)) as runtime:
        assert runtime.identity.known().key_ids == (*IdentityKeys.of([KEY]).key_ids, *made.key_ids)


def test_the_setting_is_never_shown() -> None:
    loaded = load_settings({"identity_key": f"{KEY},{OTHER}"})
    shown = {name: value for name, value, _ in loaded.shown()}
    assert set(shown["identity_key"]) == {"*"}
    assert KEY not in f"{loaded} {loaded.settings!r} {loaded.settings.model_dump_json()}"
    for bad in ("short", f"{KEY},", f"{KEY},,{OTHER}"):
        with pytest.raises(SettingsRefused, match="at least 16 characters") as refused:
            load_settings({"identity_key": bad})
        assert KEY not in str(refused.value)
