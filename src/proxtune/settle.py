"""Settle the plan: survey, let the planner choose, and rehearse its choices until one fits for real."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from proxtune.budget import format_bytes
from proxtune.cost import Survey, Trace, converted_bytes, evaluations, weight_bytes_of
from proxtune.errors import PersonError
from proxtune.feasible.held import HALF_BITS
from proxtune.memory.code import unload_cold_code
from proxtune.methods import METHODS
from proxtune.models import count_parameters, weight_bytes
from proxtune.plan import Infeasible, Plan, Refused, plan_as_dict, plan_from_dict
from proxtune.planner import Choice, none_fits, rehearsed
from proxtune.recipe import DEFAULT_BATCH
from proxtune.rehearse import rehearse
from proxtune.session import Record, Session, apart, prepared
from proxtune.steps import bite
from proxtune.survey import find_out, may_hold_bf16, padded_tokens

_ENDING_SECONDS, _STARTS = 2.0, 2.0  # baselines and report, whose processes begin as this one did; twice what was seen
_PACKING_SECONDS = 7.0
_MANY_REFUSED = 4  # candidates; then only what needs least is tried
_LONG_PLANNING = 0.25  # of the time; likewise
_LOOK_BYTES = 60_000_000  # code and scratch of a first look, at the least


def survey_of(session: Session) -> Survey:
    """What the planner needs to know.

    Little of it when the model alone passes the memory budget; and in bf16 alone when it does so in fp32: `nno` learns there.
    """
    recipe, task, meter, others = session.recipe, session.task, session.meter, session.phases.others_bytes
    starting_seconds = session.clock.elapsed
    meter.give_back()
    unload_cold_code()
    libraries = meter.now()
    weight_dtype, gradients = _what_to_survey(session, libraries)
    found = find_out(session, gradients, weight_dtype)
    facts = found["facts"]
    looked = libraries + facts["parameters"] * (2 if weight_dtype == "bf16" else 4)
    return Survey(
        **facts,
        supervisor_bytes=others,
        libraries_bytes=libraries,
        import_peak_bytes=meter.peak(),
        weights_bytes=4 * facts["parameters"],
        rows=len(task.train),
        validation_rows=len(task.held),
        epoch_tokens=padded_tokens(task.train.lengths, recipe.knobs.batch or DEFAULT_BATCH, recipe.seed),
        validation_tokens=padded_tokens(task.held.lengths, DEFAULT_BATCH, recipe.seed),
        max_length=task.max_length,
        code_bytes=max(0, found["looked_bytes"] - looked),
        traces={key: Trace(**value) for key, value in found["traces"].items()},
        flops_per_second=found["flops_per_second"],
        seconds_so_far=session.clock.elapsed + _reports_seconds(starting_seconds),
        starting_seconds=starting_seconds,
        file_bytes=weight_bytes(session.source.folder),
        held=session.structure is not None and session.structure.bits < HALF_BITS,
        generates=task.generates,
        device=session.device.type,
    )


def _what_to_survey(session: Session, libraries_bytes: int) -> tuple[str, bool]:
    """The dtype in which the survey may hold the weights, and whether there is room for more than a look at them.

    A survey is not held to the budget, so it must not try what would pass it.
    """
    memory, others, peak = session.recipe.budget.memory, session.phases.others_bytes, session.meter.peak()
    if memory is None:
        return "fp32", True
    numbers, file_bytes = count_parameters(session.source.folder), weight_bytes(session.source.folder)

    def fits(weights_bytes: int) -> bool:
        loaded = weights_bytes + converted_bytes(file_bytes, weights_bytes)
        return others + max(libraries_bytes + loaded + _LOOK_BYTES, peak) <= memory

    if fits(4 * numbers):
        return "fp32", True
    if session.task.generates:  # what adapters sit on is held in bf16; the least that would do is named from this
        return ("bf16", True) if may_hold_bf16(session) else ("fp32", True)
    large = 4 * numbers > 2 * libraries_bytes  # then bf16 is what needs least, and else a probe in fp32
    return "bf16" if may_hold_bf16(session) and (fits(2 * numbers) or large) else "fp32", False


def settle(choice: Choice, survey: Survey, session: Session) -> Choice:
    """The choice with the best plan that fits for real, its costs measured; without a plan when none does.

    Candidates are rehearsed best first, each in smaller and smaller micro-batches. When that has gone on for long, the one
    that needs least is the last to be tried.
    """
    governor, clock = session.governor, session.clock
    refused: list[Refused] = []
    untried = list(choice.fitting)
    many = len(untried) - _MANY_REFUSED
    last = False
    while untried and not last:
        late = clock.limit_seconds is not None and clock.elapsed > _LONG_PLANNING * clock.limit_seconds
        last = bool(refused) and (len(untried) <= many or late)
        candidate = min(untried, key=lambda plan: plan.cost.peak_bytes) if last else untried[0]
        untried.remove(candidate)
        plan: Plan | None = candidate
        changes: list[tuple[str, str, str, float]] = []
        while plan is not None:
            found = _rehearsed(plan, session)
            session.emit(
                {
                    "kind": "rehearsal", "plan": plan.name, "allocator": plan.allocator, "refused": found["refused"],
                    "seconds": clock.elapsed, "memory_bytes": found["memory_bytes"], "terms": found["terms"],
                }
            )  # fmt: skip
            if not found["refused"]:
                for change in changes:
                    governor.record(*change[:3], 0, change[3])
                settled = _with_measured_costs(found, survey, session)
                return Choice(settled, None, [settled, *untried], refused + choice.refused)
            refused.append(Refused(_needing(plan, found), f"rehearsed: {found['refused']}"))
            if _trains_too_much(found, session):
                plan = (
                    replace(plan, rank=plan.rank - 1) if plan.rank > 1 and session.recipe.knobs.rank is None else None
                )
                continue
            no_other = survey.device == "cpu" and (last or not untried)
            smaller = smaller_plan(plan, found, session.recipe.budget.memory, no_other)
            if smaller is not None:
                changes.append((bite(plan), bite(smaller), found["refused"], clock.elapsed))
            plan = smaller
    return none_fits(replace(choice, fitting=untried), refused, session.recipe.budget)


def _trains_too_much(found: Record, session: Session) -> bool:
    """Whether a rehearsal counted more parameters than may be trained; the planner does not know each model's head."""
    most = session.recipe.budget.trainable
    return most is not None and "plan" in found and found["plan"]["trainable"] > most


