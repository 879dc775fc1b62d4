"""nno: the last blocks' linear layers learn, in the memory of inference."""

from dataclasses import replace

import torch

from proxtune.config.recipe import Knobs
from proxtune.memory.devices.cpu import CALIBRATION
from proxtune.methods.nno import METHOD
from proxtune.models.introspection import blocks_of, model_facts
from proxtune.tasks.base import TaskTraits
from support.methods import a_classifier, learning
from support.profiles import PLAN


def test_the_linear_layers_of_the_last_blocks_learn_and_no_bias(tiny_folder):
    model = METHOD.prepare(a_classifier(tiny_folder), replace(PLAN, last_layers=1))
    name, blocks = blocks_of(model)
    last = f"{name}.{len(blocks) - 1}."
    linear = {f"{last}{n}.weight" for n, m in blocks[-1].named_modules() if isinstance(m, torch.nn.Linear)}
    assert learning(model) == linear


def test_what_it_trains_is_counted_to_the_last_number(tiny_folder):
    model, plan = a_classifier(tiny_folder), replace(PLAN, last_layers=1)
    facts = model_facts(model)
    prepared = METHOD.prepare(model, plan)
    assert METHOD.cost.count_trainable(plan, facts) == sum(p.numel() for p in prepared.parameters() if p.requires_grad)


def test_its_points_are_neighbours_of_one_and_rows_count_once_for_each():
    assert METHOD.counts_points
    (variant,) = METHOD.variants(6, Knobs())
    assert variant == {"neighbours": 14, "last_layers": 4}
    assert METHOD.variants(6, Knobs(last_layers=9)) == [{"neighbours": 14, "last_layers": 6}]


def test_weights_are_held_in_bf16_only_for_tasks_that_it_can_learn():
    assert METHOD.may_hold_bf16(TaskTraits())
    assert not METHOD.may_hold_bf16(TaskTraits(needs_gradients=True))


def test_a_step_updates_in_a_time_of_its_own():
    assert METHOD.cost.update_seconds(CALIBRATION) == CALIBRATION.neighbour_update_seconds
    assert METHOD.cost.kernel_bytes(PLAN, TaskTraits(), CALIBRATION) == CALIBRATION.neighbour_kernel_bytes["fp32"]
