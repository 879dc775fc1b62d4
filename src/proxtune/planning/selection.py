"""Select the plan: try the planner's choices in dry runs, best first, until one fits for real."""

from __future__ import annotations

from dataclasses import replace

from proxtune.config.budget import format_bytes
from proxtune.config.plan import Plan, Refused
from proxtune.errors import UserError
from proxtune.memory.allocator import TIGHT
from proxtune.methods.registry import find_method
from proxtune.planning.cost_model import WIDTHS, evaluations, reports_seconds, weight_bytes_of
from proxtune.planning.dry_run import DryRun, dry_run
from proxtune.planning.planner import Measured, Selection, least_time, none_fits, with_measurements
from proxtune.planning.profile import Profile
from proxtune.runtime.model_setup import prepared
from proxtune.runtime.session import Session, in_child_process
from proxtune.runtime.streaming import CANNOT
from proxtune.storage.events import DryRunDone
from proxtune.training.memory_retry import micro_batch_label

_MANY_REFUSED = 4  # candidates; then only what needs least is tried
_LONG_PLANNING = 0.25  # of the time; likewise


def select_plan(choice: Selection, profile: Profile, session: Session, reserved_seconds: float = 0.0) -> Selection:
    """The choice with the best plan that fits for real, its costs measured; without a plan when none does.

    `reserved_seconds` are for what comes before training.

    Candidates are tried best first, each in smaller and smaller micro-batches. When that has gone on for long, the one
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
            found = _dry_run_in_child(plan, session)
            session.emit(
                DryRunDone(
                    plan=plan.name, allocator=plan.allocator, refused=found.refused, seconds=clock.elapsed,
                    memory_bytes=found.memory_bytes, terms=found.terms,
                )
            )  # fmt: skip
            if not found.refused:
                for before, after, why, seconds in changes:
                    governor.record(before, after, why, 0, seconds)
                measured_plan = _with_measured_costs(plan, found, profile, session, reserved_seconds)
                return Selection(
                    plan=measured_plan,
                    infeasible=None,
                    fitting=[measured_plan, *untried],
                    refused=refused + choice.refused,
                )
            refused.append(Refused(_needing(plan, found), f"dry run: {found.refused}"))
            if found.refused == CANNOT:  # in no way: the weights have to be held
                untried = [each for each in untried if not each.streamed]
                break
            if _trains_too_much(found, session):
                plan = (
                    replace(plan, rank=plan.rank - 1) if plan.rank > 1 and session.recipe.knobs.rank is None else None
                )
                continue
            no_other = TIGHT in profile.device.allocators and (last or not untried)
            smaller = smaller_plan(plan, found, session.recipe.budget.memory, no_other)
            if smaller is not None:
                changes.append((micro_batch_label(plan), micro_batch_label(smaller), found.refused, clock.elapsed))
            plan = smaller
    return none_fits(replace(choice, fitting=untried), refused, session.recipe.budget, profile.calibration)


def _trains_too_much(found: DryRun, session: Session) -> bool:
    """Whether a dry run counted more parameters than may be trained; the planner does not know each model's head."""
    most = session.recipe.budget.trainable
    return most is not None and found.trainable is not None and found.trainable > most


def smaller_plan(plan: Plan, found: DryRun, memory_bytes: int | None, no_other: bool = False) -> Plan | None:
    """The plan in half the micro-batch, or in less where the dry run came so far as to say how much its activations take.

    When there is nothing to halve, or a single row would be too much still, None; but where there is `no_other` candidate first
    the same with the allocator that holds less.
    """
    activations, needs = found.terms.get("activations", 0), max(found.memory_bytes.values())
    excess = needs - memory_bytes if memory_bytes is not None and activations else 0
    micro_batch = plan.micro_batch // 2
    while micro_batch > 1 and activations * (1 - micro_batch / plan.micro_batch) < excess:
        micro_batch //= 2
    if micro_batch < 1 or activations * (1 - micro_batch / plan.micro_batch) < excess:
        can_hold_less = no_other and plan.allocator != TIGHT
        return replace(plan, allocator=TIGHT) if can_hold_less else None
    return plan.with_micro_batch(micro_batch)


