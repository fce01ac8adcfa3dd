"""Network addresses, HOST:PORT: taken apart, and tried before anything slow is loaded."""

import errno
import socket

from recsys.errors import SettingsRefused

_HIGHEST_PORT = 65_535


def host_and_port(address: str, *, lowest_port: int = 0) -> tuple[str, int]:
    """Take an address apart; an IPv6 host loses its brackets.

    Args:
        address: HOST:PORT.
        lowest_port: 1 where a port must be known, as 0 stands for any that is free.

    Raises:
        ValueError: if the address is anything else, as a URL is.
    """
    host, _, port = address.rpartition(":")
    is_port = port.isdecimal() and lowest_port <= int(port) <= _HIGHEST_PORT
    if not host or "/" in host or not is_port:
        raise ValueError(
            f"an address must be HOST:PORT with a port of {lowest_port} to {_HIGHEST_PORT},"
            f" got {address!r}"
        )
    return host.strip("[]"), int(port)


def is_taken(address: str) -> bool:
    """Whether something listens at an address of this machine already.

    False also where that cannot be told: the name is unknown, or the host is another machine.

    Raises:
        ValueError: as `host_and_port`.
    """
    host, port = host_and_port(address)
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_in_use(family, where) for family, *_, where in resolved)


def is_of_this_machine(address: str) -> bool:
    """Whether something could listen at an address here, were its port free.

    Raises:
        ValueError: as `host_and_port`.
    """
    host, _ = host_and_port(address)
    try:
        resolved = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_listen(family, where) for family, *_, where in resolved)


def require_free(address: str, *, setting: str) -> None:
    """Pass only where nothing listens at an address yet.

    Args:
        address: HOST:PORT.
        setting: the name of the setting that holds it.

    Raises:
        SettingsRefused: as `not_free`.
    """
    if is_taken(address):
        raise not_free(address, setting=setting)


def not_free(address: str, *, setting: str) -> SettingsRefused:
    """Return the error for an address that cannot be listened at; arguments as `require_free`."""
    return SettingsRefused(
        f"{setting} must be one that is free on this machine, got {address}:"
        " stop what listens there, or choose another port (0 takes a free one)"
    )


def _can_listen(family: int, where: tuple[object, ...]) -> bool:
    try:
        with socket.create_server(where[:2], family=family):
            return True
    except OSError:
        return False


def _is_in_use(family: int, where: tuple[object, ...]) -> bool:
    try:
        with socket.create_server(where[:2], family=family):  # closed sockets do not count
            return False
    except OSError as error:
        return error.errno == errno.EADDRINUSE
