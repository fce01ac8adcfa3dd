"""The data sets that choices were imported from: what is of one, and its removal."""

from collections.abc import Collection, Iterator

from sqlalchemy import or_, select, update

from storage.blobs import BlobStore
from storage.database import Database
from storage.removing import Removed, remove_in_parts
from storage.statements import parts
from storage.tables import ChoiceRow, UserRow

_IDS_AT_ONCE = 2000


def choice_ids_of(database: Database, dataset: str) -> Iterator[list[int]]:
    """Yield the ids of the choices that imports of a data set have stored, in ascending parts."""
    after = 0
    while True:
        query = (
            select(ChoiceRow.choice_id)
            .where(ChoiceRow.choice_id > after, ChoiceRow.dataset == dataset)
            .order_by(ChoiceRow.choice_id)
            .limit(_IDS_AT_ONCE)
        )
        with database.session() as session:
            choice_ids = list(session.scalars(query))
        if not choice_ids:
            return
        yield choice_ids
        after = choice_ids[-1]


def users_with_others(
    database: Database, dataset: str, user_ids: Collection[str]
) -> frozenset[str]:
    """Return those of these users who have choices that are not of a data set."""
    theirs = select(ChoiceRow.choice_id).where(ChoiceRow.user_id == UserRow.user_id)
    is_other = or_(ChoiceRow.dataset.is_(None), ChoiceRow.dataset != dataset)
    has_other = theirs.where(is_other).exists()
    found: set[str] = set()
    with database.session() as session:
        for part in parts(sorted(user_ids)):
            query = select(UserRow.user_id).where(UserRow.user_id.in_(part), has_other)
            found |= set(session.scalars(query))
    return frozenset(found)


def set_aside(database: Database, choice_ids: Collection[int]) -> None:
    """Take the request ids of imported choices, so that corrected ones can be stored by them."""
    with database.writing() as session:
        for part in parts(sorted(choice_ids)):
            chosen = ChoiceRow.choice_id.in_(part)
            session.execute(update(ChoiceRow).where(chosen).values(request_id=None))


def remove_from(
    database: Database, blobs: BlobStore, dataset: str, choice_ids: Collection[int]
) -> Removed:
    """Remove those of a few hundred choices that are of a data set."""
    return remove_in_parts(
        database,
        blobs,
        lambda after: (
            select(ChoiceRow.choice_id, ChoiceRow.user_id)
            .where(
                ChoiceRow.choice_id > after,
                ChoiceRow.choice_id.in_(choice_ids),
                ChoiceRow.dataset == dataset,
            )
            .order_by(ChoiceRow.choice_id)
        ),
    )
