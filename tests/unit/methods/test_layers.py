"""layers: the last blocks and what follows them learn."""

from dataclasses import replace

import pytest

from proxtune.config.recipe import Knobs
from proxtune.methods.layers import METHOD
from proxtune.models.introspection import blocks_of, head_of
from support.methods import a_classifier, learning
from support.profiles import PLAN, PROFILE


@pytest.mark.parametrize("last", [1, 2])
def test_layers_trains_the_last_blocks_and_what_follows_them(tiny_folder, last):
    model = METHOD.prepare(a_classifier(tiny_folder), replace(PLAN, method="layers", last_layers=last))
    name, blocks = blocks_of(model)
    marked, first = learning(model), len(blocks) - last
    assert marked
    assert {int(n.removeprefix(f"{name}.").split(".")[0]) for n in marked if n.startswith(name)} == set(
        range(first, len(blocks))
    )
    assert not any("embed" in n for n in marked)
    assert f"{head_of(model)[0]}.weight" in marked


def test_knobs_choose_the_variant():
    assert METHOD.variants(6, Knobs(last_layers=9)) == [{"last_layers": 6}]
    assert [v["last_layers"] for v in METHOD.variants(6, Knobs())] == [6, 4, 2, 1]


def test_a_backward_pass_goes_through_the_blocks_that_learn():
    facts = PROFILE.model
    for last in (1, 3, 6):
        plan = replace(PLAN, last_layers=last)
        assert METHOD.cost.backward_share(plan, facts) == pytest.approx(last / 6)
        assert METHOD.cost.count_trainable(plan, facts) == facts.block_parameters * last // 6 + 200_000
        assert METHOD.trains_everything(plan, facts.blocks) == (last == 6)


def test_the_fewer_blocks_learn_the_higher_is_the_rate_and_not_without_end():
    scales = [METHOD.lr_scale(replace(PLAN, last_layers=last), 12) for last in (12, 6, 3, 1)]
    assert scales == sorted(scales)
    assert scales[0] == 1.0
    assert scales[-1] == 10.0


def test_of_a_generator_few_blocks_learn_less_in_a_step_than_many():
    """In 16 steps one block of 30 took 0.09 off SmolLM2's loss, ten took off 0.32, all weights 0.62."""
    sixteen_steps = 16 * 8 / 14_800
    gains = []
    for last in (1, 10, 30):
        prior = METHOD.base_model_prior(replace(PLAN, method="layers", last_layers=last), 30)
        prior = replace(prior, gap=prior.ceiling - 0.895)
        gains.append(prior.expected(sixteen_steps) - prior.expected(0.0))
    assert gains[0] / gains[2] == pytest.approx(0.094 / 0.616, abs=0.05)
    assert gains[1] / gains[2] == pytest.approx(0.320 / 0.616, abs=0.07)
