"""Settings: flag over environment over file over default, where each came from, secrets masked."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from recsys.errors import SettingsRefused
from recsys.settings import Settings, load_settings, masked


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.upper().startswith("RECSYS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def write(home: Path, text: str) -> Path:
    path = home / "config" / "recsys" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_under_the_users_data_folder_and_create_nothing(home: Path) -> None:
    loaded = load_settings()
    assert loaded.settings.database_url == f"sqlite:///{home}/data/recsys/recsys.db"
    assert loaded.settings.blob_url == f"file://{home}/data/recsys/blobs"
    assert loaded.settings.checkpoint == "tiny"
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.unknown == ()
    assert list(home.iterdir()) == []


def test_flag_over_environment_over_file_over_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(home, 'max_queue = 2\nmax_candidates = 2\ncheckpoint = "filed"')
    monkeypatch.setenv("RECSYS_MAX_QUEUE", "3")
    monkeypatch.setenv("RECSYS_MAX_CANDIDATES", "3")
    loaded = load_settings({"max_queue": "4", "checkpoint": None})
    settings = loaded.settings
    assert (settings.max_queue, settings.max_candidates, settings.checkpoint) == (4, 3, "filed")
    assert settings.max_requests == 64
    assert loaded.origins["max_queue"] == "flag"
    assert loaded.origins["max_candidates"] == "environment RECSYS_MAX_CANDIDATES"
    assert loaded.origins["checkpoint"] == f"file {path}"
    assert loaded.origins["max_requests"] == "default"


def test_every_setting_can_be_set_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict.fromkeys(Settings.model_fields, "7")
    values |= {
        "cold_start": "False",
        "share_prompts": "True",
        "verify_base": "True",
        "identity_key": "one key for tests",
        "audiences": "north=a/b,south=tiny",
        "dtype": "float16",
        "database_url": "sqlite:///x",
        "address": "[::1]:7",
        "metrics_address": "[::1]:8",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"RECSYS_{name.upper()}", value)
    loaded = load_settings()
    for name, value in values.items():
        actual = getattr(loaded.settings, name)
        actual = actual.get_secret_value() if isinstance(actual, SecretStr) else actual
        assert str(actual).removesuffix(".0") == value
        assert loaded.origins[name] == f"environment RECSYS_{name.upper()}"


def test_an_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_CHECKPOINT", "")
    loaded = load_settings()
    assert (loaded.settings.checkpoint, loaded.origins["checkpoint"]) == ("tiny", "default")


def test_a_variable_in_lower_case_counts_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("recsys_max_queue", "5")
    loaded = load_settings()
    assert loaded.settings.max_queue == 5
    assert loaded.origins["max_queue"] == "environment RECSYS_MAX_QUEUE"


def test_a_variable_that_sets_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATABSE_URL", "sqlite:///x")
    assert load_settings().unknown == ("RECSYS_DATABSE_URL",)


def test_recsys_config_names_another_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "max_queue = 2")
    other = home / "other.toml"
    other.write_text("max_queue = 9")
    monkeypatch.setenv("RECSYS_CONFIG", str(other))
    assert load_settings().settings.max_queue == 9
    other.unlink()
    with pytest.raises(SettingsRefused, match=r"other\.toml does not exist"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_queue = ", "must be a TOML file"),
        ("max_queue = 0", "max_queue .* greater than or equal to 1"),
        ("max_queu = 1", "max_queu .* is not a setting"),
        ('max_queue = "many"', "max_queue .* valid integer"),
        ("[server]\nmax_queue = 1", "server .* is not a setting"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(home: Path, text: str, says: str) -> None:
    path = write(home, text)
    with pytest.raises(SettingsRefused, match=says) as refused:
        load_settings()
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_text_is_refused(home: Path) -> None:
    write(home, "").write_bytes(b"\xff\xfe\0")
    with pytest.raises(SettingsRefused, match="TOML"):
        load_settings()


@pytest.mark.parametrize(
    "flags",
    [
        {"database_url": "mysql://root:hunter2@db/x"},
        {"database_url": "postgres://u:hunter2@db/x"},
        {"address": "localhost"},
        {"address": ":50051"},
        {"address": "localhost:70000"},
        {"timeout_s": 0},
        {"wrong": "hunter2"},
    ],
)
def test_a_refusal_names_the_setting_and_keeps_its_value_to_itself(flags: dict) -> None:
    with pytest.raises(SettingsRefused) as refused:
        load_settings(flags)
    message = str(refused.value)
    assert message.startswith(f"{next(iter(flags))} (flag)")
    assert "hunter2" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("postgresql://:pw@host/db", "postgresql://:***@host/db"),
        ("postgresql://u:p@s/w:x@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u@host/db?password=pw&a=1", "postgresql://u@host/db?password=***&a=1"),
        ("s3://bucket?aws_secret_access_key=pw", "s3://bucket?aws_secret_access_key=***"),
        ("https://x/y?Signature=1&SIG=pw", "https://x/y?Signature=***&SIG=***"),
        ("sqlite:////home/u/x.db", "sqlite:////home/u/x.db"),
        ("file:///a:b@c", "file:///a:b@c"),
        ("127.0.0.1:50051", "127.0.0.1:50051"),
    ],
)
def test_secrets_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_what_is_shown_names_all_and_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATABASE_URL", "postgresql://u:hunter2@host/db")
    shown = load_settings().shown()
    assert [name for name, _, _ in shown] == list(Settings.model_fields)
    assert shown[0][1:] == ("postgresql://u:***@host/db", "environment RECSYS_DATABASE_URL")
    assert "hunter2" not in str(shown)
    assert ("num_threads", "none", "default") in shown


def test_audiences_are_checkpoints_by_name_in_a_file_too(home: Path) -> None:
    write(home, 'audiences = "north=models/a=b, south=tiny"\ncheckpoint = "models/base"')
    settings = load_settings().settings
    assert settings.audience_checkpoints == {"north": "models/a=b", "south": "tiny"}
    assert settings.served_checkpoints == ["models/base", "models/a=b", "tiny"]
    assert Settings(audiences=None).audience_checkpoints == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("north", "must be NAME=CHECKPOINT, separated by commas.* got 'north'"),
        ("north=", "got 'north='"),
        ("=tiny", "got '=tiny'"),
        ("a b=tiny", "got 'a b=tiny'"),
        ("north=tiny,", "got ''"),
        (f"{'n' * 65}=tiny", "1 to 64 letters"),
        ("north=tiny,north=other", "must name each audience once, got north again"),
    ],
)
def test_audiences_that_cannot_be_named_are_refused(text: str, says: str) -> None:
    with pytest.raises(SettingsRefused, match=rf"audiences \(flag\) is invalid: .*{says}"):
        load_settings({"audiences": text})
