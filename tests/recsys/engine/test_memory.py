"""How large the cache of prefixes is made, and what is said of it."""

import logging

import pytest

from recsys.engine.memory import size_prefix_cache
from recsys.errors import SettingsRefused

MIB = 2**20


def size(setting: int | None, *, one: int = 10 * MIB, free: int = 1000 * MIB, device="cpu") -> int:
    return size_prefix_cache(setting, max_prefix_bytes=one, free_bytes=free, device=device)


@pytest.mark.parametrize(
    ("setting", "device", "num_bytes"),
    [
        (None, "cpu", 250 * MIB),
        (None, "cuda", 500 * MIB),
        (None, "cuda:1", 500 * MIB),
        (10 * MIB, "cuda", 10 * MIB),
        (5000 * MIB, "cpu", 5000 * MIB),
        (0, "cpu", 0),
    ],
)
def test_the_setting_decides_or_a_share_of_what_is_free(setting, device, num_bytes) -> None:
    assert size(setting, device=device) == num_bytes


def test_no_more_is_taken_than_a_thousand_users_need() -> None:
    assert size(None, one=MIB, free=10**6 * MIB) == 1024 * MIB
    assert size(None, one=0, free=1000 * MIB) == 250 * MIB


@pytest.mark.parametrize("setting", [1, 10 * MIB - 1])
def test_a_cache_that_cannot_hold_one_user_is_refused_with_the_size_to_set(setting: int) -> None:
    with pytest.raises(SettingsRefused) as refused:
        size(setting)
    message = str(refused.value)
    assert f"got {setting} on cpu, as prefix_cache_bytes says" in message
    assert f"set prefix_cache_bytes to {10 * MIB} or more, or to 0 to keep none" in message


def test_too_little_free_memory_is_refused_and_not_discovered_by_slow_calls() -> None:
    with pytest.raises(SettingsRefused, match=r"of 19\.0 MiB that are free on cuda: set"):
        size(None, free=19 * MIB, device="cuda")
    assert size(0, free=19 * MIB, device="cuda") == 0


def test_the_size_is_told_in_users(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    size(None, device="cuda")
    size(35 * MIB)
    size(0)
    size(None, one=0)
    assert [record.getMessage() for record in caplog.records] == [
        "prefix cache: 500.0 MiB of 1,000.0 MiB that are free on cuda, for 50 or more users of up"
        " to 10.0 MiB each",
        "prefix cache: 35.0 MiB on cpu, as prefix_cache_bytes says, for 3 or more users of up to"
        " 10.0 MiB each",
        "prefix cache: off, each call reads the user's history anew",
        "prefix cache: 250.0 MiB of 1,000.0 MiB that are free on cpu",
    ]
