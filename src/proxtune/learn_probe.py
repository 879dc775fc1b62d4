"""`probe` learns in two halves, with the fit of the head in a process between them (`methods/head.py`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from proxtune.durable import write_json
from proxtune.evaluate import first_look, passes
from proxtune.judge import judge_and_save
from proxtune.memory.allocator import set_allocator
from proxtune.methods.probe import features, install_head
from proxtune.models import head_of, load_classifier
from proxtune.plan import Plan, plan_from_dict
from proxtune.session import Record, Session
from proxtune.tasks.classify import Encoded

_SETTLED = "settled.json"


def has_features(session: Session) -> bool:
    """Whether the first half is done."""
    return (session.folder / _SETTLED).is_file()


def save_features(session: Session, plan: Plan, model: Any, promised: Record) -> Record:
    """First half: features to disk, for the process that fits the head."""
    task, phases, folder = session.task, session.phases, session.folder
    phases.enter("train")
    first_look(model, task.train, task.pad_id, plan.dtype, session.governor)
    session.governor.hold()
    tokens = plan.micro_batch * plan.max_length

    def features_of(data: Encoded) -> np.ndarray:
        return features(model, passes(model, data, task.pad_id, plan.dtype, tokens, session.governor), len(data))

    arrays = {
        "train": features_of(task.train),
        "labels": task.train.labels,
        "held": features_of(task.held),
        "held_labels": task.held.labels,
        "classes": np.asarray(len(task.labels)),
        "has_bias": np.asarray(head_of(model)[1].bias is not None),
    }
    session.governor.release()
    np.savez(folder / "features.npz", allow_pickle=False, **arrays)
    phases.leave()
    settled = {**promised, "memory_bytes": phases.memory_bytes}
    write_json(folder / _SETTLED, settled)
    return {"status": "features", **settled}


def finish_probe(session: Session) -> Record:
    """Second half: the fitted head in the model, judged and saved."""
    folder, phases = session.folder, session.phases
    settled = json.loads((folder / _SETTLED).read_text(encoding="utf-8"))
    plan = plan_from_dict(settled["plan"])
    set_allocator(plan.allocator)
    phases.enter("load")
    model = load_classifier(session.source.folder, session.task.config, session.recipe.seed).to(session.device)
    install_head(model, folder / "head.npz")
    phases.leave()
    for phase, peak in settled["memory_bytes"].items():
        phases.memory_bytes[phase] = max(peak, phases.memory_bytes.get(phase, 0))
    learned = judge_and_save(session, plan, model)
    for name in (_SETTLED, "features.npz", "head.npz"):
        (folder / name).unlink(missing_ok=True)
    return {
        **{key: settled[key] for key in ("plan", "predicted", "step_downs")}, **learned,
        "status": "done", "steps": 0, "examples_seen": len(session.task.train), "flops": plan.cost.flops,
        "model_source": session.source.origin,
    }  # fmt: skip
