"""The trial: real rows pass through the model before anything is planned, and show what it computes right.

Which dtypes it computes in without overflow, whether what it says of a row stays the same beside padding and beside other
rows, whether a decoder looks only at what came before, whether a classification layer can be fitted apart. The run folder keeps
what was found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from proxtune.data.dataset import select_rows
from proxtune.data.examples import row_name
from proxtune.errors import UserError
from proxtune.memory.governor import is_refusal
from proxtune.methods.linear_head import features_of, head_at_hand
from proxtune.models.loading import loading_notes
from proxtune.runtime.session import Session
from proxtune.storage.atomic import write_json
from proxtune.tasks.base import TaskData

TRIAL = "trial.json"
_FEW = 2  # rows that pass in bf16: one with padding
_LOGITS_OFF = 0.02  # of the largest, between what a model says and what its last layer makes of what it was given
_OTHER = {"eager": "sdpa", "sdpa": "eager"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was found: the `attention` that works, the `dtypes` of those asked for that the model computes in, whether it `pads`
    and `batches`, whether its weights may be held in bf16 and its last layer `fits_head`, and what is to be told.
    """

    attention: str
    dtypes: tuple[str, ...]
    pads: bool = True
    batches: bool = True
    holds_bf16: bool = True
    fits_head: bool = True
    notes: tuple[str, ...] = ()


def load_that_computes(load: Callable[[], Any], passes: Callable[[Any], None], config: Any) -> Any:
    """The model that `load` makes and that `passes` a row, in the attention that its config asks for, or in the other.

    Some classes have one kernel alone that works. Whatever the first raises is raised where neither does.
    """
    usual = config._attn_implementation
    try:
        model = load()
        passes(model)
        return model
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        if is_refusal(error) or usual not in _OTHER:
            raise
        first = error
    config._attn_implementation = _OTHER[usual]
    try:
        model = load()
        if model.config._attn_implementation == usual:
            raise first
        passes(model)
        return model
    except Exception:
        config._attn_implementation = usual
        raise first from None


def try_model(model: Any, session: Session, dtypes: Sequence[str], weight_dtype: str, gradients: bool) -> Trial:
    """Pass real rows through the frozen `model`, whose weights are held in `weight_dtype`, and keep what that shows.

    Raises UserError for a model that computes in none of `dtypes`, or that looks ahead where it is to generate.
    """
    data = session.data
    objective = data.train.objective
    check_finite(model.eval(), data, int(data.train.lengths.argmin()))
    pads = objective.pads(model.eval(), data.train, data.pad_id)
    batches = objective.batches(model, data.train, data.pad_id)
    notes = list(loading_notes(model))
    if not pads:
        notes.append("this model does not take padding: rows of one length are computed together")
    if not batches:
        notes.append("this model mixes rows that are answered together: it answers one at a time")
    computed = [
        dtype
        for dtype in dtypes
        if dtype == weight_dtype or dtype == "fp32" or _computes(model, session, dtype, gradients)
    ]
    if not computed and session.recipe.knobs.dtype is not None:
        raise UserError(
            f"this model does not compute in {dtypes[0]} here (overflow, or no such kernel); leave out --dtype"
        )
    if not computed:
        computed = ["fp32"]
    if "bf16" in dtypes and "bf16" not in computed:
        notes.append("bf16 overflows in this model or has no kernel for it: it computes in fp32")
    fits_head = not session.traits.new_head or session.traits.needs_gradients or _fits_head(model, data)
    if not fits_head:
        notes.append(
            "what follows this model's last layer changes its answers: no layer is fitted apart, training begins at a new one"
        )
    attention = str(data.config._attn_implementation)
    found = Trial(
        attention=attention, dtypes=tuple(computed), pads=pads, batches=batches, fits_head=fits_head, notes=tuple(notes)
    )
    write_json(session.folder / TRIAL, asdict(found))
    return found


