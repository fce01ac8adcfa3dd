"""What storage raises on purpose, a tree:

StorageError
├── InvalidRecord     a choice or id that breaks a stated rule (also a ValueError)
│   └── InvalidSource a file or folder of choices that cannot be read as what it should be
├── UnknownUser       no such user (also a LookupError)
│   ├── AlreadyErased no such user, because the user was erased before
│   └── NotErased     a user to be restored who was not erased
├── UserErased        something of somebody who was erased and must not come back
├── PersonalizationOff  a signature of somebody who does not want to be personalised
├── IdentityKeyMissing  a secret key that tells who was erased is not given
├── ImageBlocked      a choice that shows an image that was taken down and must not come back
├── UnknownImage      a SHA-256 that no stored image has (also a LookupError)
│   └── NotBlocked    an image to be unblocked that is not blocked
├── UnknownCluster    no such run of clusters, or no such cluster in it (also a LookupError)
├── SchemaMismatch    a database older than the code, or newer and of no use to it
├── NotADatabase      a file that the URL of an embedded database names, and that is none
├── StorageFull       no room left on the device; nothing was half stored
└── StorageUnavailable  the database does not answer or is busy; the same call may succeed later
"""


class StorageError(Exception):
    """Anything storage raises on purpose."""


class InvalidRecord(StorageError, ValueError):
    """A choice or id that breaks a stated rule; the message says which, and the remedy."""


class InvalidSource(InvalidRecord):
    """A file or folder of choices that cannot be read as what it should be."""


class UnknownUser(StorageError, LookupError):
    """No such user."""


class AlreadyErased(UnknownUser):
    """No such user, because the user was erased before.

    Args:
        message: says when.
        remnants: what still holds something of them, where somebody has looked.
    """

    def __init__(self, message: str, *, remnants: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.remnants = remnants


class NotErased(UnknownUser):
    """A user to be restored who was not erased."""


class UserErased(StorageError):
    """Something to be stored of somebody who was erased and must not come back.

    Args:
        message: what must hold, what arrived and what to do.
        user_ids: who, of those whose choices were to be stored.
    """

    def __init__(self, message: str, *, user_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.user_ids = user_ids


class PersonalizationOff(StorageError):
    """Something personal to a user who does not want to be personalised.

    Args:
        user_id: who.
    """

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"user {user_id!r} is not personalised, as they asked: treat them as a user without a"
            " history, or see `recsys users consent`"
        )


class IdentityKeyMissing(StorageError):
    """A secret key that is needed to tell who was erased is not given; the message names it."""


class ImageBlocked(StorageError):
    """A choice that shows an image that was taken down and must not come back.

    Args:
        message: what must hold, what arrived and what to do.
        sha256s: which, of the images that were to be stored.
    """

    def __init__(self, message: str, *, sha256s: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.sha256s = sha256s


class UnknownImage(StorageError, LookupError):
    """A SHA-256 that no stored image has.

    Args:
        message: what must hold, what arrived and what to do.
        sha256: which, of the images that a choice to be stored names; else empty.
    """

    def __init__(self, message: str, *, sha256: str = "") -> None:
        super().__init__(message)
        self.sha256 = sha256


class NotBlocked(UnknownImage):
    """An image to be unblocked that is not blocked."""


class UnknownCluster(StorageError, LookupError):
    """No such run of clusters, or no such cluster in it; the message tells what to run."""


class SchemaMismatch(StorageError):
    """A database older than the code, or newer and of no use to it; the message names both."""


class NotADatabase(StorageError):
    """A file that the URL of an embedded database names, and that is none."""


class StorageFull(StorageError):
    """No room left on the device; nothing was half stored."""


class StorageUnavailable(StorageError):
    """The database does not answer or is busy; the same call may succeed later."""
