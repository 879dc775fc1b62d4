"""Selection: the best plan that passes a dry run, and every other candidate's fate told once."""

import time
from dataclasses import replace

import pytest
import torch

import proxtune.planning.profiler
import proxtune.planning.selection
from proxtune.config.budget import Budget
from proxtune.config.plan import PHASES
from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import UserError
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.fork import ChildKilled
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.planning.dry_run import DryRun
from proxtune.planning.plan_table import plan_table, refusal
from proxtune.planning.planner import choose
from proxtune.planning.selection import ending_seconds, select_plan
from proxtune.runtime.clock import Clock
from proxtune.runtime.session import Session
from proxtune.runtime.streaming import CANNOT
from support.profiles import MB, PLAN, PROFILE

BUDGET = Budget(memory="1GB", time="20min")


@pytest.fixture
def dry_runs(monkeypatch):
    """The plans that were tried; a plan passes where `needs` says that it takes no more than the budget."""
    tried = []

    def needs(plan):
        return 900 * MB

    def try_plan(plan, session):
        tried.append(plan)
        count = needs_of["now"](plan)
        refused = f"it would take {count}" if count > BUDGET.memory else ""
        return DryRun(
            memory_bytes=dict.fromkeys(PHASES, count), terms={"activations": 0}, seconds_per_token=1e-4, refused=refused,
            trainable=plan.trainable,
        )  # fmt: skip

    needs_of = {"now": needs}
    monkeypatch.setattr(proxtune.planning.selection, "_load_and_dry_run", try_plan)
    monkeypatch.setattr(proxtune.planning.selection, "in_child_process", lambda session, work: work())
    return tried, needs_of


def a_session(emitted=None, knobs=None):
    meter = ProcessMeter()
    return Session(
        recipe=Recipe(data="", out="", budget=BUDGET, knobs=knobs or Knobs()), folder=None, source=None, task=None, data=None,
        device=PROFILE.device, clock=Clock(time.monotonic(), BUDGET.time), governor=Governor(BUDGET.memory, meter),
        phases=Phases(meter, 0), emit=(emitted if emitted is not None else []).append,
    )  # fmt: skip


def settled(emitted=None, knobs=None):
    session = a_session(emitted, knobs)
    choice = choose(PROFILE, BUDGET, knobs or Knobs())
    return choice, select_plan(choice, PROFILE, session), session


def names(rows):
    return [(row["plan"]["name"], row["plan"]["allocator"]) for row in rows]


def test_where_weights_cannot_be_streamed_those_that_are_held_are_tried(dry_runs, monkeypatch):
    tried, _ = dry_runs
    usual = proxtune.planning.selection._load_and_dry_run

    def refusing(plan, session):
        if plan.streamed:
            tried.append(plan)
            raise UserError(CANNOT)
        return usual(plan, session)

    monkeypatch.setattr(proxtune.planning.selection, "_load_and_dry_run", refusing)
    choice = choose(PROFILE, BUDGET, Knobs(), "lora")
    streamed = [replace(plan, streamed=True) for plan in choice.fitting]
    assert len(streamed) > 1
    found = select_plan(replace(choice, fitting=[*streamed, *choice.fitting]), PROFILE, a_session())
    assert [plan.streamed for plan in tried] == [True, False], "once, however many there are"
    assert not found.plan.streamed


def test_the_first_that_passes_is_the_plan_with_measured_costs(dry_runs):
    before, after, _ = settled()
    assert len(dry_runs[0]) == 1
    assert after.plan.name == before.plan.name
    assert after.plan.cost.memory_bytes["train"] == 900 * MB
    assert after.plan.cost.terms["supervisor"] == PROFILE.supervisor_bytes


