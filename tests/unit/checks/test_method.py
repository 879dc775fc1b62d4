"""The checks of methods: each of ours passes, and one that breaks the contract does not."""

from dataclasses import replace

import pytest

from proxtune.checks import (
    check_finish,
    check_method,
)
from proxtune.methods.registry import find_method, method_names
from support.profiles import PLAN


@pytest.mark.parametrize("name", method_names())
def test_each_method_keeps_the_contract(name, tiny_folder):
    check_method(find_method(name), tiny_folder)


def test_the_contract_finds_a_method_that_marks_too_little(tiny_model):
    forgetful = replace(find_method("full"), prepare=find_method("probe").prepare)
    with pytest.raises(AssertionError, match="trains 0 parameters"):
        check_method(forgetful, tiny_model)


def test_the_contract_finds_a_method_that_finishes_as_something_else(tiny_model):
    wrapped = replace(find_method("lora"), finish=lambda model, plan: model)
    with pytest.raises(AssertionError, match="not as a transformers model"):
        check_finish(wrapped, replace(PLAN, method="lora", rank=2), tiny_model)


def test_the_contract_finds_a_method_whose_traces_nothing_makes(tiny_model):
    strange = replace(find_method("full"), cost=replace(find_method("full").cost, trace_family="bitfit"))
    with pytest.raises(AssertionError, match="'bitfit', which nothing makes"):
        check_method(strange, tiny_model)
