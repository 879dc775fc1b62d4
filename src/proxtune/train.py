"""Training: one loop that yields records. Gradients, in bites that fit; the best point so far is always on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from proxtune.batches import collate, cut, epoch_batches
from proxtune.clock import Clock
from proxtune.errors import Interrupted
from proxtune.evaluate import logits_at_last, score
from proxtune.memory.govern import Governor, is_refusal
from proxtune.memory.meter import Phases
from proxtune.models import enable_checkpointing
from proxtune.plan import Plan
from proxtune.tasks.classify import Encoded

_WARM_UP = 0.06  # of the steps
_CLIP_NORM = 1.0
_LEAST_GAIN = 1e-9
_LOOK_AGAIN = 25  # steps between looks at whether there is time for more
_SURE = 0.95  # of what seems possible is promised anew
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """All that the loop reads: the prepared model, the data and what guards them."""

    model: Any
    train: Encoded
    held: Encoded
    pad_id: int
    seed: int
    clock: Clock
    ending_seconds: float  # kept free for the last evaluation, saving and the report
    evaluations: int
    most_steps: int  # where the time allows more than was planned
    governor: Governor
    phases: Phases
    keep_best: Callable[[], None]  # writes the trainable weights, durably
    interrupted: Callable[[], bool]


def gradient_of(model: Any, data: Encoded, rows: np.ndarray, plan: Plan, pad_id: int) -> float:
    """Add the gradient of the mean loss over `rows` to the parameters, micro-batch by micro-batch; returns the loss.

    The sum over micro-batches divided by the rows of the whole batch: the same number however the batch is cut.
    """
    device = next(model.parameters()).device
    total = 0.0
    for piece in cut(rows, data.lengths, plan.micro_batch * plan.max_length):
        ids, mask = collate(data, piece, pad_id)
        labels = torch.from_numpy(data.labels[piece]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.dtype == "bf16"):
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum") / len(rows)
        loss.backward()
        total += loss.item()
    return total


def governed_gradient_of(
    model: Any, data: Encoded, rows: np.ndarray, plan: Plan, pad_id: int, governor: Governor
) -> float:
    """`gradient_of` under the limit, which is set anew where address space and not memory has run out.

    Raises what a refused allocation raises (`is_refusal`); the parameters have no gradient then.
    """
    governor.renew()
    while True:
        try:
            return gradient_of(model, data, rows, plan, pad_id)
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            model.zero_grad(set_to_none=True)
            if not governor.renew():
                raise


def warm_up(model: Any, data: Encoded, plan: Plan, pad_id: int, phases: Phases) -> None:
    """Compute the shortest row's gradient and throw it away, so that the kernels' code (90 MB of it) is in memory."""
    model.train()
    gradient_of(model, data, np.asarray([int(np.argmin(data.lengths))]), plan, pad_id)
    model.zero_grad(set_to_none=True)
    phases.meter.give_back()


def make_optimizer(model: Any, plan: Plan) -> Any:
    """AdamW (fused), or Adafactor with its factored state; biases and norms are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if plan.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=plan.learning_rate * 10, foreach=False)
    assert plan.optimizer == "adamw", plan.optimizer
    return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)


