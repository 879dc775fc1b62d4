"""Whether a model can be trained on some data, and what it would see of them: opened, and one row passed, nothing trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from proxtune.data.examples import row_name
from proxtune.errors import UserError
from proxtune.models.source import weight_bytes
from proxtune.runtime.clock import Clock
from proxtune.runtime.guard import explain_model_errors
from proxtune.runtime.session import Session, in_child_process, open_session
from proxtune.runtime.trial import check_finite, load_that_computes
from proxtune.storage.events import Event, Notice
from proxtune.storage.run_folder import read_recipe
from proxtune.tasks.describe import render_row


def check(folder: Path, emit: Callable[[Event], None], others_bytes: int) -> dict[str, Any]:
    """What `proxtune check` says of the recipe in `folder`. Raises UserError for a model or data that cannot be trained."""
    recipe = read_recipe(folder / "recipe.toml")
    session = open_session(recipe, folder, Clock(time.monotonic()), others_bytes, emit)
    data, tokenizer, source = session.data, session.data.tokenizer, session.source
    row = _median_row(session)
    with explain_model_errors(recipe.model):
        passed = in_child_process(session, partial(_pass_one_row, session, row))
        rendered = render_row(data, row)
    facts = session.task.describe(data)
    notes = [str(note) for note in passed.pop("notes")]  # that loading its weights showed
    for note in notes:
        emit(Notice(words=note))
    facts["notes"] = [*facts["notes"], *notes]
    return {
        "status": "ok",
        "task": session.task.name,
        "model": {
            "name": source.name,
            "origin": source.origin,
            "model_type": data.config.model_type,
            "file_bytes": weight_bytes(source.folder),
            **passed,
        },
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "vocabulary": len(tokenizer),
            "special_tokens": {
                name: str(token) for name, token in tokenizer.special_tokens_map.items() if not isinstance(token, list)
            },
            "chat_template": bool(getattr(tokenizer, "chat_template", None)),
        },
        "data": facts,
        "row": rendered,
    }


def _median_row(session: Session) -> int:
    """A row of usual length."""
    lengths = session.data.train.lengths
    return int(lengths.argsort(kind="stable")[len(lengths) // 2])


def _pass_one_row(session: Session, row: int) -> dict[str, Any]:
    """Load the model, and pass a row forward and backward; gradients are those of norms and biases, and reach the embeddings."""
    import numpy as np
    import torch

    from proxtune.models.introspection import head_of, model_facts
    from proxtune.models.loading import loading_notes

    data, began = session.data, time.perf_counter()
    rows, objective = np.asarray([row]), data.train.objective

    def load() -> Any:
        model = session.task.load_model(session.source.folder, data, session.recipe.seed)
        return model.requires_grad_(False).to(session.device.torch_device)

    model = load_that_computes(
        load, lambda loaded: objective.outputs(loaded, data.train, rows, data.pad_id), data.config
    )
    check_finite(model.eval(), data, row)
    loaded = time.perf_counter()
    for parameter in model.parameters():  # few numbers in all, and the backward pass goes through every layer for them
        parameter.requires_grad_(parameter.dim() == 1 and parameter.is_floating_point())
    for module in model.modules():  # where no layer has such
        if isinstance(module, torch.nn.Embedding):
            module.register_forward_hook(_with_slope)
    loss = objective.loss(model.train(), data.train, rows, data.pad_id, rows, None)
    loss.backward()
    if not math.isfinite(float(loss.detach())):
        where = row_name(data.split.train, row)
        raise UserError(
            f"the loss of {where} is {float(loss.detach())}; the model's weights are damaged, choose another"
        )
    facts, lm_head = model_facts(model), model.get_output_embeddings()
    return {
        "architecture": type(model).__name__,
        "attention": str(model.config._attn_implementation),  # the one that works, which only this process knows
        "parameters": facts.parameters,
        "blocks": facts.blocks,
        "width": facts.width,
        "head": head_of(model)[0] if lm_head is None else "the language model's own",
        "notes": loading_notes(model),
        "loss": float(loss.detach()),
        "load_seconds": round(loaded - began, 2),
        "row_seconds": round(time.perf_counter() - loaded, 2),
    }


def _with_slope(embedding: Any, given: Any, out: Any) -> Any:
    """What an embedding gives, as something that a backward pass comes to: some models go on to write into it."""
    return out if not hasattr(out, "requires_grad") or out.requires_grad else out + out.new_zeros(1).requires_grad_()
