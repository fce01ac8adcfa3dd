"""Storage as the settings name it: its database, and choices and images in it.

Importing this module loads neither torch nor SQLAlchemy.
"""

from typing import TYPE_CHECKING

from recsys.errors import NotFound, PreconditionFailed

if TYPE_CHECKING:
    from recsys.erasure.identity import IdentityKeyFile
    from recsys.settings import Settings
    from storage.database import Database
    from storage.histories import HistoryStore


def identity_of(settings: "Settings", *, makes: bool) -> "IdentityKeyFile":
    """The keys that tell who was erased.

    Args:
        settings: may name them.
        makes: make one where one is needed and there is none.
    """
    from recsys.erasure.identity import FILE, IdentityKeyFile
    from recsys.settings import data_folder

    given = settings.identity_key
    setting = "" if given is None else given.get_secret_value()
    return IdentityKeyFile(setting, data_folder() / FILE, makes=makes)


def opened_database(settings: "Settings", *, read_only: bool) -> "Database":
    """The database, whatever its schema; connects to nothing yet.

    Args:
        settings: name it.
        read_only: it refuses whatever would change it.

    Raises:
        PreconditionFailed: if its driver is not installed.
    """
    from storage.database import Database

    try:
        return Database(settings.database_url, read_only=read_only)
    except ModuleNotFoundError as error:
        raise PreconditionFailed(
            f"PostgreSQL needs {error.name}: pip install 'recsys-images[postgres]'"
        ) from error


def opened_store(
    settings: "Settings", database: "Database", identity: "IdentityKeyFile", *, creates: bool
) -> "HistoryStore":
    """Choices and images, in a database with a current schema.

    Args:
        settings: name where images are.
        database: holds the choices.
        identity: tells who was erased.
        creates: make the schema of an embedded database that holds nothing yet.

    Raises:
        NotFound: if nothing was ever stored, and `creates` is False.
        SchemaMismatch: if the schema is older than the code, or newer and no longer serves it.
    """
    from storage.blobs import BlobStore
    from storage.database import require_usable, upgrade
    from storage.histories import HistoryStore
    from storage.sqlite import is_new

    if is_new(database.path):
        if not creates:
            raise NotFound(
                "nothing is stored yet: bring choices in with `recsys import` or `recsys choose`"
            )
        upgrade(database)
    require_usable(database)
    return HistoryStore(database, BlobStore(settings.blob_url), identity)
