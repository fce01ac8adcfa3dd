"""Everything that is held on one person, as one archive: rows as JSON Lines, images as files.

Memory holds a page of rows or one image at a time. The rows are of one snapshot of the database.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.blobs import BlobStore
from storage.database import Database
from storage.errors import UnknownImage, UnknownUser
from storage.files import replace_file
from storage.rules import check_user_id
from storage.statements import STANDS, is_blocked
from storage.tables import (
    BackfillRow,
    ChoiceRow,
    ClusterMemberRow,
    ClusterNameRow,
    ClusterRow,
    ClusterRunRow,
    ImageRow,
    PassedOverRow,
    SignatureRow,
    UserRow,
)

README = """\
Everything that this recommender held on {user_id} on {exported_at}.

Each .jsonl file holds one JSON object a line; moments are in ISO 8601, UTC. A file may be empty.

user.json
    When the user was first stored; the revision, which grows when choices come or go; what the user
    allows (personalize, learn_from).
choices.jsonl
    Each choice, oldest first: the image liked, the images passed over, the prompt that they were
    made from, when it was made (chosen_at) and stored (recorded_at), who wrote it (source), and the
    data set that it was imported from. Images are named by the SHA-256 of their bytes.
images.jsonl
    Each of these images: its type, its size in pixels and bytes, when it was first stored, and its
    file in this archive (null: the bytes are lost).
images/
    The images.
signatures.jsonl
    The vector that each model version has read from the choices, of length 1, and the revision that
    it was read at.
backfill_ledger.jsonl
    How the last attempt to compute a vector ended, by model version.
clusters.jsonl
    The groups of similar taste that the user was put into: run, cluster, the cluster's name, and
    the cosine to its centre.

