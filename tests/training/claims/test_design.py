"""Who is who was written down, and no one is two things."""

import pytest

from training.claims.bases import PRETRAINING, Bases
from training.claims.design import DESIGN, TOY
from training.claims.people import learners_of, people_of, validation_of, worlds


def test_judged_people_come_from_seeds_that_no_choice_was_made_on() -> None:
    judged = [DESIGN.trained, *DESIGN.new]
    assert [world.seed for world in judged] == [7401, 7402, 7403, 7404, 7405, 7406]
    assert [world.communities for world in judged] == [0, 101, 102, 103, 104, 105]
    assert sum(world.num_users for world in DESIGN.new) == 2000
    assert len({world.seed for world in worlds(DESIGN)}) == 7


@pytest.mark.parametrize("design", [DESIGN, TOY], ids=["design", "toy"])
def test_each_seed_has_learners_of_its_own_and_validation_people_are_nobodys(design) -> None:
    sets = [set(learners_of(design, seed)) for seed in design.seeds]
    sets.append(set(validation_of(design)))
    assert len(set().union(*sets)) == sum(map(len, sets))
    assert set().union(*sets) <= set(people_of(design.learners))
    assert [len(own) for own in sets[:-1]] == [design.most_learners] * len(design.seeds)
    assert len(sets[-1]) == design.num_validation
    assert design.most_learners >= max(cell.num_people for cell in design.cells)


def test_cells_are_trained_as_they_say() -> None:
    recipe = DESIGN.recipe(DESIGN.cell("centre"), 1)
    assert (recipe.first.plan.num_steps, recipe.second.plan.num_steps) == (240, 80)
    assert recipe.contrastive_weight == 1
    assert recipe.first.plan.token_learning_rate == recipe.second.plan.token_learning_rate == 0.03
    assert DESIGN.recipe(DESIGN.cell("all-uncontrasted"), 1).contrastive_weight == 0
    alone = DESIGN.recipe(DESIGN.cell("pv-40"), 1)
    assert (alone.first.plan.num_steps, alone.second.plan.num_steps) == (0, 240)
    lora = DESIGN.recipe(DESIGN.cell("lora"), 1)
    assert (lora.scorer.num_preference_tokens, lora.second.plan.num_steps) == (0, 0)
    frozen = DESIGN.recipe(DESIGN.cell("frozen"), 1)
    assert (frozen.first.plan.num_steps, frozen.second.plan.num_steps) == (0, 0)
    assert frozen.scorer.num_preference_tokens == 0
    seeds = {
        plan.seed
        for seed in DESIGN.seeds
        for recipe in [DESIGN.recipe(DESIGN.cell("centre"), seed)]
        for plan in (recipe.first.plan, recipe.second.plan)
    }
    assert len(seeds) == 6


@pytest.mark.parametrize("design", [DESIGN, TOY], ids=["design", "toy"])
def test_bases_have_never_seen_preference_tokens_and_all_begin_uniform(design, tmp_path) -> None:
    """With tokens of its own, a base would know one number of them better than others."""
    for name in PRETRAINING:
        recipe = Bases(tmp_path, design).recipe(name)
        assert recipe.num_preference_tokens == 0
        assert (recipe.rules_told.told, recipe.rules_told.sure) == (0, 0)
    starts = {design.recipe(cell, 1).token_start for cell in design.cells}
    assert starts == {"uniform"}
    assert {cell.num_tokens for cell in DESIGN.cells} == {0, 5, 10, 20}


def test_twelve_cells_have_three_runs_and_the_base_as_it_is_has_one() -> None:
    runs = {cell.name: DESIGN.seeds_of(cell) for cell in DESIGN.cells}
    assert runs.pop("frozen") == (1,)
    assert list(runs.values()) == [(1, 2, 3)] * 12


def test_an_answer_belongs_to_all_that_decides_it() -> None:
    centre, lora = DESIGN.cell("centre"), DESIGN.cell("lora")
    identities = [
        DESIGN.identity(centre, 1),
        DESIGN.identity(centre, 2),
        DESIGN.identity(lora, 1),
        DESIGN.identity(centre, 1, ("random_pair_order=false",)),
        TOY.identity(centre, 1),
    ]
    assert len(set(identities)) == len(identities)
    assert DESIGN.identity(centre, 1) == identities[0]


def test_a_cell_that_there_is_not_is_told() -> None:
    with pytest.raises(ValueError, match=r"must be one of centre, .*: nothing"):
        DESIGN.cell("nothing")
