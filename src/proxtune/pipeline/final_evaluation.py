"""The end of a learning process: judge the final model on the held rows, save it, and say what it got wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from proxtune.compression.size_constraint import SizeConstraint, NoSizeConstraint
from proxtune.config.plan import Plan
from proxtune.data.dataset import select_rows
from proxtune.data.examples import Examples
from proxtune.export.model_folder import save_model
from proxtune.runtime.inference import warm_up_forward, final_outputs
from proxtune.runtime.model_setup import generation_settings
from proxtune.runtime.session import Record, Session
from proxtune.tasks.base import Task, evenly_spaced_rows, objective_of
from proxtune.tasks.classification.metrics import confusion
from proxtune.tasks.classification.objective import probabilities
from proxtune.tasks.generation.decoding import generate_answers, tokens_at_a_time
from proxtune.tasks.generation.samples import base_answer_count
from proxtune.tasks.loading import describe_data

_MISTAKES_SHOWN = 25


def evaluate_and_save(session: Session, plan: Plan, model: Any, constraint: SizeConstraint | NoSizeConstraint) -> Record:
    """What the model says in the type of its weights, as those who load it will see; then `model/`."""
    task, phases, governor = session.task, session.phases, session.governor
    session.emit_phase("evaluate")
    phases.enter("evaluate")
    warm_up_forward(model, task.validation, task.pad_id, "fp32", governor)  # its kernels may be new to this process
    if task.generates:
        governor.hold_if_roomy()
    else:
        governor.hold()
    outputs = final_outputs(model, task.validation, task.pad_id, "fp32", plan.micro_batch * plan.max_length, governor)
    metrics = objective_of(task.validation).score(outputs, task.validation)
    if task.generates:
        evaluation = {
            "metrics": metrics,
            "answers": validation_answers(session, plan, model, "fp32", base_answer_count(session.folder)),
        }
        _set_generation_defaults(model, task)
    else:
        evaluation = {"metrics": metrics, **_label_details(task, outputs)}
    governor.release()  # a file cannot be written in smaller bites
    session.emit_phase("save")
    phases.enter("save")
    artifact_bytes = save_model(model, task.tokenizer, session.folder, constraint)
    phases.leave()
    return {
        **evaluation,
        "artifact_bytes": artifact_bytes,
        "memory_bytes": phases.memory_bytes,
        "size": constraint.as_dict() if isinstance(constraint, SizeConstraint) else None,
        "data": describe_data(task),
    }


def validation_answers(session: Session, plan: Plan, model: Any, dtype: str, count: int) -> list[str]:
    """What the model answers to `count` of the rows to judge by, or all of fewer, in their order."""
    task = session.task
    rows = evenly_spaced_rows(len(task.validation), count)
    tokens = tokens_at_a_time(plan)
    found = dict(generate_answers(model, select_rows(task.validation, rows), generation_settings(task), dtype, tokens, session.governor))
    return [found[i] for i in range(len(rows))]


def _set_generation_defaults(model: Any, task: Task) -> None:
    """Whoever loads the model and asks for no more gets the answers that were judged: the likeliest, of so many tokens."""
    assert task.prompt_format is not None, "text is generated"
    config = model.generation_config
    config.do_sample, config.temperature, config.top_p, config.top_k = False, None, None, None
    config.max_new_tokens, config.pad_token_id, config.eos_token_id = task.new_tokens, task.pad_id, list(task.prompt_format.stop_ids)


def _label_details(task: Task, logits: np.ndarray) -> Record:
    chosen = logits.argmax(axis=1)
    return {
        "confusion": confusion(task.validation.labels.tolist(), chosen.tolist(), len(task.labels)),
        "mistakes": _mistakes(task.split.validation, task.labels, logits, task.validation.labels),
    }


def _mistakes(validation: Examples, labels: list[str], logits: np.ndarray, truth: np.ndarray) -> list[Record]:
    chances = probabilities(logits)
    chosen = chances.argmax(axis=1)
    wrong = np.flatnonzero(chosen != truth)
    wrong = wrong[np.argsort(-chances[wrong, chosen[wrong]])][:_MISTAKES_SHOWN]
    return [
        {
            "text": validation.texts[i][:500], "label": labels[truth[i]], "predicted": labels[chosen[i]],
            "confidence": round(float(chances[i, chosen[i]]), 4), "line": validation.lines[i],
        }
        for i in wrong
    ]  # fmt: skip
