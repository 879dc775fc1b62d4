"""Candidates: what the knobs, the traces and the task leave."""

from dataclasses import replace

import pytest

from proxtune.config.recipe import Knobs
from proxtune.methods.registry import find_method, method_names
from proxtune.planning.candidates import candidates
from support.profiles import GENERATING, PROFILE


def test_fewer_blocks_learn_at_a_higher_rate_where_texts_are_classified():
    def rates(profile):
        return {p.last_layers: p.learning_rate for p in candidates(profile, Knobs()) if p.method == "layers"}

    classified = rates(PROFILE)
    assert PROFILE.model.width == 384
    assert classified[PROFILE.model.blocks] == pytest.approx(find_method("layers").learning_rate)
    assert sorted(classified, key=classified.get) == sorted(classified, reverse=True), "the fewer, the higher"
    assert max(classified.values()) <= 10 * min(classified.values()) * (1 + 1e-9)
    assert len(set(rates(replace(PROFILE, traits=GENERATING.traits)).values())) == 1
    named = candidates(PROFILE, Knobs(learning_rate=3e-4))
    assert {plan.learning_rate for plan in named if plan.method == "layers"} == {3e-4}


def test_every_method_that_can_learn_the_task_is_a_candidate():
    assert {plan.method for plan in candidates(PROFILE, Knobs())} == set(method_names())
    assert {plan.method for plan in candidates(GENERATING, Knobs())} == {"lora", "layers", "full"}


def test_a_method_that_finds_nothing_to_learn_in_a_model_is_none():
    without = replace(PROFILE.model, rank_parameters=0, linear_parameters=0)
    found = {plan.method for plan in candidates(replace(PROFILE, model=without), Knobs())}
    assert found == set(method_names()) - {"lora", "nno"}


def test_a_structure_that_was_not_traced_is_no_candidate():
    forward = replace(PROFILE, traces={key: PROFILE.traces[key] for key in ("forward/fp32", "held-forward/fp32")})
    assert {plan.method for plan in candidates(forward, Knobs())} == {"probe", "nno"}


def test_activations_of_short_rows_are_recomputed_only_when_asked():
    def checkpointed(profile, knobs):
        return {plan.checkpointing for plan in candidates(profile, knobs, "full")}

    long = replace(PROFILE, max_length=PROFILE.calibration.checkpointing_tokens)
    assert checkpointed(PROFILE, Knobs()) == {False}
    assert checkpointed(PROFILE, Knobs(checkpointing=True)) == {True}
    assert checkpointed(long, Knobs()) == {False, True}
    assert {plan.checkpointing for plan in candidates(GENERATING, Knobs(), "lora")} == {False, True}, (
        "of deep decoders too"
    )


def test_weights_under_adapters_are_held_in_every_way_where_the_task_allows_it():
    bases = [plan.base_dtype for plan in candidates(GENERATING, Knobs(rank=4), "lora")]
    assert bases == 2 * ["fp32", "int8", "int4"], "with checkpointing and without"
    assert {plan.base_dtype for plan in candidates(GENERATING, Knobs(base_dtype="int8"))} == {"int8"}
    assert {plan.method for plan in candidates(GENERATING, Knobs(base_dtype="int8"))} == {"lora"}
    assert {plan.base_dtype for plan in candidates(PROFILE, Knobs(), "lora")} == {"fp32"}


def test_frozen_weights_may_stay_in_their_files_where_these_can_be_mapped():
    mapped = replace(GENERATING, can_stream=True)

    def streamed(knobs):
        return [plan.streamed for plan in candidates(mapped, replace(knobs, rank=4, checkpointing=False), "lora")]

    assert streamed(Knobs()) == [False, False, False, True]
    assert streamed(Knobs(stream=True)) == [True]
    assert streamed(Knobs(base_dtype="int8")) == [False]
    assert not any(plan.streamed for plan in candidates(GENERATING, Knobs()))


def test_less_optimizer_state_is_tried_where_all_blocks_learn():
    light = {(plan.method, plan.last_layers) for plan in candidates(PROFILE, Knobs()) if plan.optimizer == "adafactor"}
    assert light == {("full", 0), ("layers", PROFILE.model.blocks)}


def test_an_update_is_of_the_tasks_usual_rows():
    assert {plan.batch for plan in candidates(GENERATING, Knobs())} == {GENERATING.traits.usual_batch}
    assert {plan.batch for plan in candidates(PROFILE, Knobs(), "full")} == {find_method("full").batch}
