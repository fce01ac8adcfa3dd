"""A number with the noun that it counts, for messages."""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number and its noun, as in "1 choice", "0 choices" and "2,000 choices".

    Args:
        number: of things, at least 0.
        singular: the noun for one of them.
        plural: the noun for any other number; the singular with an s by default.
    """
    noun = singular if number == 1 else plural or f"{singular}s"
    return f"{number:,} {noun}"
