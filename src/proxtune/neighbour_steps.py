"""Steps by neighbours: NNO under the governor. The memory of a forward pass, and a record of a few bytes for each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from proxtune.batches import collate
from proxtune.evaluate import first_look, read_embeddings
from proxtune.optim.nno import NNO, Forward
from proxtune.optim.record import StepRecord
from proxtune.plan import Plan
from proxtune.steps import Step, Stepped, Training, governed, in_bites
from proxtune.tasks.classify import Encoded


def neighbour_steps(plan: Plan, training: Training) -> Step:
    """Kernels in memory, the limit set: what makes the steps of `nno`. They tune their own sizes and ask for no schedule."""
    model, data, governor = training.model.eval(), training.train, training.governor
    first_look(model, data, training.pad_id, plan.autocast, governor)
    read_embeddings(model, data, training.held)
    governor.hold()
    search = NNO(model, neighbours=plan.neighbours, seed=training.seed)

    def step(plan: Plan, rows: np.ndarray, number: int, share: float) -> Stepped:
        plan, record, changes = in_bites(
            plan,
            training,
            number,
            lambda plan: governed(lambda: look(search, plan, data, rows, training.pad_id, number), governor),
            lambda plan: plan.with_micro_batch(plan.micro_batch // 2) if plan.micro_batch > 1 else None,
        )
        training.journal(record.pack())
        return Stepped(plan, record.centre, record.rate, changes, {"rule": record.rule, "spread": record.spread})

    return step


def look(search: NNO, plan: Plan, data: Encoded, rows: np.ndarray, pad_id: int, number: int = 0) -> StepRecord:
    """A step of `search` on `rows`, with at most `plan.micro_batch` rows in a forward pass.

    Raises what a refused allocation raises; nothing has moved then (the update takes less than the look before it).
    """
    model = search.model
    device = next(model.parameters()).device
    ids, mask = collate(data, rows, pad_id)
    labels = torch.from_numpy(data.labels[rows])
    batch = {"ids": ids.to(device), "mask": mask.to(device), "labels": labels.to(device)}
    search.at_a_time = max(1, plan.micro_batch // len(rows))  # points; as many for short rows: few shapes, few kernels
    return search.step(batch, _forward(model, plan.micro_batch * plan.max_length), _cross_entropy, number)


def _forward(model: Any, tokens: int) -> Forward:
    """Logits (rows, classes). Where the rows of one point are more than `tokens`, they come in pieces."""

    def forward(batch: dict[str, Any]) -> Any:
        pieces = -(-batch["ids"].numel() // tokens)
        each = zip(batch["ids"].chunk(pieces), batch["mask"].chunk(pieces), strict=True)
        return torch.cat([model(input_ids=ids, attention_mask=mask).logits for ids, mask in each])

    return forward


def _cross_entropy(logits: Any, batch: dict[str, Any]) -> Any:
    return torch.nn.functional.cross_entropy(logits.float(), batch["labels"])
