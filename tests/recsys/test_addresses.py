"""Addresses: taken apart, and told when something listens there."""

import socket

import pytest

from recsys.addresses import host_and_port, is_of_this_machine, is_taken, require_free
from recsys.errors import SettingsRefused


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051),
        ("recsys.example:0", "recsys.example", 0),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_an_address_is_taken_apart(address: str, host: str, port: int) -> None:
    assert host_and_port(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["", "nonsense", "host:", ":80", "host:x", "host:-1", "host:65536", "http://host:80", "80"],
)
def test_anything_else_is_refused_and_shown(address: str) -> None:
    with pytest.raises(ValueError, match=r"must be HOST:PORT with a port of 0 to 65535") as refused:
        host_and_port(address)
    assert repr(address) in str(refused.value)


def test_a_port_that_must_be_known_is_not_0() -> None:
    with pytest.raises(ValueError, match="a port of 1 to 65535, got 'host:0'"):
        host_and_port("host:0", lowest_port=1)


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_an_address_is_taken_while_something_listens(bound: str) -> None:
    with socket.create_server((bound, 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert is_taken(address)
        with pytest.raises(SettingsRefused, match=f"metrics_address must be .* got {address}"):
            require_free(address, setting="metrics_address")
    assert not is_taken(address)
    require_free(address, setting="metrics_address")


def test_an_address_is_free_right_after_a_server_with_callers_has_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with socket.create_connection((host, port)):
            accepted, _ = server.accept()
            accepted.close()  # the first to close: its end of the connection lingers
    assert not is_taken(f"{host}:{port}")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "no-such-host.invalid:80", "192.0.2.1:80"])
def test_an_address_of_which_nothing_can_be_told_is_not_taken(address: str) -> None:
    assert not is_taken(address)


@pytest.mark.parametrize("address", ["127.0.0.1:80", "0.0.0.0:1", "localhost:0"])
def test_an_address_is_of_this_machine_whoever_listens_at_its_port(address: str) -> None:
    assert is_of_this_machine(address)


@pytest.mark.parametrize("address", ["192.0.2.1:80", "no-such-host.invalid:80"])
def test_an_address_of_another_machine_or_of_none_is_not(address: str) -> None:
    assert not is_of_this_machine(address)


def test_one_of_the_addresses_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost` is where it has an address of IPv6 and the machine has none."""
    found = [(socket.AF_INET, 0, 0, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert is_of_this_machine("localhost:80")
