"""The data sets that choices were imported from: how much is of one, and its removal."""

from collections.abc import Collection

from sqlalchemy import func, or_, select

from storage.blobs import BlobStore
from storage.database import Database
from storage.removing import Removed, remove_in_parts
from storage.statements import parts
from storage.tables import ChoiceRow, UserRow


def num_choices_of(database: Database, dataset: str) -> int:
    """Count the choices that imports of a data set have stored."""
    query = select(func.count()).where(ChoiceRow.dataset == dataset)
    with database.session() as session:
        return session.scalar(query) or 0


def last_choice_id(database: Database) -> int:
    """Return the id of the newest choice; 0 if there is none. Later ones have higher ids."""
    with database.session() as session:
        return session.scalar(select(func.max(ChoiceRow.choice_id))) or 0


def users_from_elsewhere(
    database: Database, dataset: str, user_ids: Collection[str]
) -> frozenset[str]:
    """Return those of these users who have choices, and none of them is of a data set."""
    theirs = select(ChoiceRow.choice_id).where(ChoiceRow.user_id == UserRow.user_id)
    has_own = theirs.where(ChoiceRow.dataset == dataset).exists()
    is_other = or_(ChoiceRow.dataset.is_(None), ChoiceRow.dataset != dataset)
    has_other = theirs.where(is_other).exists()
    found: set[str] = set()
    with database.session() as session:
        for part in parts(sorted(user_ids)):
            query = select(UserRow.user_id).where(UserRow.user_id.in_(part), ~has_own, has_other)
            found |= set(session.scalars(query))
    return frozenset(found)


def remove_dataset(database: Database, blobs: BlobStore, dataset: str) -> Removed:
    """Remove all choices that imports of a data set have stored, in bounded transactions."""
    return remove_in_parts(
        database,
        blobs,
        lambda after: (
            select(ChoiceRow.choice_id, ChoiceRow.user_id)
            .where(ChoiceRow.choice_id > after, ChoiceRow.dataset == dataset)
            .order_by(ChoiceRow.choice_id)
        ),
    )
