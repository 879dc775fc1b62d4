"""What a plan costs: the terms add up, and more of anything costs more."""

from dataclasses import replace

import pytest

from proxtune.config.recipe import Knobs
from proxtune.memory.devices.cuda import DEVICE as CUDA
from proxtune.methods.registry import find_method
from proxtune.planning.candidates import candidates
from proxtune.planning.cost_model import (
    converted_bytes,
    evaluations,
    final_validations,
    flops_of,
    fragmentation_bytes,
    head_rows_within,
    memory_of,
    seconds_of,
    seconds_per_step,
    trainable_parameters,
    validation_rows_within,
    validation_steps,
    with_growth,
)
from support.profiles import GENERATING, PLAN, PROFILE, plan_for


def test_time_for_the_milestone_is_kept_where_gradients_are_held_to_a_size():
    def seconds(held, method):
        profile = replace(PROFILE, has_size_limit=held)
        return seconds_of(replace(plan_for(method=method).plan, steps=0), profile)

    assert seconds(True, "full") > seconds(False, "full") + 2
    assert seconds(True, "probe") == seconds(False, "probe")


def test_what_is_held_to_a_size_takes_memory_beside_what_learns():
    def memory(held, micro_batch):
        profile = replace(PROFILE, has_size_limit=held)
        plan = next(p for p in candidates(profile, Knobs(checkpointing=False, batch=micro_batch), "full"))
        return memory_of(plan.with_micro_batch(micro_batch), profile)

    (free, _), (held, terms) = memory(False, 16), memory(True, 16)
    assert terms["latent"] == 4 * (PROFILE.model.parameters - PROFILE.model.embedding_parameters)
    assert held["train"] > free["train"] + terms["latent"]
    # the gradient of its rows, made dense
    assert held["evaluate"] > free["evaluate"] + 8 * PROFILE.model.embedding_parameters
    assert memory(True, 1)[0]["evaluate"] < held["evaluate"]
    assert "latent" not in memory(False, 16)[1]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_smaller_micro_batch_takes_less_memory(checkpointing):
    plan = next(p for p in candidates(PROFILE, Knobs(checkpointing=checkpointing), "full"))
    peaks = [max(memory_of(plan.with_micro_batch(size), PROFILE)[0].values()) for size in (32, 16, 8, 4, 2, 1)]
    assert peaks == sorted(peaks, reverse=True)
    assert len(set(peaks)) > 1


def test_the_terms_of_training_add_up_to_its_phase():
    for plan in candidates(PROFILE, Knobs()):
        memory, terms = memory_of(plan, PROFILE)
        assert all(value >= 0 for value in terms.values())
        if find_method(plan.method).uses_gradients:
            assert sum(terms.values()) == memory["train"]


def test_trainable_parameters_grow_with_the_method():
    by_name = {
        (p.method, p.rank, p.last_layers): trainable_parameters(p, PROFILE) for p in candidates(PROFILE, Knobs())
    }
    probe, full = by_name["probe", 0, 0], by_name["full", 0, 0]
    layers = [count for (method, _, _), count in by_name.items() if method == "layers"]
    lora = [count for (method, _, _), count in by_name.items() if method == "lora"]
    assert probe == 0 < min(lora) < max(lora) < max(layers) < full == PROFILE.model.parameters
    assert sorted(layers, reverse=True) == layers


def test_the_head_of_nno_is_fitted_to_as_many_rows_as_a_share_of_the_time_allows():
    def head_rows(seconds):
        return plan_for("1GB", seconds, method="nno").plan.head_rows

    assert head_rows(None) == head_rows(10_000) == PROFILE.rows
    slow = replace(PROFILE, flops_per_second={"fp32": 1e9})
    plan = replace(plan_for("1GB", method="nno").plan, head_rows=1)
    assert head_rows_within(0.0, plan, slow) == 512
    some = head_rows_within(1000.0, plan, slow)
    more = seconds_of(replace(plan, head_rows=some), slow) - seconds_of(replace(plan, head_rows=0), slow)
    assert more == pytest.approx(1000.0, abs=1.0)  # of which 400 for the rows of validation
    assert some < PROFILE.rows


