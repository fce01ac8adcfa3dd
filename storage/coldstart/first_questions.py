"""The pairs that new users are shown, stored as JSON, and how an erasure removes them.

A pair is kept as long as a stored choice names each of its images together with its prompt.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, replace

from sqlalchemy import select, true
from sqlalchemy.orm import Session

from storage.coldstart.records import Onboarding, OnboardingPair
from storage.tables import ChoiceRow, ColdStartRow, PassedOverRow


def to_json(onboarding: Onboarding | None) -> str:
    """Serialise for the column; the empty string for None."""
    return "" if onboarding is None else json.dumps(asdict(onboarding))


def from_json(text: str) -> Onboarding | None:
    """Read what `to_json` wrote."""
    if not text:
        return None
    told = json.loads(text)
    pairs = tuple(OnboardingPair(**pair) for pair in told["pairs"])
    return Onboarding(told["population_version"], pairs)


def living(session: Session, onboarding: Onboarding) -> Onboarding:
    """Leave out pairs that no stored choice supports any more."""
    pairs = tuple(pair for pair in onboarding.pairs if _lives(session, pair))
    return replace(onboarding, pairs=pairs)


def forget_pairs(session: Session, images: Collection[str]) -> None:
    """Remove pairs that no stored choice supports, after choices of these images were erased.

    Args:
        images: SHA-256 of each; pairs of other images are not checked.
    """
    rows = session.execute(select(ColdStartRow.model_version, ColdStartRow.onboarding)).all()
    for model_version, text in rows:
        onboarding = from_json(text)
        if onboarding is None or not _names_any(onboarding, images):
            continue
        left = living(session, onboarding)
        if left != onboarding:
            row = session.get_one(ColdStartRow, model_version)
            row.onboarding = to_json(left)


def _names_any(onboarding: Onboarding, images: Collection[str]) -> bool:
    pairs = onboarding.pairs
    return any(pair.first_sha256 in images or pair.second_sha256 in images for pair in pairs)


def _lives(session: Session, pair: OnboardingPair) -> bool:
    return all(
        _is_named(session, sha256, pair.prompt)
        for sha256 in (pair.first_sha256, pair.second_sha256)
    )


def _is_named(session: Session, sha256: str, prompt: str) -> bool:
    """Whether a choice from this prompt shows an image; from any prompt, if it is empty."""
    # Two queries, each with an index of its own: PostgreSQL would read all choices for an OR.
    liked = select(ChoiceRow.choice_id).where(ChoiceRow.liked == sha256)
    passed_over = (
        select(ChoiceRow.choice_id)
        .join(PassedOverRow, PassedOverRow.choice_id == ChoiceRow.choice_id)
        .where(PassedOverRow.sha256 == sha256)
    )
    is_prompt = ChoiceRow.prompt == prompt if prompt else true()
    return any(
        session.scalar(query.where(is_prompt).limit(1)) is not None
        for query in (liked, passed_over)
    )