def smaller_plan(plan: Plan, found: Record, memory_bytes: int | None, no_other: bool = False) -> Plan | None:
    """The plan in half the micro-batch, or in less where the rehearsal came so far as to say how much its activations take.

    When there is nothing to halve, or a single row would be too much still, None; but where there is `no_other` candidate first
    the same with the allocator that holds less.
    """
    activations, needs = found["terms"].get("activations", 0), max(found["memory_bytes"].values())
    excess = needs - memory_bytes if memory_bytes is not None and activations else 0
    micro_batch = plan.micro_batch // 2
    while micro_batch > 1 and activations * (1 - micro_batch / plan.micro_batch) < excess:
        micro_batch //= 2
    if micro_batch < 1 or activations * (1 - micro_batch / plan.micro_batch) < excess:
        can_hold_less = no_other and plan.allocator == "fast"
        return replace(plan, allocator="tight") if can_hold_less else None
    return plan.with_micro_batch(micro_batch)


def _needing(plan: Plan, found: Record) -> Plan:
    """The plan with what its rehearsal showed that it needs, where it came so far as to show it."""
    if not found["memory_bytes"].get("train"):
        return plan
    return replace(plan, cost=replace(plan.cost, memory_bytes=plan.cost.memory_bytes | found["memory_bytes"]))


