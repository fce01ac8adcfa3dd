"""How much memory the prefixes of users may take: as the settings say, or of what is free."""

import logging

from recsys.errors import SettingsRefused

logger = logging.getLogger(__name__)

_GPU_SHARE = 1 / 2
_HOST_SHARE = 1 / 4  # other processes live there, and the server's own images
_MOST_USERS = 1024
_MIB = 2**20


def size_prefix_cache(
    setting: int | None, *, max_prefix_bytes: int, free_bytes: int, device: str
) -> int:
    """Decide how many bytes of user prefixes are kept, and log it.

    Without a setting, half of what is free on a GPU or a quarter of what is free on the host, but
    no more than 1,024 users of the largest prefix take.

    Args:
        setting: of the operator, bytes; 0 keeps none; None leaves it to what is free.
        max_prefix_bytes: most that the prefix of one user takes under the loaded model; 0: unknown.
        free_bytes: on the device, with the model loaded.
        device: where prefixes are, for the message: "cpu", "cuda" or "cuda:N".

    Returns:
        Bytes, at least `max_prefix_bytes` or 0.

    Raises:
        SettingsRefused: if the largest prefix does not fit: such a user would never be warm, and
            each of their calls slow.
    """
    if setting is None:
        share = _HOST_SHARE if device == "cpu" else _GPU_SHARE
        num_bytes = int(share * free_bytes)
        if max_prefix_bytes:
            num_bytes = min(num_bytes, _MOST_USERS * max_prefix_bytes)
        origin = f"of {_mib(free_bytes)} that are free on {device}"
    else:
        num_bytes, origin = setting, f"on {device}, as prefix_cache_bytes says"
    if num_bytes < max_prefix_bytes and setting != 0:
        raise SettingsRefused(
            f"the cache of prefixes must hold that of one user, which takes up to"
            f" {max_prefix_bytes} bytes under this model, got {num_bytes} {origin}: set"
            f" prefix_cache_bytes to {max_prefix_bytes} or more, or to 0 to keep none"
        )
    _tell(num_bytes, max_prefix_bytes, origin)
    return num_bytes


def _tell(num_bytes: int, max_prefix_bytes: int, origin: str) -> None:
    if num_bytes == 0:
        logger.info("prefix cache: off, each call reads the user's history anew")
    elif max_prefix_bytes:
        logger.info(
            "prefix cache: %s %s, for %d or more users of up to %s each",
            _mib(num_bytes),
            origin,
            num_bytes // max_prefix_bytes,
            _mib(max_prefix_bytes),
        )
    else:
        logger.info("prefix cache: %s %s", _mib(num_bytes), origin)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / _MIB:,.1f} MiB"