def test_rows_pass_once_through_the_blocks_that_do_not_learn():
    def operations(last):
        plan = plan_for("1GB", knobs=Knobs(last_layers=last, epochs=1.0), method="nno").plan
        unlearned = replace(plan, steps=0)
        judgements = evaluations(plan, PROFILE) - evaluations(unlearned, PROFILE)
        judging = judgements * PROFILE.validation_tokens * PROFILE.traces["forward/fp32"].forward_flops
        return (flops_of(plan, PROFILE) - flops_of(unlearned, PROFILE) - judging) / plan.steps / plan.batch

    one_pass = PROFILE.traces["held-forward/fp32"].forward_flops * PROFILE.epoch_tokens / PROFILE.rows
    points = find_method("nno").variants(PROFILE.model.blocks, Knobs())[0]["neighbours"] + 2
    for last in range(1, PROFILE.model.blocks + 1):
        shared = 1 - last / PROFILE.model.blocks
        assert operations(last) == pytest.approx(one_pass * (shared + points * (1 - shared)))


def test_neighbours_hold_their_weights_in_the_dtype_and_gradients_hold_masters():
    profile = replace(PROFILE, traces=PROFILE.traces | {
        "forward/bf16": PROFILE.traces["forward/fp32"], "held-forward/bf16": PROFILE.traces["held-forward/fp32"],
        "layers/bf16": PROFILE.traces["layers/fp32"],
    }, flops_per_second={"fp32": 5e10, "bf16": 1e11})  # fmt: skip
    weights = {
        (plan.method, plan.dtype): memory_of(plan, profile)[1]["weights"] for plan in candidates(profile, Knobs())
    }
    assert weights["nno", "bf16"] * 2 == weights["nno", "fp32"] == weights["full", "bf16"] == PROFILE.weights_bytes


