"""The checks of methods and devices: each of ours passes, and one that breaks the contract does not."""

from dataclasses import replace

import pytest

from proxtune.checks import (
    check_calibration,
    check_computing,
    check_device,
    check_finish,
    check_method,
    check_objective,
    check_task,
    check_task_values,
)
from proxtune.config.recipe import Recipe
from proxtune.memory.devices.registry import DEVICES, device_names, host_device
from proxtune.methods.registry import find_method, method_names
from proxtune.tasks.classification.task import CLASSIFY, Classification
from proxtune.tasks.registry import find_task
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


@pytest.mark.parametrize("name", [name for name in device_names() if name != "auto"])
def test_each_device_keeps_the_contract(name):
    check_device(DEVICES.find(name))


def test_the_contract_finds_a_constant_that_comes_from_nowhere():
    calibration = host_device().calibration
    unsourced = replace(calibration, sources={**calibration.sources, "growth_bytes": " "})
    with pytest.raises(AssertionError, match="come from: growth_bytes"):
        check_calibration(replace(host_device(), calibration=unsourced))


def test_the_contract_finds_an_allocator_without_slack():
    with pytest.raises(AssertionError, match="needs the slack of fast, tight, other"):
        check_calibration(replace(host_device(), allocators=("fast", "tight", "other")))


def test_the_contract_finds_a_device_that_torch_calls_otherwise():
    with pytest.raises(AssertionError, match="not what torch calls it"):
        check_computing(replace(host_device(), name="processor"))


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
