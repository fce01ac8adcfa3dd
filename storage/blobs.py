"""Image bytes by SHA-256 on any fsspec URL."""

import contextlib
import errno
import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec

from storage.errors import InvalidRecord, StorageFull, UnknownImage
from storage.rules import is_sha256

_UNFINISHED = ".part"
_OURS = re.compile(rf"[0-9a-f]{{64}}(\.[0-9a-f]{{16}}{re.escape(_UNFINISHED)})?")


class BlobStore:
    """Content-addressed bytes: the same bytes are stored once, and never change.

    Args:
        url: a folder, as "file:///path/blobs", "memory://blobs" or "s3://bucket/blobs".

    Raises:
        InvalidRecord: if no file system is installed for the URL's scheme.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files: Any
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidRecord(f"blob URL {url} cannot be opened: {error}") from error

    def put(self, data: bytes) -> str:
        """Store bytes and return their SHA-256; bytes already there are left alone.

        They are written under a temporary name and then moved, so that no reader sees part of them.

        Raises:
            StorageFull: if there is no room left; no partial file remains.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        if self._has(path, len(data)):
            return sha256
        partial = f"{path}.{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._files.pipe_file(partial, data)
            self._files.mv(partial, path)
        except BaseException as error:
            with contextlib.suppress(Exception):
                self._discard(partial)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(
                    f"no room left for images under {self.url}: free some and try again"
                ) from error
            raise
        return sha256

    def get(self, sha256: str) -> bytes:
        """Bytes by digest.

        Raises:
            UnknownImage: if there are none.
        """
        try:
            return bytes(self._files.cat_file(self._path(sha256)))
        except FileNotFoundError as error:
            raise UnknownImage(f"no image {sha256} is stored: send its bytes") from error

    def exists(self, sha256: str) -> bool:
        """Whether bytes with this digest are stored."""
        return bool(self._files.exists(self._path(sha256)))

    def delete(self, sha256: str) -> None:
        """Remove bytes, if they are there."""
        self._discard(self._path(sha256))

    def names(self) -> Iterator[list[str]]:
        """Yield the names of all images, and of files left unfinished, a folder at a time.

        Files that others have put there are left out.
        """
        for folder in self._listed(self._root, "directory"):
            files = self._listed(f"{self._root}/{folder}", "file")
            yield [name for name in files if _OURS.fullmatch(name) and name.startswith(folder)]

    def is_older(self, name: str, moment: datetime) -> bool:
        """Whether a file of `names` was written before an instant; False if it is gone."""
        try:
            written_at = self._files.modified(self._place(name))
        except FileNotFoundError:
            return False
        return bool(written_at.replace(tzinfo=written_at.tzinfo or UTC) < moment)

    def delete_unfinished(self, name: str) -> None:
        """Remove a file of `names` that an ended process has left half written.

        Raises:
            ValueError: if it is none.
        """
        if not name.endswith(_UNFINISHED):
            raise ValueError(f"an unfinished file must end in {_UNFINISHED}, got {name!r}")
        self._discard(self._place(name))

    def _listed(self, folder: str, kind: str) -> list[str]:
        self._files.invalidate_cache()  # of remote stores, whose listings may be remembered
        try:
            entries = self._files.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        paths = [each["name"].rstrip("/") for each in entries if each["type"] == kind]
        return sorted(path.rsplit("/", 1)[-1] for path in paths)

    def _place(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"

    def _has(self, path: str, num_bytes: int) -> bool:
        # By size: after a power failure, the name may be there without the bytes.
        try:
            return bool(self._files.info(path)["size"] == num_bytes)
        except FileNotFoundError:
            return False

    def _discard(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(path)

    def _path(self, sha256: str) -> str:
        # Digests come from requests: anything else could lead out of the folder.
        if not is_sha256(sha256):
            raise UnknownImage(f"an image is named by 64 hex digits, got {sha256[:80]!r}")
        return f"{self._root}/{sha256[:2]}/{sha256}"
