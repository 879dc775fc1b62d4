"""The planner: what it chooses fits, more budget never promises less, and a refusal says what would do."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.budget import Budget, parse_bytes
from proxtune.config.plan import PHASES, Plan, Refused, plan_as_dict, plan_from_dict
from proxtune.config.recipe import Knobs
from proxtune.errors import UserError
from proxtune.methods.registry import find_method, method_names
from proxtune.planning.candidates import candidates
from proxtune.planning.cost_model import (
    seconds_of,
)
from proxtune.planning.planner import Measured, Selection, _expected, choose, none_fits, with_measurements
from support.profiles import GENERATING, MB, PROFILE, plan_for

memories, times = st.integers(300 * MB, 3000 * MB), st.floats(20, 4000)


def test_without_a_budget_something_fits_and_nothing_is_refused_for_memory():
    choice = plan_for()
    assert choice.plan is not None
    assert choice.plan is choice.fitting[0]
    assert not any("needs" in refused.reason for refused in choice.refused)


@given(memories, times)
def test_what_is_chosen_fits(memory, time):
    choice = plan_for(memory, time)
    for plan in choice.fitting:
        assert plan.cost.peak_bytes <= memory
        assert plan.cost.seconds <= time
        assert set(plan.cost.memory_bytes) == set(PHASES)
        assert 1 <= plan.micro_batch <= plan.evaluated
        assert plan.steps >= 1 or not find_method(plan.method).makes_steps
    assert [plan.expected for plan in choice.fitting] == sorted((p.expected for p in choice.fitting), reverse=True)
    assert (choice.plan is None) == (choice.infeasible is not None) == (not choice.fitting)


@given(memories, memories, times)
def test_more_memory_never_promises_less(one, other, time):
    less, more = plan_for(min(one, other), time).plan, plan_for(max(one, other), time).plan
    assert less is None or (more is not None and more.expected >= less.expected)


@given(memories, times, times)
def test_more_time_never_promises_less(memory, one, other):
    less, more = plan_for(memory, min(one, other)).plan, plan_for(memory, max(one, other)).plan
    assert less is None or (more is not None and more.expected >= less.expected)


def test_a_model_that_learns_by_gradients_alone_says_so_where_there_is_no_memory_for_any():
    forward = {key: trace for key, trace in PROFILE.traces.items() if key.split("/")[0] in ("forward", "held-forward")}
    profile = replace(PROFILE, traits=replace(PROFILE.traits, needs_gradients=True), traces=forward)
    with pytest.raises(UserError, match="give more --memory"):
        choose(profile, Budget(memory=300 * MB), Knobs())


def test_every_candidate_has_a_fate():
    choice = plan_for(700 * MB, 300)
    assert len(choice.fitting) + len(choice.refused) == len(list(candidates(PROFILE, Knobs())))


@given(st.integers(10 * MB, 2000 * MB))
def test_the_least_memory_that_a_refusal_names_would_do(memory):
    choice = plan_for(memory)
    if choice.infeasible is None:
        return
    message = choice.infeasible.message
    named = re.search(r"the smallest plan needs --memory (\S+) \((.+)\)$", message)
    assert named is not None, message
    assert "\n" not in message
    assert choice.infeasible.nearest.name == named[2]
    assert choice.infeasible.shortfall_bytes == choice.infeasible.nearest.cost.peak_bytes - memory > 0
    assert plan_for(parse_bytes(named[1])).plan is not None


def test_a_time_too_short_for_anything_is_refused_in_seconds():
    choice = plan_for(time=5)
    assert choice.infeasible is not None
    assert choice.infeasible.shortfall_seconds > 0
    assert choice.infeasible.shortfall_bytes == 0
    assert "the nearest is" in choice.infeasible.message


@given(st.integers(1, 30_000_000))
def test_trainable_is_a_ceiling(trainable):
    choice = plan_for(trainable=trainable)
    assert all(plan.trainable <= trainable for plan in choice.fitting)
    assert all("--trainable" in refused.reason for refused in choice.refused)
    assert choice.plan is not None  # the probe trains nothing


@given(st.integers(1, 1_500_000))
def test_lora_takes_the_largest_rank_that_trains_few_enough(trainable):
    choice, least = (
        plan_for(trainable=trainable, method="lora"),
        PROFILE.model.rank_parameters + PROFILE.model.head_parameters,
    )
    if trainable < least:
        assert choice.plan is None
        assert f"the smallest plan needs --trainable {least} (lora r1" in choice.infeasible.message
        return
    assert choice.plan.rank == min(16, (trainable - PROFILE.model.head_parameters) // PROFILE.model.rank_parameters)
    assert len({(plan.rank, plan.checkpointing) for plan in choice.fitting}) == len(choice.fitting)
    assert (
        choice.plan.trainable
        == choice.plan.rank * PROFILE.model.rank_parameters + PROFILE.model.head_parameters
        <= trainable
    )
    assert plan_for(trainable=trainable, method="lora", knobs=Knobs(rank=16)).plan is None or choice.plan.rank == 16


@pytest.mark.parametrize("method", ["lora", "layers", "full", "nno"])
def test_the_least_number_of_trained_parameters_that_is_named_would_do(method):
    message = plan_for(trainable=1, method=method).infeasible.message
    least = int(re.search(r"needs --trainable (\d+) \(", message)[1])
    assert plan_for(trainable=least, method=method).plan is not None
    assert plan_for(trainable=least - 1, method=method).plan is None


def test_what_cannot_be_held_to_a_size_is_refused_only_where_there_is_one():
    for held in (False, True):
        choice = choose(replace(PROFILE, has_size_limit=held), Budget(size="9MB"), Knobs())
        assert any(plan.method == "lora" for plan in choice.fitting) != held
        assert any("--size" in refused.reason for refused in choice.refused) == held
        assert {"full", "layers", "nno", "probe"} <= {plan.method for plan in choice.fitting}


@given(st.floats(1e11, 1e15))
def test_compute_is_a_ceiling(compute):
    choice = plan_for(compute=compute)
    assert all(plan.cost.flops <= compute for plan in choice.fitting)


@given(st.integers(1, 64), memories)
def test_a_forced_micro_batch_is_kept(micro_batch, memory):
    for plan in plan_for(memory, knobs=Knobs(micro_batch=micro_batch)).fitting:
        assert plan.micro_batch == micro_batch


def test_knobs_are_kept():
    knobs = Knobs(
        batch=16, dtype="fp32", checkpointing=True, optimizer="adafactor", learning_rate=3e-4, epochs=2.0, rank=5
    )
    choice = plan_for(knobs=knobs, method="lora")
    assert choice.plan is not None
    for plan in choice.fitting:
        assert (plan.method, plan.rank, plan.batch, plan.checkpointing) == ("lora", 5, 16, True)
        assert (plan.optimizer, plan.learning_rate, plan.epochs) == ("adafactor", 3e-4, 2.0)
        assert plan.steps == 2 * 250


@pytest.mark.parametrize("method", method_names())
def test_a_method_that_is_asked_for_is_the_only_one_considered(method):
    choice = plan_for(method=method)
    assert {plan.method for plan in choice.fitting} == {method}


def test_a_batch_is_never_larger_than_the_data():
    few = replace(PROFILE, rows=10, epoch_tokens=400)
    choice = choose(few, Budget(), Knobs(), "full")
    assert choice.plan is not None
    assert choice.plan.batch == 10


def test_a_dry_run_puts_measured_figures_in_the_place_of_traced_ones():
    budget = Budget(memory="2GB", time="10min")
    plan = choose(PROFILE, budget, Knobs(), "full").plan
    assert plan is not None
    tokens_per_step = PROFILE.epoch_tokens * plan.batch / PROFILE.rows
    measured = Measured(
        memory_bytes=dict.fromkeys(PHASES, 123), terms={"weights": 100},
        seconds_per_token=0.5 / tokens_per_step, seconds_so_far=30.0, epochs=4.0,
    )  # fmt: skip
    settled = with_measurements(plan, PROFILE, budget, measured)
    assert settled.cost.memory_bytes == dict.fromkeys(PHASES, 123)
    assert settled.cost.terms == {"weights": 100}
    assert 0 < settled.steps <= 4 * 125
    assert settled.cost.seconds <= 600
    slower = with_measurements(plan, PROFILE, budget, replace(measured, seconds_per_token=5 / tokens_per_step))
    assert slower.steps < settled.steps
    assert slower.expected < settled.expected


def test_a_plan_survives_the_way_through_json():
    plan = plan_for(900 * MB, 600).plan
    assert plan is not None
    assert plan_from_dict(plan_as_dict(plan)) == plan
    assert plan_as_dict(plan)["name"] == plan.name


def test_a_micro_batch_counts_points_where_neighbours_are_looked_at():
    nno = plan_for("1GB", knobs=Knobs(micro_batch=64), method="nno").plan
    assert (nno.batch, nno.micro_batch) == (find_method("nno").batch, 64)
    full = plan_for("3GB", knobs=Knobs(micro_batch=64), method="full").plan
    assert (full.batch, full.micro_batch) == (64, 64)


def test_when_no_dry_run_passes_every_candidate_is_refused_and_the_least_need_is_named():
    budget = Budget(memory="1GB")
    choice = plan_for(memory=budget.memory)
    tried, *untried = choice.fitting
    needing = replace(tried, cost=replace(tried.cost, memory_bytes={"train": 1_100_000_000}))
    found = none_fits(
        replace(choice, fitting=untried),
        [Refused(needing, "dry run: it would take 1.10 GB")],
        budget,
        PROFILE.calibration,
    )
    assert found.plan is None
    assert found.fitting == []
    assert len(found.refused) == len(choice.fitting) + len(choice.refused)
    assert found.infeasible.shortfall_bytes == 100_000_000
    for word in ("1.00 GB", tried.name, "1.11GB"):
        assert word in found.infeasible.message


@pytest.mark.parametrize(("memory", "said"), [("1GB", "--memory 1.00 GB"), (None, "this machine")])
def test_where_no_dry_run_said_what_it_needs_the_last_one_is_named(memory, said):
    budget = Budget(memory=memory)
    choice = plan_for(memory=budget.memory)
    last = Refused(choice.fitting[0], "dry run: out of memory")
    found = none_fits(
        Selection(plan=None, infeasible=None, fitting=[], refused=[]), [last], budget, PROFILE.calibration
    ).infeasible
    assert said in found.message
    assert last.plan.name in found.message
    assert last.reason in found.message


def test_a_dry_run_alone_does_not_change_what_is_expected_of_a_plan():
    for plan in plan_for().fitting:
        measured = Measured(
            memory_bytes=plan.cost.memory_bytes, terms={}, seconds_per_token=1e-6, seconds_so_far=30.0,
            epochs=find_method(plan.method).epochs,
        )  # fmt: skip
        assert with_measurements(plan, PROFILE, Budget(), measured).expected == plan.expected


def test_a_user_who_asks_for_few_steps_gets_them():
    choice = plan_for(knobs=Knobs(epochs=0.1), method="full")
    assert choice.plan.steps == 12  # a tenth of 125


@given(memories, times)
def test_neighbours_are_never_chosen_where_gradients_fit(memory, time):
    choice = plan_for(memory, time)
    if any(find_method(plan.method).uses_gradients for plan in choice.fitting):
        assert choice.plan.method != "nno"


def test_adapters_on_codes_are_for_budgets_that_dense_weights_do_not_fit():
    def base_of(memory: int) -> str:
        plan = choose(GENERATING, Budget(memory=memory), Knobs(), "lora").plan
        assert plan is not None
        return plan.base_dtype

    dense, whole, half = (
        choose(GENERATING, Budget(), Knobs(base_dtype=codes, micro_batch=1, rank=4), "lora").plan.cost.memory_bytes
        for codes in (None, "int8", "int4")
    )
    assert base_of(3000 * MB) == "fp32"
    assert dense["train"] - whole["train"] == pytest.approx(3 * 106 * MB, rel=0.05)
    assert whole["train"] - half["train"] == pytest.approx((1 - 4.25 / 8) * 106 * MB, rel=0.05)
    assert dense["save"] == whole["save"] == half["save"], "they are dense when the adapters are merged"


def test_codes_are_named_in_a_plan_and_cost_time():
    dense, codes = (choose(GENERATING, Budget(), Knobs(base_dtype=base), "lora").plan for base in (None, "int4"))
    assert "on int4" in codes.name
    assert "on" not in dense.name.split()
    assert (codes.loaded_dtype, dense.loaded_dtype) == ("fp32", "fp32")
    assert codes.cost.seconds > dense.cost.seconds
    assert codes.expected < dense.expected


def test_steps_begin_at_the_head_that_a_probe_comes_to_and_add_to_it():
    probe = plan_for(2000 * MB, method="probe").plan
    few, more = (plan_for(2000 * MB, knobs=Knobs(epochs=epochs), method="layers").plan for epochs in (0.1, 1.0))
    assert probe.expected < few.expected < more.expected


def test_where_no_head_can_be_fitted_the_first_steps_are_worth_little():
    by_words = replace(PROFILE, traits=replace(PROFILE.traits, needs_gradients=True))
    few, more = (choose(by_words, Budget(), Knobs(epochs=epochs), "full").plan for epochs in (0.1, 1.0))
    assert few.head_rows == more.head_rows == 0
    probe = plan_for(2000 * MB, method="probe").plan
    assert few.expected < probe.expected < more.expected


def test_a_head_is_fitted_to_as_many_rows_as_time_and_memory_allow():
    assert plan_for(method="full").plan.head_rows == plan_for(method="probe").plan.head_rows == PROFILE.rows
    short, long = (plan_for(time=seconds, method="probe").plan for seconds in (60.0, 80.0))
    assert 512 <= short.head_rows < long.head_rows <= PROFILE.rows
    assert short.expected < long.expected
    many = replace(PROFILE, rows=1_000_000, epoch_tokens=40_000_000)
    limited = choose(many, Budget(memory=1000 * MB), Knobs(), "probe").plan
    free = 1000 * MB - limited.cost.memory_bytes["evaluate"]
    assert 4 * PROFILE.model.width * limited.head_rows == pytest.approx(free / 2, rel=0.01)


def test_where_text_is_generated_every_way_begins_at_the_untouched_model():
    plans = [
        plan
        for plan in candidates(GENERATING, Knobs())
        if plan.optimizer == "adamw" and not plan.base_dtype.startswith("int")
    ]
    assert {plan.method for plan in plans} >= {"lora", "layers", "full"}
    assert len({round(_expected(plan, GENERATING), 9) for plan in plans}) == 1


def test_in_a_short_time_cheaper_steps_count_and_in_a_long_one_what_they_lead_to():
    def expected_of(passes: float, method: str, **more: object) -> float:
        rows = GENERATING.rows
        plan = next(p for p in candidates(GENERATING, Knobs(**more), method) if not p.base_dtype.startswith("int"))
        return _expected(replace(plan, steps=round(passes * rows / plan.batch)), GENERATING)

    # adapters make half as many passes again: their steps take no gradient of the weights
    assert expected_of(0.3, "lora", rank=16) > expected_of(0.2, "layers", last_layers=GENERATING.model.blocks)
    assert expected_of(15.0, "lora", rank=16) < expected_of(10.0, "layers", last_layers=GENERATING.model.blocks)


@given(memories, times, st.floats(1, 100))
def test_no_plan_is_refused_for_the_steps_and_judgements_that_it_was_given_itself(memory, time, dearer):
    profile = replace(PROFILE, validation_tokens=round(dearer * PROFILE.validation_tokens))
    for refused in choose(profile, Budget(memory=memory, time=time), Knobs()).refused:
        nothing = replace(refused.plan, steps=0)
        if refused.plan.steps > 0 and seconds_of(nothing, profile) < 0.9 * time:
            assert refused.plan.cost.seconds <= time, refused.reason


def test_where_text_is_generated_few_steps_are_made_of_smaller_batches():
    def plan_within(seconds: float, **knobs: object) -> Plan:
        plan = choose(GENERATING, Budget(time=seconds), Knobs(**knobs), "lora").plan
        assert plan is not None
        return plan

    short, long = plan_within(60.0), plan_within(3000.0)
    assert (short.batch, long.batch) == (8, 16)
    few = GENERATING.traits.few_steps
    assert long.steps >= few
    assert short.steps * 8 < few * 16, "of 16 rows they would have been too few"
    assert plan_within(60.0, batch=16).batch == 16, "who names a batch gets it"


@pytest.mark.parametrize("profile", [PROFILE, GENERATING])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_where_time_is_too_short_what_would_do_is_named(profile, method):
    short = profile.seconds_so_far + 5
    refused = choose(profile, Budget(time=short), Knobs(), method)
    assert refused.plan is None
    words = refused.infeasible.message
    enough = float(re.search(r"give --time (\d+)s", words).group(1))
    assert enough > short
    assert choose(profile, Budget(time=enough), Knobs(), method).plan is not None


def test_where_operations_are_short_no_time_is_named():
    refused = choose(PROFILE, Budget(time="60min", compute=1e9), Knobs(), "full")
    assert refused.plan is None
    assert all("--time" not in entry.reason for entry in refused.refused)
