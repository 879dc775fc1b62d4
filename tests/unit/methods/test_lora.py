"""lora: adapters and the head learn, and what they cost beside a plain model."""

from dataclasses import replace

import pytest

from proxtune.config.recipe import Knobs
from proxtune.memory.devices.cpu import CALIBRATION
from proxtune.methods.lora import METHOD, adapter_bytes
from proxtune.models.introspection import model_facts
from proxtune.tasks.base import TaskTraits
from support.methods import a_classifier, learning
from support.profiles import PLAN, PROFILE

SHORT, LONG = TaskTraits(), TaskTraits(long_rows=True)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_planner_counts_what_lora_trains_to_the_last_number(tiny_folder, rank):
    plan, model = replace(PLAN, method="lora", rank=rank), a_classifier(tiny_folder)
    facts = model_facts(model)
    prepared = METHOD.prepare(model, plan)
    trained = sum(p.numel() for p in prepared.parameters() if p.requires_grad)
    assert trained == METHOD.cost.count_trainable(plan, facts)
    assert trained == rank * facts.rank_parameters + facts.head_parameters


def test_lora_trains_adapters_and_the_head_only(tiny_folder):
    model = METHOD.prepare(a_classifier(tiny_folder), replace(PLAN, method="lora", rank=2))
    marked = learning(model)
    assert any("lora_A" in name for name in marked)
    assert all("lora_" in name or "modules_to_save" in name for name in marked)
    assert any("modules_to_save" in name for name in marked)
    assert adapter_bytes(model) == sum(4 * p.numel() for name, p in model.named_parameters() if "lora_" in name) > 0
    assert adapter_bytes(METHOD.finish(model, PLAN)) == 0


def test_knobs_choose_the_variant():
    assert METHOD.variants(6, Knobs(rank=5)) == [{"rank": 5}]
    assert len(METHOD.variants(6, Knobs())) > 1


def test_adapters_bring_a_library_and_weights_of_their_own():
    extra = METHOD.cost.extra_bytes(replace(PLAN, trainable=1000), PROFILE.model, CALIBRATION)
    assert extra == {"libraries": CALIBRATION.adapter_library_bytes, "weights": 4000}


def test_where_rows_are_long_few_kernels_are_kept_and_memory_goes_back():
    plan, cost = replace(PLAN, allocator="fast"), METHOD.cost
    kernels = [cost.kernel_bytes(plan, traits, CALIBRATION) for traits in (SHORT, LONG)]
    assert kernels[0] - kernels[1] == CALIBRATION.adapter_kernel_bytes["fp32"]
    assert [cost.heap_slack(plan, traits, CALIBRATION) for traits in (SHORT, LONG)] == [CALIBRATION.adapter_slack, 1.0]
    assert cost.heap_slack(replace(plan, allocator="tight"), SHORT, CALIBRATION) == 1.0


def test_codes_cost_time_and_a_little_quality():
    codes = replace(PLAN, base_dtype="int4")
    assert (
        METHOD.cost.slowdown(codes, CALIBRATION) == CALIBRATION.codes_slowdown > METHOD.cost.slowdown(PLAN, CALIBRATION)
    )
    assert (
        METHOD.expected_loss(codes)
        > METHOD.expected_loss(replace(PLAN, base_dtype="int8"))
        > METHOD.expected_loss(PLAN)
        == 0
    )


def test_of_a_base_model_that_knows_the_task_more_is_expected():
    for rank in (4, 16):
        plan = replace(PLAN, rank=rank)
        assert METHOD.base_model_prior(plan, 6).ceiling > METHOD.prior(plan, 6).ceiling