def check_finite(model: Any, data: TaskData, row: int) -> None:
    """Raises UserError for a model that says no number of a row in the dtype of its weights."""
    import torch

    with torch.inference_mode():
        said = data.train.objective.outputs(model, data.train, np.asarray([row]), data.pad_id)
    if not bool(torch.isfinite(said).all()):
        where = row_name(data.split.train, row)
        raise UserError(f"what the model says of {where} is no number; the model's weights are damaged, choose another")


def without_held_bf16(session: Session) -> None:
    """Keep that the model does not compute with weights that are held in bf16."""
    found = json.loads((session.folder / TRIAL).read_text(encoding="utf-8"))
    notes = [*found["notes"], "the weights stay in fp32: this model does not compute with weights in bf16"]
    write_json(session.folder / TRIAL, {**found, "holds_bf16": False, "notes": notes})


def with_trial(session: Session) -> Session:
    """The session with what the trial of its run has shown; as it is before there was one."""
    try:
        found = json.loads((session.folder / TRIAL).read_text(encoding="utf-8"))
        pads, notes, attention = bool(found["pads"]), tuple(map(str, found["notes"])), str(found["attention"])
    except (OSError, ValueError, KeyError, TypeError):
        return session
    session.data.config._attn_implementation = attention
    traits = session.traits
    batches = bool(found.get("batches", True))  # a run of an earlier version did not ask
    if not pads or not found.get("fits_head", True):  # features that come in groups, or more after the layer
        traits = replace(traits, needs_gradients=True)
    if not found.get("holds_bf16", True):
        traits = replace(traits, frozen_codes=False)
    notes = tuple(dict.fromkeys((*session.data.notes, *notes)))
    return replace(session, data=replace(session.data, pads=pads, batches=batches, notes=notes, traits=traits))


def _fits_head(model: Any, data: TaskData) -> bool:
    """Whether what the model says is what its last linear layer makes of what it was given, to which another could be fitted."""
    order = np.argsort(data.train.lengths, kind="stable")
    few = select_rows(data.train, order[[0, len(order) // 2]])
    rows, said = np.arange(len(few)), list[Any]()

    def passes() -> Iterator[tuple[np.ndarray, Any]]:
        import torch

        with torch.inference_mode():
            said.append(few.objective.outputs(model, few, rows, data.pad_id))
        yield rows, said[0]

    try:
        features = features_of(model, passes(), few.lengths)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        if is_refusal(error):
            raise
        return False
    head, logits = head_at_hand(model), said[0].float().cpu().numpy()  # (rows, classes)
    off = np.abs(features @ head.weight.T + head.bias - logits).max()
    return bool(off <= _LOGITS_OFF * np.abs(logits).max() + 1e-6)


def _computes(model: Any, session: Session, dtype: str, gradients: bool) -> bool:
    """Whether a few rows give finite numbers under a cast to `dtype`, and slopes where those are needed."""
    import torch

    data, objective = session.data, session.data.train.objective
    order = np.argsort(data.train.lengths, kind="stable")
    few = select_rows(data.train, order[[0, len(order) // 2][:_FEW]])
    rows, device = np.arange(len(few)), next(model.parameters()).device
    small = [p for p in model.parameters() if p.dim() == 1 and p.is_floating_point()] if gradients else []
    try:
        for parameter in small:
            parameter.requires_grad_(True)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"), torch.set_grad_enabled(gradients):
            made = objective.loss(model, few, rows, data.pad_id, rows, None) if small else None
            if made is None:
                made = objective.outputs(model, few, rows, data.pad_id)
        if made.requires_grad:
            made.backward()
        seen = [made, *(p.grad for p in small if p.grad is not None)]
        return all(bool(each.isfinite().all()) for each in seen)
    except (RuntimeError, TypeError, ValueError) as error:
        if is_refusal(error):
            raise
        return False
    finally:
        for parameter in small:
            parameter.requires_grad_(False)
            parameter.grad = None
