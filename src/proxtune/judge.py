"""The end of a learning process: judge the final model on the held rows, save it, and say what it got wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from proxtune.artifact import save_model
from proxtune.constraint import Constraint, NoConstraint
from proxtune.evaluate import first_look, said_at_last
from proxtune.examples import Examples
from proxtune.objectives.labels import probabilities, score
from proxtune.plan import Plan
from proxtune.scores import confusion
from proxtune.session import Record, Session
from proxtune.task import describe_data

_MISTAKES_SHOWN = 25


def judge_and_save(session: Session, plan: Plan, model: Any, constraint: Constraint | NoConstraint) -> Record:
    """Logits in fp32, as those who load the model will see them; then `model/`."""
    task, phases, governor = session.task, session.phases, session.governor
    session.announce("evaluate")
    phases.enter("evaluate")
    first_look(model, task.held, task.pad_id, "fp32", governor)  # its kernels may be new to this process
    governor.hold()
    logits = said_at_last(model, task.held, task.pad_id, "fp32", plan.micro_batch * plan.max_length, governor)
    governor.release()  # a file cannot be written in smaller bites
    session.announce("save")
    phases.enter("save")
    artifact_bytes = save_model(model, task.tokenizer, session.folder, constraint)
    phases.leave()
    chosen = logits.argmax(axis=1)
    return {
        "metrics": score(logits, task.held),
        "confusion": confusion(task.held.labels.tolist(), chosen.tolist(), len(task.labels)),
        "mistakes": _mistakes(task.split.validation, task.labels, logits, task.held.labels),
        "artifact_bytes": artifact_bytes,
        "memory_bytes": phases.memory_bytes,
        "size": constraint.told() if isinstance(constraint, Constraint) else None,
        "data": describe_data(task),
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
