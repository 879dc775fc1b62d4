"""A recipe's names: what is not there, and what does not go together, is told at once."""

import pytest

from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import UserError
from proxtune.pipeline.names import check_names
from support.scripts import in_a_process_of_its_own


def a_recipe(**parts) -> Recipe:
    return Recipe(data="a.csv", out="runs/a", **parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"task": "rank"}, ["unknown task 'rank'", "choose one of classify, summarize"]),
        ({"method": "mezo"}, ["unknown method 'mezo'", "choose one of auto, probe"]),
        ({"device": "tpu"}, ["unknown device 'tpu'", "choose one of auto, cpu, cuda"]),
        ({"task": "translate", "method": "probe"}, ["--method probe", "--task translate", "auto, lora, layers, full"]),
        ({"task": "classify", "knobs": Knobs(base_dtype="int8")}, ["--base-dtype", "generate text"]),
        ({"method": "full", "knobs": Knobs(base_dtype="int8")}, ["--base-dtype", "--method lora", "full"]),
        ({"task": "classify", "knobs": Knobs(stream=True)}, ["--stream", "generate text"]),
        ({"method": "full", "knobs": Knobs(stream=True)}, ["--stream", "--method lora", "full"]),
        ({"method": "lora", "knobs": Knobs(stream=True, base_dtype="int4")}, ["--stream", "--base-dtype"]),
        ({"knobs": Knobs(micro_batch=64, batch=16)}, ["--micro-batch 64 is more than --batch 16"]),
    ],
    ids=str,
)
def test_what_does_not_go_is_told_with_what_would(parts, words):
    with pytest.raises(UserError) as told:
        check_names(a_recipe(**parts))
    assert all(word in str(told.value) for word in words)


def test_a_micro_batch_may_be_more_than_a_batch_where_rows_count_once_for_each_point():
    check_names(a_recipe(method="nno", knobs=Knobs(micro_batch=64, batch=16)))


def test_what_goes_is_let_through_without_torch():
    found = in_a_process_of_its_own(
        """
import json, sys
from proxtune.config.recipe import Recipe
from proxtune.pipeline.names import check_names
for task in (None, "classify"):
    check_names(Recipe(data="a.csv", out="runs/a", task=task))
print(json.dumps(sorted({"torch", "numpy", "transformers"} & set(sys.modules))))
"""
    )
    assert found == []
