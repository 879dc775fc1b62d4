"""The end of a learning process: judge the final model on the held rows, save it, and say what it got wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from proxtune.compression.size_constraint import Constraint, NoConstraint
from proxtune.config.plan import Plan
from proxtune.data.dataset import take
from proxtune.data.examples import Examples
from proxtune.export.model_folder import save_model
from proxtune.runtime.inference import first_look, said_at_last
from proxtune.runtime.model_setup import answering
from proxtune.runtime.session import Record, Session
from proxtune.tasks.base import Task, judged_rows, objective_of
from proxtune.tasks.classification.metrics import confusion
from proxtune.tasks.classification.objective import probabilities
from proxtune.tasks.generation.decoding import answers_of, tokens_at_a_time
from proxtune.tasks.generation.samples import asked_before
from proxtune.tasks.loading import describe_data

_MISTAKES_SHOWN = 25


def judge_and_save(session: Session, plan: Plan, model: Any, constraint: Constraint | NoConstraint) -> Record:
    """What the model says in the type of its weights, as those who load it will see; then `model/`."""
    task, phases, governor = session.task, session.phases, session.governor
    session.announce("evaluate")
    phases.enter("evaluate")
    first_look(model, task.held, task.pad_id, "fp32", governor)  # its kernels may be new to this process
    if task.generates:
        governor.hold_if_roomy()
    else:
        governor.hold()
    said = said_at_last(model, task.held, task.pad_id, "fp32", plan.micro_batch * plan.max_length, governor)
    metrics = objective_of(task.held).score(said, task.held)
    if task.generates:
        judged = {
            "metrics": metrics,
            "answers": answers_to_judge(session, plan, model, "fp32", asked_before(session.folder)),
        }
        _generate_so_by_default(model, task)
    else:
        judged = {"metrics": metrics, **_told_of_labels(task, said)}
    governor.release()  # a file cannot be written in smaller bites
    session.announce("save")
    phases.enter("save")
    artifact_bytes = save_model(model, task.tokenizer, session.folder, constraint)
    phases.leave()
    return {
        **judged,
        "artifact_bytes": artifact_bytes,
        "memory_bytes": phases.memory_bytes,
        "size": constraint.told() if isinstance(constraint, Constraint) else None,
        "data": describe_data(task),
    }


def answers_to_judge(session: Session, plan: Plan, model: Any, dtype: str, count: int) -> list[str]:
    """What the model answers to `count` of the rows to judge by, or all of fewer, in their order."""
    task = session.task
    rows = judged_rows(len(task.held), count)
    tokens = tokens_at_a_time(plan)
    found = dict(answers_of(model, take(task.held, rows), answering(task), dtype, tokens, session.governor))
    return [found[i] for i in range(len(rows))]


def _generate_so_by_default(model: Any, task: Task) -> None:
    """Whoever loads the model and asks for no more gets the answers that were judged: the likeliest, of so many tokens."""
    assert task.asking is not None, "text is generated"
    how = model.generation_config
    how.do_sample, how.temperature, how.top_p, how.top_k = False, None, None, None
    how.max_new_tokens, how.pad_token_id, how.eos_token_id = task.new_tokens, task.pad_id, list(task.asking.stops)


def _told_of_labels(task: Task, logits: np.ndarray) -> Record:
    chosen = logits.argmax(axis=1)
    return {
        "confusion": confusion(task.held.labels.tolist(), chosen.tolist(), len(task.labels)),
        "mistakes": _mistakes(task.split.validation, task.labels, logits, task.held.labels),
    }


def _mistakes(held: Examples, labels: list[str], logits: np.ndarray, truth: np.ndarray) -> list[Record]:
    chances = probabilities(logits)
    chosen = chances.argmax(axis=1)
    wrong = np.flatnonzero(chosen != truth)
    wrong = wrong[np.argsort(-chances[wrong, chosen[wrong]])][:_MISTAKES_SHOWN]
    return [
        {
            "text": held.texts[i][:500], "label": labels[truth[i]], "predicted": labels[chosen[i]],
            "confidence": round(float(chances[i, chosen[i]]), 4), "line": held.lines[i],
        }
        for i in wrong
    ]  # fmt: skip