def _with_measured_costs(found: Record, survey: Survey, session: Session) -> Plan:
    plan = plan_from_dict(found["plan"])
    terms = {
        "supervisor": survey.supervisor_bytes, "libraries": survey.libraries_bytes,
        "weights": weight_bytes_of(plan, survey), **found["terms"],
    }  # fmt: skip
    elapsed = session.clock.elapsed
    measured = {
        "memory_bytes": found["memory_bytes"],
        "terms": terms,
        "seconds_per_token": found["seconds_per_token"],
        "seconds_so_far": elapsed + _reports_seconds(survey.starting_seconds),
        "epochs": session.recipe.knobs.epochs or METHODS[plan.method].epochs,
    }
    settled = rehearsed(plan, survey, session.recipe.budget, measured)
    if evaluations(settled, survey) > 1:
        evaluate = max(found["memory_bytes"]["evaluate"], found["judging_bytes"])
        memory = found["memory_bytes"] | {"evaluate": evaluate}
        settled = replace(settled, cost=replace(settled.cost, memory_bytes=memory))
    if METHODS[plan.method].makes_steps and settled.steps < 1:
        raise PersonError(
            f"--time is too short: {elapsed:.0f} s went into planning and nothing is left to learn; give more"
        )
    return settled


def _rehearsed(plan: Plan, session: Session) -> Record:
    """A rehearsal apart from this process; one that was killed is a refusal."""
    from proxtune.memory.trace import ChildKilled

    try:
        return apart(session, partial(_rehearse, plan, session))
    except ChildKilled as error:
        return {"refused": str(error), "memory_bytes": {"load": 0}, "terms": {}}


def _rehearse(plan: Plan, session: Session) -> Record:
    """Load, prepare and rehearse; what was measured, as plain values."""
    phases = session.phases
    libraries = session.meter.now()
    phases.enter("load")
    model = prepared(plan, session)
    phases.leave()
    plan = replace(plan, trainable=sum(p.numel() for p in model.parameters() if p.requires_grad))
    loading, room = phases.memory_bytes["load"], session.recipe.budget.memory
    most = session.recipe.budget.trainable
    if most is not None and plan.trainable > most:
        refused = f"trains {plan.trainable:,} parameters, --trainable allows {most:,}"
        return {"plan": plan_as_dict(plan), "memory_bytes": {"load": loading}, "terms": {}, "refused": refused}
    found = rehearse(plan, model, session, libraries)
    refused = found.refused
    if room is not None and loading > room:
        refused = refused or f"loading it would take {format_bytes(loading)}"
    return {
        "plan": plan_as_dict(plan), "memory_bytes": {"load": loading, **found.memory_bytes},
        "terms": found.terms, "seconds_per_token": found.seconds_per_token, "refused": refused,
        "judging_bytes": found.judging_bytes,
    }  # fmt: skip


def ending_seconds(survey: Survey) -> float:
    """Seconds to keep free after the last step: judging and saving the best, baselines, report."""
    packing = _PACKING_SECONDS if survey.held else 0.0
    return _reports_seconds(survey.starting_seconds) + packing + 2.5e-4 * survey.rows + survey.weights_bytes / 2e8


def _reports_seconds(starting_seconds: float) -> float:
    return _ENDING_SECONDS + _STARTS * starting_seconds


def promised(plan: Plan) -> Record:
    """What a result says of the costs that were predicted."""
    return {
        "memory_bytes": plan.cost.memory_bytes, "seconds": plan.cost.seconds, "flops": plan.cost.flops,
        "terms": plan.cost.terms,
    }  # fmt: skip


def plan_table(choice: Choice) -> Record:
    """The chosen plan and every candidate's fate, best first."""
    assert choice.plan is not None
    plan = plan_as_dict(choice.plan)
    rows: list[Record] = [{"plan": plan, "status": "chosen", "reason": "the best expected result that fits"}]
    rows += [
        {"plan": plan_as_dict(p), "status": "fits", "reason": "fits, but less is expected of it"}
        for p in choice.fitting[1:]
    ]
    rows += _refusals(choice)
    return {"chosen": plan, "table": rows}


def refusal(choice: Choice) -> Record:
    """What the person is told when nothing fits: the nearest plan, the shortfall, and why each candidate was refused."""
    infeasible: Infeasible | None = choice.infeasible
    assert infeasible is not None
    return {
        "status": "infeasible",
        "message": infeasible.message,
        "shortfall_bytes": infeasible.shortfall_bytes,
        "shortfall_seconds": infeasible.shortfall_seconds,
        "nearest": plan_as_dict(infeasible.nearest),
        "table": _refusals(choice),
    }


def _refusals(choice: Choice) -> list[dict[str, Any]]:
    return [{"plan": plan_as_dict(r.plan), "status": "refused", "reason": r.reason} for r in choice.refused]
