"""The checks of tasks: each of ours passes, and one that breaks the contract does not."""

from dataclasses import replace

import pytest

from proxtune.checks import (
    check_objective,
    check_task,
    check_task_values,
)
from proxtune.config.recipe import Recipe
from proxtune.tasks.classification.task import CLASSIFY, Classification
from proxtune.tasks.registry import find_task


def test_classification_keeps_the_contract(tiny_model, tiny_reviews):
    check_task(find_task("classify"), str(tiny_reviews), tiny_model)


@pytest.mark.parametrize(("name", "model"), [("translate", "tiny_t5"), ("summarize", "tiny_chat")])
def test_each_task_that_generates_text_keeps_the_contract(name, model, tiny_pairs, request):
    check_task(find_task(name), str(tiny_pairs), request.getfixturevalue(model))


def test_instruction_following_keeps_the_contract(tiny_chat, tiny_pairs, tmp_path):
    rows = tiny_pairs.read_text().replace('"source"', '"prompt"').replace('"target"', '"response"')
    (tmp_path / "rows.jsonl").write_text(rows)
    check_task(find_task("instruct"), str(tmp_path / "rows.jsonl"), tiny_chat)


def test_the_contract_finds_a_task_with_a_section_that_no_report_has():
    with pytest.raises(AssertionError, match="shows results as 'tables'; choose one of classification"):
        check_task_values(Classification(report_section="tables"))


def test_the_contract_finds_a_loss_that_depends_on_the_micro_batch(tiny_model, tiny_reviews):
    recipe = Recipe(data=str(tiny_reviews), out="unused", model=str(tiny_model), task="classify")
    data = CLASSIFY.encode(recipe, CLASSIFY.read(recipe), tiny_model)
    right = data.train.objective
    mean = replace(
        right,
        loss=lambda model, data, rows, pad_id, whole, teacher: right.loss(model, data, rows, pad_id, rows, teacher),
    )
    wrong = replace(data, train=replace(data.train, objective=mean))
    with pytest.raises(AssertionError, match="the loss depends on the micro-batch"):
        check_objective(CLASSIFY, wrong, CLASSIFY.load_model(tiny_model, data, 0))