def _needing(plan: Plan, found: DryRun) -> Plan:
    """The plan with what its dry run showed that it needs, where it came so far as to show it."""
    if not found.memory_bytes.get("train"):
        return plan
    return replace(plan, cost=replace(plan.cost, memory_bytes={**plan.cost.memory_bytes, **found.memory_bytes}))


def _with_measured_costs(
    plan: Plan, found: DryRun, profile: Profile, session: Session, reserved_seconds: float
) -> Plan:
    assert found.trainable is not None, "a plan that fits was counted"
    plan = replace(plan, trainable=found.trainable)
    method, elapsed = find_method(plan.method), session.clock.elapsed
    measured = Measured(
        memory_bytes=dict(found.memory_bytes),
        terms={
            "supervisor": profile.supervisor_bytes, "libraries": profile.libraries_bytes,
            "weights": weight_bytes_of(plan, profile), **found.terms,
        },
        seconds_per_token=found.seconds_per_token,
        seconds_so_far=elapsed + reserved_seconds + reports_seconds(profile.starting_seconds, profile.calibration),
        epochs=session.recipe.knobs.epochs or method.epochs,
    )  # fmt: skip
    measured_plan = with_measurements(plan, profile, session.recipe.budget, measured)
    if evaluations(measured_plan, profile) > 1:
        evaluate = max(found.memory_bytes["evaluate"], found.validation_bytes)
        memory = {**found.memory_bytes, "evaluate": evaluate}
        measured_plan = replace(measured_plan, cost=replace(measured_plan.cost, memory_bytes=memory))
    if method.makes_steps and measured_plan.steps < 1:
        step_seconds = found.seconds_per_token * profile.epoch_tokens * plan.batch / profile.rows
        enough = least_time(measured_plan.cost.seconds + method.least_steps * step_seconds)
        raise UserError(
            f"--time is too short: {elapsed:.0f} s went into planning and no time is left for training; give --time {enough}"
        )
    return measured_plan


def _dry_run_in_child(plan: Plan, session: Session) -> DryRun:
    """A dry run apart from this process; one that was killed is a refusal."""
    from proxtune.memory.fork import ChildKilled

    try:
        return DryRun.from_dict(in_child_process(session, lambda: _load_and_dry_run(plan, session).as_dict()))
    except UserError as error:
        if str(error) != CANNOT:
            raise
        return DryRun(refused=CANNOT, memory_bytes={"load": 0})
    except ChildKilled as error:
        return DryRun(refused=str(error), memory_bytes={"load": 0})


def _load_and_dry_run(plan: Plan, session: Session) -> DryRun:
    """Load, prepare and try; what was measured, the phase `load` included."""
    phases = session.phases
    libraries = session.meter.now()
    phases.enter("load")
    model = prepared(plan, session)
    phases.leave()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    loading, room = phases.memory_bytes["load"], session.recipe.budget.memory
    most = session.recipe.budget.trainable
    if most is not None and trainable > most:
        refused = f"trains {trainable:,} parameters, --trainable allows {most:,}"
        return DryRun(memory_bytes={"load": loading}, refused=refused, trainable=trainable)
    found = dry_run(replace(plan, trainable=trainable), model, session, libraries)
    refused = found.refused
    if room is not None and loading > room:
        refused = refused or f"loading it would take {format_bytes(loading)}"
    return replace(found, memory_bytes={"load": loading, **found.memory_bytes}, refused=refused, trainable=trainable)


def ending_seconds(plan: Plan, profile: Profile) -> float:
    """Seconds to keep free after the last step beside the evaluation of the result: saving it, baselines, report."""
    calibration = profile.calibration
    packing = calibration.packing_seconds if profile.has_size_limit else 0.0
    saving = profile.weights_bytes * WIDTHS[plan.loaded_dtype] / 4 / calibration.disk_bytes_per_second
    rows = calibration.row_ending_seconds * profile.rows if profile.classes else 0.0  # whose words are counted
    return reports_seconds(profile.starting_seconds, calibration) + packing + rows + saving
