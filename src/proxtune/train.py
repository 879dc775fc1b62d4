"""Training: one loop that yields records, whatever a step is made of; the best point so far is always on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from proxtune.batches import epoch_batches
from proxtune.errors import Interrupted
from proxtune.evaluate import logits_at_last, score
from proxtune.gradient_steps import gradient_steps
from proxtune.methods import METHODS
from proxtune.neighbour_steps import neighbour_steps
from proxtune.plan import Plan
from proxtune.steps import Record, Training

_LEAST_GAIN = 1e-9
_LOOK_AGAIN = 25  # steps between looks at whether there is time for more, at the most
_SURE = 0.95  # of what seems possible is promised anew


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at `step` of `steps`: linear up for the share `warm_up` of them, then linear down to zero."""
    warm = max(1, round(warm_up * steps))
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def train(plan: Plan, training: Training) -> Iterator[Record]:
    """Train for `plan.steps` steps, fewer or more when the clock says so; yields records of kind step, validation, step_down.

    What begins from something that knows already (`nno`) is judged before its first step too, and never ends worse.
    Raises Interrupted after the best point so far is safe, and MemoryError when no step-down is left and nothing was
    learned yet.
    """
    clock, governor = training.clock, training.governor
    method = METHODS[plan.method]
    take = gradient_steps(plan, training) if method.uses_gradients else neighbour_steps(plan, training)
    batch_count = math.ceil(len(training.train) / plan.batch)
    steps, best, seen, epoch, order = plan.steps, (-1.0, -math.inf), 0, -1, []
    judging_seconds = 0.0
    last_judged = -1
    step_seconds: list[float] = []

    def judge(step: int) -> Record:
        nonlocal best, judging_seconds, last_judged
        began, last_judged = clock.elapsed, step
        found = _judge(plan, training)
        judging_seconds = max(judging_seconds, clock.elapsed - began)
        score = (found["accuracy"], -found["loss"])
        better = score > (best[0] + _LEAST_GAIN, best[1]) or not math.isfinite(best[1])
        if better:
            best = score
            training.keep_best()
        training.phases.enter("train")
        return {"kind": "validation", "step": step, "seconds": round(clock.elapsed, 3), **found, "best": better}

    if not method.uses_gradients:
        yield judge(0)
    step = 0
    while step < steps:
        if step // batch_count != epoch:
            epoch = step // batch_count
            order = epoch_batches(training.train.lengths, plan.batch, training.seed, epoch)
        rows = order[step % batch_count]
        began = clock.elapsed
        try:
            done = take(plan, rows, step, schedule(step, steps, method.warm_up))
        except MemoryError:
            if step == 0:
                raise
            if best[0] < 0:  # not judged yet, but learned: better than nothing
                training.keep_best()
            yield governor.record(plan.name, "the best weights so far", "no smaller step is left", step, clock.elapsed)
            return
        yield from done.step_downs
        plan = done.plan
        step, seen = step + 1, seen + len(rows)
        step_seconds.append(clock.elapsed - began)
        yield {
            "kind": "step",
            "step": step,
            "steps": steps,
            "seconds": round(clock.elapsed, 3),
            "loss": round(done.loss, 6),
            "learning_rate": done.learning_rate,
            "memory_bytes": training.phases.meter.now() + training.phases.others_bytes,
            "examples_seen": seen,
            **done.told,
        }
        mean_seconds = float(np.mean(step_seconds[-50:]))
        fitting = _steps_in_time(step, steps, mean_seconds, judging_seconds, training)
        if fitting != steps:
            yield {"kind": "schedule", "step": step, "seconds": round(clock.elapsed, 2), "from": steps, "to": fitting}
            steps = fitting
        interval = max(1, steps // max(1, training.evaluations - 1))
        stopping = training.interrupted()
        if stopping or step >= steps or (step % interval == 0 and steps - step >= interval // 2):
            yield judge(step)
        if stopping:
            raise Interrupted(f"stopped after {step} of {steps} steps; the best point is kept")
    assert last_judged == step, "the last weights were judged"


def _judge(plan: Plan, training: Training) -> dict[str, float]:
    training.phases.enter("evaluate")
    logits = logits_at_last(
        training.model,
        training.held,
        training.pad_id,
        plan.autocast,
        plan.micro_batch * plan.max_length,
        training.governor,
    )
    return score(logits, training.held.labels)


def _steps_in_time(step: int, steps: int, step_seconds: float, judging_seconds: float, training: Training) -> int:
    """`steps`, or as many as fit the time that is left: the schedule ends earlier or later, and the learning rate with it."""
    limit = training.clock.limit_seconds
    few = min(20, steps // 4)
    if limit is None or (step < few and training.clock.left > limit / 2):  # the first steps are slow, and say little
        return steps
    done = step / max(1, steps)
    judgings = max(1.0, (1 - done) * (training.evaluations - 1) + 0.5)
    spare = training.clock.left - training.ending_seconds - judgings * judging_seconds
    possible = step + max(0, int(spare / max(step_seconds, 1e-6)))
    longer = min(training.most_steps, step + int(_SURE * (possible - step)))
    if longer > steps and done < 0.8 and step % max(1, min(_LOOK_AGAIN, steps // 8)) == 0:
        return longer
    # a small overrun is noise until the end is near
    return steps if possible >= steps or (possible > 0.97 * steps and done < 0.9) else max(step, possible)
