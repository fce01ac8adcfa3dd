"""Which images other users may be shown: those marked as shareable that enough people have seen."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import UnknownImage
from storage.records import SharingRules
from storage.rules import check_sha256
from storage.statements import STANDS, parts
from storage.tables import ChoiceRow, ImageRow, PassedOverRow

_NUM_SAMPLED = 64


class ImageSharing:
    """Marks images as shareable, and tells which may be shown.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def mark(self, sha256s: Iterable[str] | None, *, shareable: bool) -> int:
        """Mark images as shareable, or as not.

        Args:
            sha256s: of stored images; None for all.
            shareable: the mark from now on.

        Returns:
            How many had the other mark.

        Raises:
            InvalidRecord: if one is no SHA-256.
            UnknownImage: if one is not stored; no mark is changed then.
        """
        named = None if sha256s is None else sorted(set(sha256s))
        with self.database.writing() as session:
            if named is None:
                return _set(session, shareable=shareable)
            _check_stored(session, named)
            return sum(_set(session, part, shareable=shareable) for part in parts(named))

    def shown_among(self, sha256s: Iterable[str], rules: SharingRules) -> frozenset[str]:
        """Those of these images that other users may be shown."""
        with self.database.session() as session:
            return shown_among(session, sha256s, rules)


def mark_shareable(session: Session, sha256s: Sequence[str]) -> None:
    """Mark those of these images that are stored, in a writing transaction."""
    for part in parts(sha256s):
        _set(session, part, shareable=True)


def shown_among(session: Session, sha256s: Iterable[str], rules: SharingRules) -> frozenset[str]:
    """As `ImageSharing.shown_among`, within a transaction."""
    asked, marked = sorted(set(sha256s)), set[str]()
    for part in parts(asked):
        query = select(ImageRow.sha256).where(ImageRow.sha256.in_(part), ImageRow.shareable)
        marked |= set(session.scalars(query))
    return frozenset(each for each in marked if is_seen_by(session, each, rules.min_users))


def is_seen_by(session: Session, sha256: str, num_users: int, *, prompt: str = "") -> bool:
    """Whether choices of at least so many users show an image; those that stand count.

    Args:
        session: any.
        sha256: of the image.
        num_users: at least 1.
        prompt: counts choices from this prompt alone; any, if it is empty.
    """
    liked = select(ChoiceRow.user_id).where(ChoiceRow.liked == sha256, STANDS)
    passed = (
        select(ChoiceRow.user_id)
        .join(PassedOverRow, PassedOverRow.choice_id == ChoiceRow.choice_id)
        .where(PassedOverRow.sha256 == sha256, STANDS)
    )
    if prompt:
        liked, passed = (each.where(ChoiceRow.prompt == prompt) for each in (liked, passed))
    users: set[str] = set()
    # A million people may have seen it: a few rows tell enough, nearly always.
    for query in (liked, passed):
        users |= set(session.scalars(query.limit(_NUM_SAMPLED)))
        if len(users) >= num_users:
            return True
    return _num_users(session, liked, passed) >= num_users


def _num_users(session: Session, liked: Select[str], passed: Select[str]) -> int:
    seen = liked.union(passed).subquery()
    return session.scalar(select(func.count()).select_from(seen)) or 0


def _set(session: Session, sha256s: Sequence[str] | None = None, *, shareable: bool) -> int:
    changed = update(ImageRow).where(ImageRow.shareable.is_not(shareable))
    if sha256s is not None:
        changed = changed.where(ImageRow.sha256.in_(sha256s))
    result = session.execute(changed.values(shareable=shareable))
    return int(getattr(result, "rowcount", 0))


def _check_stored(session: Session, sha256s: Sequence[str]) -> None:
    for sha256 in sha256s:
        check_sha256("sha256", sha256)
    for part in parts(sha256s):
        query = select(ImageRow.sha256).where(ImageRow.sha256.in_(part))
        missing = sorted(set(part) - set(session.scalars(query)))
        if missing:
            raise UnknownImage(f"no image {missing[0]} is stored: only stored ones have a mark")
