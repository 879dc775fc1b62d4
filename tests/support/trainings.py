"""What tests of training share: rows that the tiny models learn from, and trainings that stop where a test says."""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from proxtune.checkpoint.checkpointer import Checkpointer
from proxtune.checkpoint.history import Begun, History, encode_event, read_history
from proxtune.checkpoint.snapshot import STOPPED, save_weights
from proxtune.config.plan import Plan, plan_as_dict
from proxtune.data.dataset import Encoded
from proxtune.data.examples import Examples
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.methods.registry import find_method
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.runtime.clock import Clock
from proxtune.storage.events import Event
from proxtune.storage.journal import Journal
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.objective import LABELS
from proxtune.training.context import Training
from proxtune.training.trainer import train

CLASSES = ["negative", "positive"]
PLAN = Plan(
    method="full", dtype="fp32", batch=8, micro_batch=8, max_length=32, checkpointing=False, optimizer="adamw",
    learning_rate=1e-3, epochs=2.0, steps=6, trainable=0,
)  # fmt: skip


def words_of(tiny_texts: list[str], folder: Path, rows: int = 24, max_length: int = 32) -> Encoded:
    texts = tiny_texts[:rows]
    labels = [CLASSES[len(text) % 2] for text in texts]
    examples = Examples(
        texts=texts, labels=labels, source="here", lines=list(range(2, rows + 2)), text_column="text", label_column="label"
    )  # fmt: skip
    return encode(examples, CLASSES, load_tokenizer(folder), max_length)


def even_words() -> Encoded:
    """24 rows of 32 tokens: every micro-batch is as large as it may be."""
    ids = np.random.default_rng(0).integers(10, 90, 24 * 32).astype(np.int32)
    return Encoded(ids=ids, starts=np.arange(25) * 32, labels=np.arange(24) % 2, truncated=0, objective=LABELS)


def gradients(model) -> np.ndarray:
    return np.concatenate([p.grad.flatten().numpy() for p in model.parameters() if p.grad is not None])


def weights(model) -> np.ndarray:
    return np.concatenate([p.detach().flatten().numpy() for p in model.parameters()])


class NoCheckpoints:
    """Says of everything that it is new; `records` are the steps that were to go into the journal."""

    can_resume = False

    def __init__(self) -> None:
        self.records = []

    def resume(self, step_maker, state):
        return state, None

    def past_schedule(self, state):
        return None

    def past_validation(self, step):
        return None

    def rows_left_out(self, step):
        return frozenset()

    def record_event(self, event):
        pass

    def record_step(self, record):
        self.records.append(record)

    def commit(self):
        return True

    def save_if_due(self, step_maker, state):
        return []

    def save(self, step_maker, state):
        return []

    def roll_back(self, step_maker, state):
        return None


def prepared_model(folder: Path, plan: Plan):
    """The tiny model in `folder` as the plan prepares it, always the same."""
    config = classifier_config(folder, ["a", "b"], load_tokenizer(folder), plan.max_length)
    return find_method(plan.method).prepare(load_classifier(folder, config, 0, plan.weight_dtype), plan)


def checkpointer_in(folder: Path, model, plan: Plan) -> Checkpointer:
    """The checkpoints in `folder`, of a new training or of the one that is there."""
    path = folder / "journal.bin"
    if path.exists():
        journal, found = Journal.open(path)
        return Checkpointer(folder, model, journal, read_history(path, found, LABELS.rank))
    journal = Journal.create(path, encode_event(Begun(plan=plan_as_dict(plan), selection={}, pins={})))
    return Checkpointer(folder, model, journal, History(plan, {}, {}, LABELS.rank))


def training_of(model, rows: Encoded, plan: Plan, checkpointer, folder: Path | None = None, **changes) -> Training:
    """All that `train` reads, for a test."""
    governor = Governor(None, ProcessMeter())
    own = {
        "model": model, "train": rows, "validation": rows, "pad_id": model.config.pad_token_id, "seed": 0,
        "clock": Clock(time.monotonic(), None), "ending_seconds": 0.0, "evaluations": 3, "max_steps": plan.steps,
        "governor": governor, "phases": Phases(ProcessMeter(), 0), "interrupted": lambda: False, "checkpointer": checkpointer,
        "save_best": lambda: folder and save_weights(model, folder),
        "save_stopped": lambda: folder and save_weights(model, folder, STOPPED),
    }  # fmt: skip
    return Training(**(own | changes))


def run_training(
    folder: Path, source: Path, rows: Encoded, plan: Plan, prepare=lambda model, checkpointer: None, **changes
):
    """Begin the training in `folder`, or continue with it, in a model of its own; returns its events and the model."""
    folder.mkdir(exist_ok=True)
    model = prepared_model(source, plan)
    checkpointer = checkpointer_in(folder, model, plan)
    prepare(model, checkpointer)
    events = []
    try:
        for event in train(plan, training_of(model, rows, plan, checkpointer, folder, **changes)):
            events.append(event)
            checkpointer.commit()
    finally:
        checkpointer.close()
    return events, model


def stopping_after(steps: int):
    """What `interrupted` says: yes after so many steps of this sitting."""
    asked = iter([False] * (steps - 1))
    return lambda: next(asked, True)


def digest(model) -> str:
    """Of every weight and buffer."""
    import torch

    found = hashlib.sha256()
    for tensor in model.state_dict().values():
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def events_of(kind: type[Event], events: Iterable[Event]) -> list:
    """The events of that kind."""
    return [event for event in events if isinstance(event, kind)]