def test_the_table_tells_every_candidates_fate_once(dry_runs):
    dry_runs[1]["now"] = lambda plan: 1_200 * MB if plan.method == "full" else 900 * MB
    before, after, session = settled()
    assert before.plan.method == "full"
    assert after.plan.method != "full"
    rows = plan_table(after).as_dict()["table"]
    assert [row["status"] for row in rows].count("chosen") == 1
    assert len(set(names(rows))) == len(rows)
    assert {(p.name, p.allocator) for p in before.fitting} <= set(names(rows)) | {
        (p.name, p.allocator) for p in dry_runs[0]
    }
    refused = [row for row in rows if row["status"] == "refused"]
    assert {(p.name, p.allocator) for p in dry_runs[0][:-1]} <= set(names(refused))
    assert all("dry run" in row["reason"] for row in refused if row["plan"]["method"] == "full" and row["plan"]["cost"])
    assert session.governor.step_downs == []


@pytest.mark.parametrize(("rank", "most"), [(None, 300_000), (None, 1), (16, 300_000)])
def test_a_rank_that_trains_more_than_was_counted_gives_way(dry_runs, monkeypatch, rank, most):
    budget = Budget(memory=2000 * MB, trainable=most)
    session = a_session(knobs=Knobs(rank=rank))
    session = replace(session, recipe=replace(session.recipe, budget=budget, method="lora"))
    tried = []

    def try_plan(plan, session):  # a head of 200,000 that the planner does not know of
        tried.append(plan.rank)
        counted = replace(plan, trainable=plan.rank * PROFILE.model.rank_parameters + 200_000)
        refused = f"trains {counted.trainable}" if counted.trainable > most else ""
        return DryRun(
            memory_bytes=dict.fromkeys(PHASES, 900 * MB), terms={"activations": 0}, seconds_per_token=1e-4, refused=refused,
            trainable=counted.trainable,
        )  # fmt: skip

    monkeypatch.setattr(proxtune.planning.selection, "_load_and_dry_run", try_plan)
    plans = choose(PROFILE, Budget(memory=2000 * MB), Knobs(rank=16), "lora")
    after = select_plan(plans, PROFILE, session)
    if rank is None and most == 300_000:
        assert tried == list(range(16, 1, -1))
        assert after.plan.trainable <= most
    else:
        assert after.plan is None
        assert tried == ([16] if rank else list(range(16, 0, -1)))


def test_a_smaller_micro_batch_that_passes_is_told_as_a_step_down(dry_runs):
    dry_runs[1]["now"] = lambda plan: 1_200 * MB if plan.micro_batch > 8 else 900 * MB
    records = []
    _, after, session = settled(records, Knobs(micro_batch=32))
    assert after.plan.micro_batch == 8
    assert [(down.before, down.after) for down in session.governor.step_downs] == [
        ("micro-batch 32", "micro-batch 16"),
        ("micro-batch 16", "micro-batch 8"),
    ]
    assert [bool(record.refused) for record in records if record.kind == "rehearsal"] == [True, True, False]


def test_after_many_refusals_the_one_that_needs_least_is_tried(dry_runs):
    least = min(choose(PROFILE, BUDGET, Knobs()).fitting, key=lambda plan: plan.cost.peak_bytes)
    dry_runs[1]["now"] = lambda plan: 900 * MB if plan.name == least.name else 1_001 * MB
    _, after, _ = settled()
    assert after.plan.name == least.name
    tried = {
        (plan.method, plan.last_layers, plan.dtype, plan.optimizer, plan.allocator, plan.rank) for plan in dry_runs[0]
    }
    assert len(tried) == 5


def test_when_planning_has_taken_long_the_one_that_needs_least_comes_next(dry_runs, monkeypatch):
    least = min(choose(PROFILE, BUDGET, Knobs()).fitting, key=lambda plan: plan.cost.peak_bytes)
    dry_runs[1]["now"] = lambda plan: 900 * MB if plan.name == least.name else 1_001 * MB
    monkeypatch.setattr(Clock, "elapsed", property(lambda clock: 400.0))
    _, after, _ = settled()
    assert after.plan.name == least.name
    assert len({plan.method for plan in dry_runs[0]}) == 2


def test_when_none_passes_the_refusal_names_the_least_that_would_do(dry_runs):
    dry_runs[1]["now"] = lambda plan: 1_300 * MB if plan.method == "full" else 1_050 * MB
    before, after, _ = settled()
    assert after.plan is None
    said = refusal(after).as_dict()
    assert said["status"] == "infeasible"
    assert said["shortfall_bytes"] > 0
    assert len(said["table"]) >= len(before.fitting)
    assert after.infeasible.nearest.cost.peak_bytes == 1_050 * MB
    assert "--memory 1.06GB" in said["message"]


