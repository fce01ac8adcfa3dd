"""First questions, stored as JSON, and how an erasure or a takedown removes them.

A pair is kept as long as a stored choice names each of its images together with its prompt, and is
of a user who may be learned from.

Whoever removes pairs has locked the blobs exclusively, and whoever stores them has a shared lock:
nobody stores a pair that an erasure has looked for just before.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, replace

from sqlalchemy import select, true
from sqlalchemy.orm import Session

from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.records import SharingRules
from storage.sharing import is_seen_by, shown_among
from storage.statements import MAY_BE_LEARNED_FROM, is_blocked
from storage.tables import ChoiceRow, ColdStartRow, PassedOverRow


def to_json(questions: FirstQuestions | None) -> str:
    """Serialise for the column; the empty string for None."""
    return "" if questions is None else json.dumps(asdict(questions))


def from_json(text: str) -> FirstQuestions | None:
    """Read what `to_json` wrote."""
    if not text:
        return None
    fields = json.loads(text)
    pairs = tuple(FirstQuestion(**pair) for pair in fields["pairs"])
    return FirstQuestions(fields["population_version"], pairs)


def living(session: Session, questions: FirstQuestions) -> FirstQuestions:
    """Leave out pairs that no stored choice supports any more."""
    pairs = tuple(pair for pair in questions.pairs if _is_supported(session, pair))
    return replace(questions, pairs=pairs)


def shown(session: Session, questions: FirstQuestions, rules: SharingRules) -> FirstQuestions:
    """Leave out pairs with an image that other users may not be shown, and such prompts."""
    named = {name for pair in questions.pairs for name in (pair.first_sha256, pair.second_sha256)}
    images = shown_among(session, named, rules)
    pairs = (p for p in questions.pairs if {p.first_sha256, p.second_sha256} <= images)
    told = tuple(replace(pair, prompt=_shown_prompt(session, pair, rules)) for pair in pairs)
    return replace(questions, pairs=told)


def _shown_prompt(session: Session, pair: FirstQuestion, rules: SharingRules) -> str:
    """The prompt, if enough people have seen each image from it; else an empty one."""
    if not rules.prompts or not pair.prompt:
        return ""
    names = (pair.first_sha256, pair.second_sha256)
    is_shown = all(is_seen_by(session, name, rules.min_users, prompt=pair.prompt) for name in names)
    return pair.prompt if is_shown else ""


def forget_pairs(session: Session, images: Collection[str]) -> None:
    """Remove pairs that no stored choice supports, after choices of these images were erased.

    Args:
        images: SHA-256 of each; pairs of other images are not checked.
    """
    _keep(session, images, lambda pair: _is_supported(session, pair))


def forget_image(session: Session, sha256: str) -> None:
    """Remove pairs that show an image, whatever supports them."""
    _keep(session, {sha256}, lambda pair: not _shows_any(pair, {sha256}))


def _keep(
    session: Session, images: Collection[str], is_kept: Callable[[FirstQuestion], bool]
) -> None:
    """Look through the questions that show any of these images."""
    rows = session.execute(select(ColdStartRow.model_version, ColdStartRow.first_questions)).all()
    for model_version, text in rows:
        questions = from_json(text)
        if questions is None or not any(_shows_any(pair, images) for pair in questions.pairs):
            continue
        left = replace(questions, pairs=tuple(filter(is_kept, questions.pairs)))
        if left != questions:
            row = session.get_one(ColdStartRow, model_version)
            row.first_questions = to_json(left)


def _shows_any(pair: FirstQuestion, images: Collection[str]) -> bool:
    return pair.first_sha256 in images or pair.second_sha256 in images


def _is_supported(session: Session, pair: FirstQuestion) -> bool:
    return all(
        _is_named(session, sha256, pair.prompt)
        for sha256 in (pair.first_sha256, pair.second_sha256)
    )


def _is_named(session: Session, sha256: str, prompt: str) -> bool:
    """Whether a choice from this prompt shows an image; from any prompt, if it is empty.

    Choices of users who do not want to be learned from do not count, and no choice shows a blocked
    image.
    """
    # Two queries, each with an index of its own: PostgreSQL would read all choices for an OR.
    liked = select(ChoiceRow.choice_id).where(ChoiceRow.liked == sha256)
    passed_over = (
        select(ChoiceRow.choice_id)
        .join(PassedOverRow, PassedOverRow.choice_id == ChoiceRow.choice_id)
        .where(PassedOverRow.sha256 == sha256, ~is_blocked(PassedOverRow.sha256))
    )
    is_prompt = ChoiceRow.prompt == prompt if prompt else true()
    return any(
        session.scalar(query.where(is_prompt, MAY_BE_LEARNED_FROM).limit(1)) is not None
        for query in (liked, passed_over)
    )
