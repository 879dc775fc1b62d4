"""Steps by neighbours: NNO under the governor. The memory of a forward pass, and a record of a few bytes for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from proxtune.config.plan import Plan
from proxtune.data.batching import cut, model_inputs
from proxtune.data.dataset import Encoded
from proxtune.models.introspection import blocks_of
from proxtune.models.prefix_cache import hidden_at_block, starting_from_hidden
from proxtune.optim.nno import NNO, Objective
from proxtune.optim.step_record import StepRecord
from proxtune.runtime.inference import touch_embeddings, warm_up_forward
from proxtune.training.context import StepMaker, StepResult, Training
from proxtune.training.left_out_rows import with_rows_that_fit
from proxtune.training.memory_retry import NothingSmaller, faulty_rows, run_within_limit


def cross_entropy(logits: Any, batch: dict[str, Any]) -> Any:
    """The weighted loss of a point's logits (rows, classes)."""
    losses = torch.nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="none")
    return (losses * batch["weights"]).sum()


def stratified_weights(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Weights of a batch's rows, (rows,) float32, that sum to one: each label counts as it does in all `labels`.

    Few rows rarely have the labels' shares, and which they have is nearly half of what one batch says otherwise than the next.
    """
    share = np.bincount(labels) / len(labels)
    here = np.bincount(labels[rows], minlength=len(share)) / len(rows)
    weights = share[labels[rows]] / here[labels[rows]]
    return (weights / weights.sum()).astype(np.float32)


def neighbour_step_maker(plan: Plan, training: Training) -> StepMaker:
    """Kernels in memory, the limit set: what makes the steps of `nno`. They tune their own sizes."""
    model, data, governor = training.model.eval(), training.train, training.governor
    warm_up_forward(model, data, training.pad_id, plan.autocast, governor)
    touch_embeddings(model, data, training.validation)
    governor.hold()
    search = NNO(model, neighbours=plan.neighbours, seed=training.seed)

    def make_step(plan: Plan, rows: np.ndarray, number: int, share: float) -> StepResult:
        def step(plan: Plan, rows: np.ndarray) -> StepRecord:
            return run_within_limit(
                lambda: nno_step(search, plan, data, rows, training.pad_id, number, share), governor
            )

        def attempt(plan: Plan, rows: np.ndarray) -> None:
            run_within_limit(lambda: _is_finite(model, data, rows, plan, training.pad_id), governor)

        plan, record, changes, left_out = with_rows_that_fit(
            plan,
            training,
            number,
            rows,
            step,
            attempt,
            lambda plan: plan.with_micro_batch(plan.micro_batch // 2) if plan.micro_batch > 1 else None,
        )
        if record is None:  # each step has its record: what is done again counts them
            raise NothingSmaller(plan, changes, "all its rows were left out", "all of its batch")
        training.checkpointer.record_step(record)
        faulty = None
        if record.rule == "rejected":
            thread, now = governor.thread, plan
            faulty = faulty_rows(
                rows, lambda rows: thread.run(lambda: _is_finite(model, data, rows, now, training.pad_id))
            )
        return StepResult(
            plan=plan, loss=record.centre, learning_rate=record.rate, step_downs=changes, rule=record.rule,
            spread=record.spread, rejected=faulty, left_out=left_out,
        )  # fmt: skip

    return StepMaker(make_step, replay=search.again)


def _is_finite(model: Any, data: Encoded, rows: np.ndarray, plan: Plan, pad_id: int) -> bool:
    """Whether the logits of these rows are finite at θ."""
    pieces = cut(rows, data.lengths, plan.micro_batch * plan.max_length)
    device = next(model.parameters()).device
    with torch.inference_mode():
        for piece in pieces:
            inputs = {name: part.to(device) for name, part in model_inputs(data, piece, pad_id).items()}
            if not bool(model(**inputs).logits.isfinite().all()):
                return False
    return True


def nno_step(
    search: NNO,
    plan: Plan,
    data: Encoded,
    rows: np.ndarray,
    pad_id: int,
    number: int = 0,
    share: float = 1.0,
    objective: Objective = cross_entropy,
) -> StepRecord:
    """A step of `search` on `rows`, with at most `plan.micro_batch` rows in a forward pass, through the shared blocks once.

    Raises what a refused allocation raises; nothing has moved then (the update takes less than the look before it).
    """
    model, blocks = search.model, blocks_of(search.model)[1]
    first, tokens = len(blocks) - plan.last_layers, plan.micro_batch * plan.max_length
    device = next(model.parameters()).device
    inputs = {name: part.to(device) for name, part in model_inputs(data, rows, pad_id).items()}
    labels = torch.from_numpy(data.labels[rows])
    weights = torch.from_numpy(stratified_weights(data.labels, rows))
    batch = {**inputs, "labels": labels.to(device), "weights": weights.to(device)}

    def logits(batch: dict[str, Any]) -> Any:
        with starting_from_hidden(batch.get("hidden"), blocks, first):
            return model(**{name: batch[name] for name in inputs}).logits

    with torch.inference_mode():
        shared = _in_pieces(lambda batch: hidden_at_block(blocks, first, lambda: logits(batch)), batch, tokens)
    if shared is not None:
        batch["hidden"] = shared  # (rows, length, width)
    search.at_a_time = max(1, plan.micro_batch // len(rows))  # points; as many for short rows: few shapes, few kernels
    return search.step(batch, lambda batch: _in_pieces(logits, batch, tokens), objective, number, share)


def _in_pieces(compute: Callable[[dict[str, Any]], Any], batch: dict[str, Any], tokens: int) -> Any:
    """What `compute` makes of the batch's rows, at most so many tokens and at least one row at a time; None if it gives None."""
    pieces = -(-batch["input_ids"].numel() // tokens)
    each = zip(*(tensor.chunk(pieces) for tensor in batch.values()), strict=True)
    made = [compute(dict(zip(batch, few, strict=True))) for few in each]
    return None if made[0] is None else torch.cat(made)
