"""The index in use while model versions come and go: another is built beside it, and swapped in."""

from recsys.neighbours import SignatureIndex


class CurrentIndex:
    """The index of the model version in use, while versions come and go.

    Args:
        index: the first one.
    """

    def __init__(self, index: SignatureIndex) -> None:
        self._index = index

    @property
    def index(self) -> SignatureIndex:
        """The one in use."""
        return self._index

    def of(self, model_version: str) -> SignatureIndex:
        """The one in use, for vectors of this model version.

        Raises:
            ValueError: if it is of another.
        """
        index = self._index
        if index.model_version != model_version:
            raise ValueError(
                f"vectors must be of model version {index.model_version}, got"
                f" {model_version}: read the signature anew"
            )
        return index

    def swap(self, model_version: str) -> SignatureIndex:
        """Build another version's index beside the one in use, then take it.

        Returns:
            The one that was in use.
        """
        before = self._index
        self._index = SignatureIndex(before.store, model_version, folder=before.folder)
        return before
