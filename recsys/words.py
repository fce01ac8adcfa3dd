"""The words of a prompt, without those that tell nothing of a taste."""

import re

_WORD = re.compile(r"[^\W\d_][\w'’-]+")
STOP_WORDS = frozenset(
    _WORD.findall(
        "the and of in on at to by for with from an as is are be it its this that these those or"
        " but not no into onto over under near behind between his her their our your my very some"
        " any out up down off"
    )
)


def words_of(prompt: str) -> set[str]:
    """Return the distinct words of a prompt, in lower case, without stop words."""
    return {word for word in _WORD.findall(prompt.lower()) if word not in STOP_WORDS}
