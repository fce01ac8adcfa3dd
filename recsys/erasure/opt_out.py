"""The one way to change what a user allows: for the command, and for the server's UpdateConsent."""

from recsys.erasure.exports import rewrite_exports
from storage.consents import ConsentStore
from storage.histories import HistoryStore
from storage.records import ConsentUpdate


def update_consent(
    store: HistoryStore,
    consents: ConsentStore,
    user_id: str,
    *,
    personalize: bool | None = None,
    learn_from: bool | None = None,
) -> ConsentUpdate:
    """Change what a user allows; who opts out leaves exports of clusters, as they leave clusters.

    An opt-out that is repeated looks into the exports again.

    Args:
        store: of the choices.
        consents: of the same storage.
        user_id: who.
        personalize, learn_from: as of `ConsentStore.update`.

    Raises:
        InvalidRecord, UserErased, IdentityKeyMissing: as `ConsentStore.update`.
        StorageError: if storage does not answer.
    """
    allowed = consents.update(user_id, personalize=personalize, learn_from=learn_from)
    rewritten: list[str] = []
    unreached: list[str] = []
    if personalize is False or learn_from is False:
        since = store.user(user_id).created_at
        rewritten, unreached = rewrite_exports(store.database, user_id, since=since)
    return ConsentUpdate(
        allowed.personalize, allowed.learn_from, tuple(rewritten), tuple(unreached)
    )
