"""Methods by name, without what they need to learn."""

import pytest

from proxtune.errors import UserError
from proxtune.methods.registry import all_methods, find_method, method_names, methods_for
from support.scripts import in_a_process_of_its_own


def test_each_method_is_found_by_its_own_name():
    assert [method.name for method in all_methods().values()] == list(method_names())
    assert find_method("lora") is all_methods()["lora"]


def test_what_is_asked_for_is_all_or_one():
    assert [method.name for method in methods_for("auto")] == list(method_names())
    assert [method.name for method in methods_for("full")] == ["full"]


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="unknown method 'mezo'; choose one of auto, probe, nno, lora, layers, full"):
        methods_for("mezo")


def test_names_and_costs_are_known_without_torch_and_numpy():
    found = in_a_process_of_its_own(
        """
import json, sys
from proxtune.methods.registry import all_methods
names = [method.cost.trace_family for method in all_methods().values()]
print(json.dumps([len(names), sorted({"torch", "numpy", "transformers", "peft"} & set(sys.modules))]))
"""
    )
    assert found == [5, []]
