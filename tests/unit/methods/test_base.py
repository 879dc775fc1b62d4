"""What all methods share: priors, and which task one can learn."""

from dataclasses import replace

import pytest

from proxtune.methods.base import Prior
from proxtune.methods.registry import all_methods, find_method
from proxtune.tasks.base import TaskTraits
from proxtune.tasks.generation.task import TRAITS as GENERATION


def test_a_prior_climbs_to_its_ceiling():
    prior = Prior(ceiling=0.9, gap=0.3, decay_epochs=1.0)
    assert prior.expected(0) == pytest.approx(0.6)
    assert prior.expected(50) == pytest.approx(0.9)


def test_without_gradients_a_method_learns_only_what_needs_none():
    able = {name for name, method in all_methods().items() if method.can_learn(GENERATION)}
    assert able == {"lora", "layers", "full"}
    assert all(method.can_learn(TaskTraits()) for method in all_methods().values())


def test_frozen_weights_are_held_in_bf16_where_the_task_allows_it():
    lora = find_method("lora")
    assert lora.may_hold_bf16(GENERATION)
    assert not lora.may_hold_bf16(replace(GENERATION, frozen_codes=False))
    assert not find_method("full").may_hold_bf16(GENERATION)