def test_a_plan_that_passes_the_budget_while_it_is_loaded_is_refused(monkeypatch):
    found = DryRun(memory_bytes=dict.fromkeys(PHASES[1:], 900 * MB), seconds_per_token=1e-4)
    monkeypatch.setattr(proxtune.planning.selection, "prepared", lambda plan, session: torch.nn.Linear(2, 2))
    monkeypatch.setattr(proxtune.planning.selection, "dry_run", lambda *given: found)
    monkeypatch.setattr(
        ProcessMeter, "peak", lambda meter: 0
    )  # a phase keeps its largest peak, and tests may have held much
    session = a_session()
    plan = choose(PROFILE, BUDGET, Knobs()).plan
    for loading, refused in ((999 * MB, ""), (1_100 * MB, "loading it would take 1.10 GB")):
        session.phases.memory_bytes["load"] = loading
        assert proxtune.planning.selection._load_and_dry_run(plan, session).refused == refused


def test_what_is_reserved_is_not_spent_on_steps(dry_runs):
    choice = choose(PROFILE, Budget(memory="1GB", time="3min"), Knobs(), "full")
    session = replace(a_session(), clock=Clock(time.monotonic(), 180.0))
    session = replace(session, recipe=replace(session.recipe, budget=Budget(memory="1GB", time="3min")))
    plans = [select_plan(choice, PROFILE, session, reserved).plan for reserved in (0.0, 60.0)]
    assert plans[1].steps < 0.8 * plans[0].steps
    assert plans[1].cost.seconds == pytest.approx(plans[0].cost.seconds, rel=0.05)


def test_measured_terms_count_the_weights_as_the_plan_holds_them(dry_runs):
    _, _, session = settled()
    for plan in choose(PROFILE, BUDGET, Knobs(), "nno").fitting:
        terms = proxtune.planning.selection._with_measured_costs(
            plan, proxtune.planning.selection._load_and_dry_run(plan, session), PROFILE, session, 0.0
        ).cost.terms
        assert terms["weights"] == PROFILE.weights_bytes // (2 if plan.dtype == "bf16" else 1)


def test_a_dry_run_that_was_killed_is_a_refusal(dry_runs, monkeypatch):
    def apart(session, work):
        found = work()
        if dry_runs[0][-1].method == "full":
            raise ChildKilled("killed by SIGSEGV")
        return found

    monkeypatch.setattr(proxtune.planning.selection, "in_child_process", apart)
    _, after, _ = settled()
    assert after.plan.method != "full"
    assert "dry run: killed by SIGSEGV" in {entry.reason for entry in after.refused}


def test_more_time_is_kept_for_the_end_where_the_beginning_was_slow():
    quick, slow = (ending_seconds(PLAN, replace(PROFILE, starting_seconds=seconds)) for seconds in (1.0, 10.0))
    assert 3.0 < quick < 10.0
    assert slow - quick == pytest.approx(9.0)
    assert ending_seconds(PLAN, replace(PROFILE, starting_seconds=1.0, has_size_limit=True)) > quick


@pytest.mark.parametrize(("judgements", "evaluate"), [(1, 900 * MB), (3, 950 * MB)])
def test_judging_beside_the_optimizer_is_promised_where_points_are_judged_in_training(
    dry_runs, monkeypatch, judgements, evaluate
):
    try_plan = proxtune.planning.selection._load_and_dry_run
    monkeypatch.setattr(
        proxtune.planning.selection,
        "_load_and_dry_run",
        lambda *given: replace(try_plan(*given), validation_bytes=950 * MB),
    )
    monkeypatch.setattr(proxtune.planning.selection, "evaluations", lambda plan, profile: judgements)
    _, after, _ = settled()
    assert after.plan.cost.memory_bytes["evaluate"] == evaluate
    assert after.plan.cost.memory_bytes["train"] == 900 * MB