def update(model: Any, optimizer: Any) -> None:
    """One step of the optimizer on the gradient that is there, its norm clipped; the gradient is gone afterwards."""
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], _CLIP_NORM, foreach=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def schedule(step: int, steps: int) -> float:
    """Share of the learning rate at `step` of `steps`: linear up for 6 %, then linear down to zero."""
    warm = max(1, round(_WARM_UP * steps))
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def train(plan: Plan, training: Training) -> Iterator[Record]:
    """Train for `plan.steps` steps, fewer or more when the clock says so; yields records of kind step, validation, step_down.

    Raises Interrupted after the best point so far is safe, and MemoryError when no step-down is left and nothing was
    learned yet.
    """
    model, clock, governor = training.model, training.clock, training.governor
    warm_up(model, training.train, plan, training.pad_id, training.phases)
    governor.hold()
    optimizer = make_optimizer(model, plan)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    batch_count = math.ceil(len(training.train) / plan.batch)
    steps, best, seen, epoch, order = plan.steps, (-1.0, -math.inf), 0, -1, []
    judging_seconds = 0.0
    last_judged = -1
    step_seconds: list[float] = []
    step = 0
    while step < steps:
        if step // batch_count != epoch:
            epoch = step // batch_count
            order = epoch_batches(training.train.lengths, plan.batch, training.seed, epoch)
        rows = order[step % batch_count]
        began = clock.elapsed
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * schedule(step, steps)
        model.train()
        try:
            plan, loss, changes = _gradient_in_bites(plan, training, rows, step)
        except MemoryError:
            if step == 0:
                raise
            if best[0] < 0:  # not judged yet, but learned: better than nothing
                model.zero_grad(set_to_none=True)
                training.keep_best()
            yield governor.record(plan.name, "the best weights so far", "no smaller step is left", step, clock.elapsed)
            return
        yield from changes
        update(model, optimizer)
        step, seen = step + 1, seen + len(rows)
        step_seconds.append(clock.elapsed - began)
        yield {
            "kind": "step",
            "step": step,
            "steps": steps,
            "seconds": round(clock.elapsed, 3),
            "loss": round(loss, 6),
            "learning_rate": optimizer.param_groups[0]["lr"],
            "memory_bytes": training.phases.meter.now() + training.phases.others_bytes,
            "examples_seen": seen,
        }
        mean_seconds = float(np.mean(step_seconds[-50:]))
        fitting = _steps_in_time(step, steps, mean_seconds, judging_seconds, training)
        if fitting != steps:
            yield {"kind": "schedule", "step": step, "seconds": round(clock.elapsed, 2), "from": steps, "to": fitting}
            steps = fitting
        interval = max(1, steps // max(1, training.evaluations - 1))
        stopping = training.interrupted()
        if stopping or step >= steps or (step % interval == 0 and steps - step >= interval // 2):
            began = clock.elapsed
            found, last_judged = _judge(plan, training), step
            judging_seconds = max(judging_seconds, clock.elapsed - began)
            better = (found["accuracy"], -found["loss"]) > (best[0] + _LEAST_GAIN, best[1]) or not math.isfinite(
                best[1]
            )
            if better:
                best = (found["accuracy"], -found["loss"])
                training.keep_best()
            yield {"kind": "validation", "step": step, "seconds": round(clock.elapsed, 3), **found, "best": better}
            training.phases.enter("train")
        if stopping:
            raise Interrupted(f"stopped after {step} of {steps} steps; the best point is kept")
    assert last_judged == step, "the last weights were judged"


def _judge(plan: Plan, training: Training) -> dict[str, float]:
    training.phases.enter("evaluate")
    logits = logits_at_last(
        training.model,
        training.held,
        training.pad_id,
        plan.dtype,
        plan.micro_batch * plan.max_length,
        training.governor,
    )
    return score(logits, training.held.labels)


def _steps_in_time(step: int, steps: int, step_seconds: float, judging_seconds: float, training: Training) -> int:
    """`steps`, or as many as fit the time that is left: the schedule ends earlier or later, and the learning rate with it."""
    limit = training.clock.limit_seconds
    if limit is None or (step < 20 and training.clock.left > limit / 2):  # the first steps are slow, and say little
        return steps
    done = step / max(1, steps)
    judgings = max(1.0, (1 - done) * (training.evaluations - 1) + 0.5)
    spare = training.clock.left - training.ending_seconds - judgings * judging_seconds
    possible = step + max(0, int(spare / max(step_seconds, 1e-6)))
    longer = min(training.most_steps, step + int(_SURE * (possible - step)))
    if longer > steps and done < 0.8 and step % _LOOK_AGAIN == 0:
        return longer
    # a small overrun is noise until the end is near
    return steps if possible >= steps or (possible > 0.97 * steps and done < 0.9) else max(step, possible)


def _gradient_in_bites(plan: Plan, training: Training, rows: np.ndarray, step: int) -> tuple[Plan, float, list[Record]]:
    """The gradient of a batch; the same batch again in smaller bites when memory is refused or nearly so."""
    changes: list[Record] = []
    governor, meter = training.governor, training.phases.meter
    if governor.is_crowded():
        meter.give_back()
        if governor.is_crowded() and plan.micro_batch > 1:
            halved = plan.with_micro_batch(plan.micro_batch // 2)
            why = "close to the budget"
            changes.append(governor.record(bite(plan), bite(halved), why, step, training.clock.elapsed))
            plan = halved
    while True:
        try:
            loss = governed_gradient_of(training.model, training.train, rows, plan, training.pad_id, governor)
            return plan, loss, changes
        except (RuntimeError, MemoryError) as error:
            if not is_refusal(error):
                raise
            why = reason(error)
        meter.give_back()
        smaller = step_down(plan, training.model)
        if smaller is None:
            raise MemoryError("a step of one row does not fit in the memory budget")
        changes.append(governor.record(bite(plan), bite(smaller), why, step, training.clock.elapsed))
        plan = smaller


def reason(error: BaseException) -> str:
    """The first line of what an error says; Python's own MemoryError says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def bite(plan: Plan) -> str:
    """How much a plan computes at a time, in words."""
    return f"micro-batch {plan.micro_batch}" + (" with checkpointing" if plan.checkpointing else "")


def step_down(plan: Plan, model: Any) -> Plan | None:
    """The next smaller step: half the micro-batch, then checkpointing; None when both are spent."""
    if plan.micro_batch > 1:
        return plan.with_micro_batch(plan.micro_batch // 2)
    if not plan.checkpointing and enable_checkpointing(model):
        return replace(plan, checkpointing=True)
    return None
