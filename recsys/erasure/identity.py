"""Where identity keys come from: the setting, and a file that is made when it is first needed.

Keys of the file count after those of the setting, so that whoever sets one later goes on to know
who was erased before.
"""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from recsys.errors import SettingsRefused
from storage.errors import IdentityKeyMissing
from storage.files import flush
from storage.identity_keys import IdentityKeys

FILE = "identity.key"
_NUM_BYTES = 32


@dataclass(frozen=True, slots=True)
class IdentityKeyFile:
    """The keys of a setting and of a file; the file is read anew each time.

    Attributes:
        setting: keys separated by commas, the current one first; empty for none.
        path: of the file, which holds keys likewise, and need not be there.
        makes: whether it is made where a key is needed and there is none.
    """

    setting: str = field(repr=False)
    path: Path
    makes: bool

    def known(self) -> IdentityKeys:
        """The keys there are, those of the setting first.

        Raises:
            SettingsRefused: if the file cannot be read, or holds no key.
        """
        text = ""
        try:
            with suppress(FileNotFoundError):
                text = self.path.read_text("utf-8")
            given = [each.split(",") for each in (self.setting, text) if each.strip()]
            return IdentityKeys.of(key for keys in given for key in keys)
        except (OSError, ValueError) as error:
            raise SettingsRefused(f"{self.path} must hold identity keys: {error}") from error

    def needed(self) -> IdentityKeys:
        """At least one key; the file with a random one is made if there is none.

        Raises:
            IdentityKeyMissing: if there is none, and none is made.
            SettingsRefused: as `known`.
        """
        keys = self.known()
        if keys.keys:
            return keys
        if not self.makes:
            raise IdentityKeyMissing(
                f"an identity key is needed, and there is none: set identity_key, or copy it to"
                f" {self.path}"
            )
        self._make()
        return self.known()

    def _make(self) -> None:
        """Write a random key whole and for its owner alone, unless another process has."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{FILE}-{secrets.token_hex(4)}")
        try:
            with open(temporary, "x", opener=_for_owner_alone) as file:
                file.write(secrets.token_hex(_NUM_BYTES) + "\n")
            flush(temporary)
            with suppress(FileExistsError):
                os.link(temporary, self.path)
            flush(self.path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _for_owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
