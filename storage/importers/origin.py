"""Where imported choices come from, and whose they are."""

from dataclasses import dataclass
from pathlib import Path

from storage.rules import MAX_USER_ID_CHARS, check_text

MAX_DATASET_CHARS = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """A data set as an import stores it.

    Attributes:
        dataset: its name, 1 to 256 characters; stored with each choice.
        user_prefix: put before each user id, so that equal ids of two data sets stay two people.
        replaces: when all is stored, remove what earlier imports of this data set have stored
            and this one has not.

    Raises:
        InvalidRecord: if the name or the prefix breaks its rule.
    """

    dataset: str
    user_prefix: str = ""
    replaces: bool = False

    def __post_init__(self) -> None:
        check_text("dataset", self.dataset, at_least=1, at_most=MAX_DATASET_CHARS)
        check_text("user_prefix", self.user_prefix, at_most=MAX_USER_ID_CHARS)


def folder_name(folder: Path) -> str:
    """Return the name of a data set that nobody named: that of its folder."""
    name = folder.resolve().name.encode("utf-8", "backslashreplace").decode("utf-8")
    return name[:MAX_DATASET_CHARS] or "/"
