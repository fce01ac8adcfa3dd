"""The one way to erase a user: for the command, and for the server's EraseUser."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from recsys.erasure.before import Before, read_before
from recsys.erasure.exports import rewrite_exports
from recsys.erasure.kept_tokens import remove_kept_tokens
from recsys.erasure.remnants import in_checkpoints, in_figures
from recsys.similarity.snapshot import remove_snapshots
from storage.errors import AlreadyErased
from storage.histories import HistoryStore
from storage.records import Erased


class Eraser:
    """Erases users from storage, and from the files that were made from it.

    Args:
        store: of the choices.
        index_folder: of the index's snapshots; need not be there.
        checkpoints: folders of what is served, which are looked at for whom they learned from; not
            there for one that is shipped.
        image_tokens_folder: that keeps image tokens; None: none does.
    """

    def __init__(
        self,
        store: HistoryStore,
        *,
        index_folder: Path,
        checkpoints: Sequence[Path],
        image_tokens_folder: str | None = None,
    ) -> None:
        self._store = store
        self._image_tokens_folder = image_tokens_folder
        self._index_folder = index_folder
        self._checkpoints = checkpoints

    def erase(self, user_id: str, *, by: str) -> Erased:
        """Erase a user from storage, then from the files.

        Of a user who was erased before, the files are looked into again, for that erasure may have
        been stopped, and AlreadyErased has what remains.

        Args:
            user_id: who.
            by: who asks for it, at most 256 characters.

        Returns:
            How much went, and what still holds something of the user.

        Raises:
            UnknownUser, AlreadyErased, IdentityKeyMissing, InvalidRecord: as `HistoryStore.erase`.
            StorageError: if storage does not answer.
        """
        before = read_before(self._store, user_id)
        try:
            erased = self._store.erase(user_id, by=by)
        except AlreadyErased as error:
            _, remnants = self._leave_files(user_id, None)
            raise AlreadyErased(str(error), remnants=remnants) from error
        rewritten, remnants = self._leave_files(user_id, before, images=erased.images)
        return replace(erased, rewritten_exports=rewritten, remnants=remnants)

    def _leave_files(
        self, user_id: str, before: Before | None, *, images: tuple[str, ...] = ()
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take an erased user out of files; return rewritten exports, and what cannot be undone."""
        database = self._store.database
        remnants = list(self._leave_snapshots())
        remnants += remove_kept_tokens(database, self._image_tokens_folder)
        since = before.created_at if before else None
        rewritten, unreached = rewrite_exports(database, user_id, since=since)
        remnants += unreached
        remnants += in_checkpoints(
            database,
            user_id,
            before,
            images=images,
            keys=self._store.keys.known(),
            served=self._checkpoints,
        )
        remnants += in_figures(database, before)
        return tuple(rewritten), tuple(remnants)

    def _leave_snapshots(self) -> Iterator[str]:
        """Remove all snapshots: whoever needs one makes it anew from storage."""
        try:
            remove_snapshots(self._index_folder)
        except OSError as error:
            yield f"a snapshot of the index in {self._index_folder}: {error}"
