"""The checks of a method: each of ours passes, and one that breaks the contract does not."""

from dataclasses import replace

import pytest

from proxtune.checks import check_finish, check_method
from proxtune.config.plan import Plan
from proxtune.methods.registry import METHODS

PLAN = Plan("full", "fp32", 4, 4, 16, False, "adamw", 1e-3, 1.0, 1, 0)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_keeps_the_contract(name, tiny_folder):
    check_method(METHODS[name], tiny_folder)


def test_the_contract_finds_a_method_that_marks_too_little(tiny_model):
    forgetful = replace(METHODS["full"], prepare=METHODS["probe"].prepare)
    with pytest.raises(AssertionError, match="trains 0 parameters"):
        check_method(forgetful, tiny_model)


def test_the_contract_finds_a_method_that_finishes_as_something_else(tiny_model):
    wrapped = replace(METHODS["lora"], finish=lambda model, plan: model)
    with pytest.raises(AssertionError, match="not as a transformers model"):
        check_finish(wrapped, replace(PLAN, method="lora", rank=2), tiny_model)