Not here is what was learned from many users together (checkpoints, classes of taste, figures of
clusters). It names nobody; trained_on.json of a checkpoint has a digest of the user's id under a
secret key. Copies of the vectors stand in snapshots of the index of similar users.
"""

_ROWS_AT_ONCE = 500
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Exported:
    """How much an archive holds.

    Attributes:
        num_choices: of the user.
        num_images: that these choices name, without those whose bytes are lost.
        num_lost: images whose bytes are lost.
        num_signatures: one for each model version.
    """

    num_choices: int
    num_images: int
    num_lost: int
    num_signatures: int


def export_user(database: Database, blobs: BlobStore, user_id: str, path: Path) -> Exported:
    """Write everything that is held on a user to a ZIP file, readable by its owner alone.

    Args:
        database: with a current schema.
        blobs: where image bytes are.
        user_id: who.
        path: of the file, in a folder that exists; it is replaced whole or not at all.

    Raises:
        UnknownUser: if there is no such user; nothing is written.
        OSError: if it cannot be written.
    """
    check_user_id(user_id)
    with database.session() as session:
        user = session.get(UserRow, user_id)
        if user is None:
            raise UnknownUser(f"no user {user_id!r} is stored: there is nothing to export")
        with replace_file(path) as temporary:
            temporary.touch(mode=0o600)
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                return _write(archive, session, blobs, user)


def _write(archive: zipfile.ZipFile, session: Session, blobs: BlobStore, user: UserRow) -> Exported:
    user_id = user.user_id
    moment = datetime.now(UTC)
    readme = README.format(user_id=user_id, exported_at=f"{moment:%Y-%m-%d at %H:%M} UTC")
    archive.writestr("README.txt", readme)
    archive.writestr("user.json", _json(_columns(user)))
    num_choices = _write_lines(archive, "choices.jsonl", _choices(session, user_id))
    lost = _write_images(archive, session, blobs, user_id)
    num_images = _write_lines(archive, "images.jsonl", _images(session, user_id, lost))
    num_signatures = _write_lines(archive, "signatures.jsonl", _signatures(session, user_id))
    _write_lines(archive, "backfill_ledger.jsonl", _ledger(session, user_id))
    _write_lines(archive, "clusters.jsonl", _clusters(session, user_id))
    return Exported(num_choices, num_images - len(lost), len(lost), num_signatures)


def _write_lines(archive: zipfile.ZipFile, name: str, records: Iterator[dict[str, Any]]) -> int:
    num_lines = 0
    with archive.open(name, "w", force_zip64=True) as file:
        for record in records:
            file.write(_json(record))
            num_lines += 1
    return num_lines


def _write_images(
    archive: zipfile.ZipFile, session: Session, blobs: BlobStore, user_id: str
) -> set[str]:
    """Write the bytes of each image; return those whose bytes are lost."""
    lost: set[str] = set()
    for row in _streamed(session, _images_of(user_id)):
        try:
            data = blobs.get(row.sha256)
        except UnknownImage:
            lost.add(row.sha256)
            continue
        # They are compressed already.
        archive.writestr(_file_of(row), data, compress_type=zipfile.ZIP_STORED)
    return lost


def _choices(session: Session, user_id: str) -> Iterator[dict[str, Any]]:
    theirs = select(ChoiceRow).where(ChoiceRow.user_id == user_id, STANDS)
    query = theirs.order_by(ChoiceRow.revision)
    for rows in _paged(session, query):
        passed: dict[int, list[str]] = {row.choice_id: [] for row in rows}
        named = (
            select(PassedOverRow.choice_id, PassedOverRow.sha256)
            .where(PassedOverRow.choice_id.in_(passed), ~is_blocked(PassedOverRow.sha256))
            .order_by(PassedOverRow.choice_id, PassedOverRow.position)
        )
        for choice_id, sha256 in session.execute(named):
            passed[choice_id].append(sha256)
        yield from (_columns(row) | {"passed_over": passed[row.choice_id]} for row in rows)


def _images(session: Session, user_id: str, lost: set[str]) -> Iterator[dict[str, Any]]:
    for row in _streamed(session, _images_of(user_id)):
        yield _columns(row) | {"file": None if row.sha256 in lost else _file_of(row)}


def _images_of(user_id: str) -> Select[Any]:
    liked = select(ChoiceRow.liked).where(
        ChoiceRow.user_id == user_id, ChoiceRow.liked.is_not(None), STANDS
    )
    passed = (
        select(PassedOverRow.sha256)
        .join(ChoiceRow, ChoiceRow.choice_id == PassedOverRow.choice_id)
        .where(ChoiceRow.user_id == user_id, STANDS, ~is_blocked(PassedOverRow.sha256))
    )
    return (
        select(ImageRow).where(ImageRow.sha256.in_(liked.union(passed))).order_by(ImageRow.sha256)
    )


def _signatures(session: Session, user_id: str) -> Iterator[dict[str, Any]]:
    query = select(SignatureRow).where(SignatureRow.user_id == user_id)
    for row in _streamed(session, query.order_by(SignatureRow.model_version)):
        yield _columns(row) | {"vector": np.frombuffer(row.vector, dtype="<f4").tolist()}


def _ledger(session: Session, user_id: str) -> Iterator[dict[str, Any]]:
    query = select(BackfillRow).where(BackfillRow.user_id == user_id)
    yield from map(_columns, _streamed(session, query.order_by(BackfillRow.model_version)))


def _clusters(session: Session, user_id: str) -> Iterator[dict[str, Any]]:
    query = (
        select(
            ClusterRunRow.run_id,
            ClusterRunRow.name.label("run"),
            ClusterRunRow.model_version,
            ClusterRunRow.created_at,
            ClusterRow.cluster_id,
            ClusterNameRow.name,
            ClusterMemberRow.similarity,
        )
        .select_from(ClusterMemberRow)
        .join(ClusterRunRow, ClusterRunRow.run_id == ClusterMemberRow.run_id)
        .outerjoin(
            ClusterRow,
            (ClusterRow.run_id == ClusterMemberRow.run_id)
            & (ClusterRow.place == ClusterMemberRow.place),
        )
        .outerjoin(ClusterNameRow, ClusterNameRow.cluster_id == ClusterRow.cluster_id)
        .where(ClusterMemberRow.user_id == user_id)
        .order_by(ClusterRunRow.run_id)
    )
    yield from (dict(row._mapping) for row in session.execute(query))


def _streamed(session: Session, query: Select[Any]) -> Iterator[Any]:
    for rows in _paged(session, query):
        yield from rows


def _paged(session: Session, query: Select[Any]) -> Iterator[Sequence[Any]]:
    paged = query.execution_options(yield_per=_ROWS_AT_ONCE)
    for rows in session.scalars(paged).partitions():
        yield rows
        for row in rows:
            session.expunge(row)


def _columns(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}


def _file_of(row: ImageRow) -> str:
    return f"images/{row.sha256}.{_SUFFIXES.get(row.media_type, 'bin')}"


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False, default=_text) + "\n").encode()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON is made of {type(value).__name__}")