def test_a_checkpoint_of_another_width_is_mapped_beside_what_it_becomes():
    (plan,) = (plan for plan in candidates(PROFILE, Knobs(), "probe"))
    half = replace(PROFILE, file_bytes=PROFILE.weights_bytes // 2)
    added = memory_of(plan, half)[0]["load"] - memory_of(plan, PROFILE)[0]["load"]
    assert added > 0
    assert memory_of(plan, half)[0]["train"] == memory_of(plan, PROFILE)[0]["train"]


def test_in_training_is_judged_as_often_as_a_twentieth_of_it_allows():
    plan = replace(plan_for(method="full").plan, steps=4 * PROFILE.rows // 32, head_rows=0)
    cheap = replace(PROFILE, validation_tokens=1600)
    assert evaluations(plan, cheap) == 1 + 8, "about twice a pass, and for the result"
    for times in (3, 10, 30, 100, 1000):
        dear = replace(PROFILE, validation_tokens=times * PROFILE.validation_tokens)
        assert (evaluations(plan, dear) - 1) * validation_steps(plan, dear) <= 0.05 * plan.steps
    assert evaluations(plan, dear) == 1, "for the result alone"
    assert evaluations(replace(plan, head_rows=100), dear) == 2, "beside what it begins at, which is known"
    knowing = replace(dear, traits=replace(dear.traits, validates_start=True))
    assert evaluations(plan, knowing) == 2
    one_more = seconds_of(plan, knowing) - seconds_of(plan, dear)
    assert one_more == pytest.approx(2 * validation_steps(plan, dear) * seconds_per_step(plan, dear)), (
        "and the point before"
    )


def test_every_method_counts_what_it_brings_beside_the_model():
    terms = {plan.method: memory_of(plan, PROFILE)[1] for plan in candidates(PROFILE, Knobs())}
    calibration = PROFILE.calibration
    assert terms["lora"]["libraries"] - terms["layers"]["libraries"] == calibration.adapter_library_bytes
    assert terms["lora"]["weights"] - terms["layers"]["weights"] == terms["lora"]["gradients"]
    adapters = calibration.adapter_kernel_bytes["fp32"]
    assert terms["lora"]["kernels"] - terms["layers"]["kernels"] == adapters
    assert terms["full"]["activations"] - terms["layers"]["activations"] > 4 * PROFILE.model.embedding_parameters


def test_on_a_gpu_neither_kernels_nor_libraries_of_the_processor_are_counted():
    there = replace(PROFILE, device=CUDA)
    for plan in candidates(there, Knobs()):
        terms = memory_of(plan, there)[1]
        assert terms["kernels"] == there.code_bytes
        assert terms["libraries"] == there.libraries_bytes


def test_what_is_mapped_beside_converted_weights_is_the_whole_file():
    assert converted_bytes(100, 100) == converted_bytes(99, 100) == 0
    assert converted_bytes(50, 100) == 50
    assert converted_bytes(200, 100) == 200


def test_single_rows_leave_more_holes_than_many_and_a_tight_heap_hardly_any():
    def holes(**knobs):
        return fragmentation_bytes(10**6, replace(PLAN, **{"micro_batch": 1, **knobs}), PROFILE.calibration)

    assert holes() == 160_000
    assert holes(micro_batch=4) == 80_000
    assert holes(checkpointing=True) == 450_000
    assert holes(checkpointing=True, base_dtype="int4") == 700_000, "each product's dense weights come and go too"
    assert holes(dtype="bf16") == 300_000
    assert holes(allocator="tight", checkpointing=True) == 50_000


def test_a_heap_grows_in_a_whole_run():
    assert with_growth(100_000_000, PROFILE.calibration) == 108_000_000


def test_of_streamed_weights_a_block_is_in_memory_and_nothing_is_merged_there():
    plan = next(
        p for p in candidates(replace(GENERATING, can_stream=True), Knobs(stream=True), "lora")
    ).with_micro_batch(1)
    streamed, terms = memory_of(plan, GENERATING)
    held, of_held = memory_of(replace(plan, streamed=False), GENERATING)
    assert terms["weights"] - 4 * plan.trainable == pytest.approx(4 * 1.25 * 10_600_000 / 6)
    assert held["train"] - streamed["train"] == pytest.approx(of_held["weights"] - terms["weights"], rel=0.05)
    assert all(streamed[phase] < held[phase] - 300e6 for phase in ("train", "evaluate", "save"))
    assert plan.name.endswith("· streamed · 1/16")


@pytest.mark.parametrize(("profile", "least"), [(PROFILE, 200), (GENERATING, 32)])
def test_as_many_rows_are_evaluated_in_training_as_take_a_fiftieth_of_the_time(profile, least):
    """A pass over all 400 takes eight seconds and what it dispatches."""
    rows = [validation_rows_within(seconds, PLAN, profile) for seconds in (None, 1e6, 300.0, 10.0)]
    assert rows[:2] == [0, 0], "all of them"
    assert rows[2] == 0 or least <= rows[2] < 400
    assert rows[3] == least
    few = replace(PLAN, validation_rows=least)
    assert validation_steps(few, profile) < validation_steps(PLAN, profile)


def test_a_classifiers_result_is_evaluated_on_all_rows_and_in_the_dtype_of_its_weights():
    few = replace(PLAN, validation_rows=200)
    assert 1.5 < final_validations(few, PROFILE) < 2.0
    cast = replace(PROFILE, flops_per_second={"bf16": 1e11})
    cast = replace(cast, traces={key.replace("fp32", "bf16"): trace for key, trace in PROFILE.traces.items()})
    assert final_validations(replace(few, dtype="bf16"), cast) > 2 * final_validations(few, PROFILE)
    assert final_validations(replace(few, validation_rows=32), GENERATING) == 1.0, "answers are judged on as many"
