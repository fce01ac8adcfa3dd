"""What a run encodes, and the values that its states and run.json are bound to."""

import json
from dataclasses import replace

import numpy as np
import pytest

from recsys.history import Pair
from recsys.scorer.base_model import BaseModel
from training.data.samples import PairTable, Sample, images_of
from training.data.splits import Split, split
from training.fitting.recipes.overrides import override
from training.fitting.recipes.recipe import Recipe
from training.fitting.recipes.tiny import tiny
from training.fitting.run_record import run_identity, write_run
from training.fitting.stages import read_in_a_run
from training.fitting.validation import caution, draw_validation

NUM_USERS, NUM_CHOICES, NUM_PROMPTS, IMAGES_A_PROMPT = 40, 24, 200, 4


def recipe() -> Recipe:
    return override(tiny(), ["split.validation_users=0.2"])


def parts(num_choices: int = NUM_CHOICES) -> Split:
    """Choices of one image among three of a prompt's four, split as the recipe has it."""
    rng = np.random.default_rng(0)
    pairs = {}
    for user in range(NUM_USERS):
        own: list[Pair] = []
        for number, prompt in enumerate(rng.choice(NUM_PROMPTS, num_choices, replace=False)):
            shown = IMAGES_A_PROMPT * prompt + rng.permutation(IMAGES_A_PROMPT)[:3]
            own += [
                Pair(int(shown[0]), int(row), f"p{prompt}", float(number), number, nth)
                for nth, row in enumerate(shown[1:])
            ]
        pairs[f"u{user:02}"] = tuple(own)
    images = tuple(f"{row:064x}" for row in range(NUM_PROMPTS * IMAGES_A_PROMPT))
    return split(PairTable(pairs, images), recipe().split)


def test_whatever_validation_reads_is_encoded() -> None:
    asked = draw_validation(recipe(), parts(), set())
    shown = set().union(*(images_of((*s.references, *s.pairs)) for s in asked.values()))
    in_parts = {
        row
        for part in parts().parts.values()
        for pairs in part.pairs.values()
        for row in images_of(pairs)
    }
    assert shown - in_parts  # references that are in no part: what was overlooked
    assert shown <= set(read_in_a_run(parts()))


def test_who_has_fewer_references_than_the_scorer_reads_validates_behind_what_they_have() -> None:
    short = parts(num_choices=11)
    assert max(map(len, short.whole.pairs.values())) < recipe().scorer.num_references
    asked = draw_validation(recipe(), short, set())
    assert {len(sample.references) for sample in asked.values()} == {8}


@pytest.mark.parametrize(
    ("num_users", "said"),
    [
        (10, None),
        (9, "9 users can validate, so the best weights and the temperature are left much"),
        (1, "1 user can validate"),
        (0, "0 users can validate, so the last weights are kept and no temperature is fitted"),
    ],
)
def test_it_is_said_where_few_or_none_can_validate(num_users: int, said: str | None) -> None:
    asked = {f"u{n}": Sample((), ()) for n in range(num_users)}
    told = caution(recipe(), asked)
    assert (told is None) if said is None else told.startswith(said)
    assert caution(override(recipe(), ["split.validation_users=0"]), asked) is None


def test_the_record_of_a_run_keeps_the_keys_of_its_format(tmp_path) -> None:
    write_run(recipe(), parts(), tmp_path, "identity", base=BaseModel("base"), num_processes=1)
    written = json.loads((tmp_path / "run.json").read_text())["recipe"]
    assert written == json.loads(json.dumps(recipe().to_json()))
    assert set(written["scorer"]) == {
        *("num_references", "num_preference_tokens", "max_packed_targets", "temperature"),
    }


def test_another_value_makes_another_run() -> None:
    base = "a hub id"
    one = run_identity(recipe(), base, parts())
    assert one == run_identity(recipe(), base, parts())
    scorer = replace(recipe().scorer, max_packed_candidates=8)
    assert one != run_identity(replace(recipe(), scorer=scorer), base, parts())
