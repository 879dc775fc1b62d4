"""What durability costs: the same training with it and without, in turn, on the same rows with the same steps.

    --pairs 5
    --steps 60
    --model minilm    MiniLM on the bundled reviews; or `tiny`, a model whose steps take milliseconds

Without it there is no journal, no snapshot and no fsync; the best weights are written in both. What is compared is the time from
the first step to the last; and the time that journal and snapshots took is counted by itself, which noise hides less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from harness import table, write_record
from proxtune.checkpoint.checkpointer import Checkpointer
from proxtune.checkpoint.history import Begun, History, JournalEvent, encode_event
from proxtune.checkpoint.snapshot import save_weights
from proxtune.config.plan import Plan, plan_as_dict
from proxtune.data.dataset import Encoded, select_rows
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.methods.registry import find_method
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.source import find_model
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.runtime.clock import Clock
from proxtune.samples import movies_path
from proxtune.storage.events import Notice, StepEvent
from proxtune.storage.journal import Journal
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.objective import LABELS
from proxtune.tasks.classification.reader import read_examples
from proxtune.training.context import Training
from proxtune.training.trainer import train
from tiny import tiny_files

METHOD_PLANS = {
    "full": Plan("full", "fp32", 32, 32, 64, False, "adamw", 1e-4, 4.0, 0, 0),
    "lora": Plan("lora", "fp32", 32, 32, 64, False, "adamw", 1e-3, 4.0, 0, 0, rank=16),
    "nno": Plan("nno", "fp32", 16, 256, 64, False, "none", 0.0, 4.0, 0, 0, neighbours=14, last_layers=2),
}


class Forgetful(Checkpointer):
    """Keeps nothing."""

    def record_event(self, event: JournalEvent) -> None:
        self._history.add_event(event)

    def record_step(self, record: Any) -> None:
        pass

    def commit(self) -> bool:
        return True

    def save_if_due(self, step_maker: Any, state: Any) -> list[Notice]:
        return []


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--pairs", type=int, default=5)
    words.add_argument("--steps", type=int, default=60)
    words.add_argument("--model", choices=("minilm", "tiny"), default="minilm")
    asked = words.parse_args()
    rows, headline = [], {}
    with tempfile.TemporaryDirectory(prefix="proxtune-durability-") as name:
        place = Path(name)
        source = find_model("minilm").folder if asked.model == "minilm" else tiny_files(place)[1]
        data = _rows(source)
        for method, plan in METHOD_PLANS.items():
            shares, seconds, told, spent = [], [], [], []
            for pair in range(asked.pairs):
                order = (Checkpointer, Forgetful) if pair % 2 else (Forgetful, Checkpointer)
                took = {}
                for kind in order:
                    folder = place / f"{method}-{pair}-{kind.__name__}"
                    took[kind], snapshots, keeping = _seconds(folder, source, data, plan, asked.steps, kind)
                    if kind is Checkpointer:
                        told.append(snapshots)
                        spent.append(keeping / took[kind])
                shares.append(took[Checkpointer] / took[Forgetful] - 1)
                seconds.append(took[Forgetful])
            headline[method] = {
                "paired": round(100 * statistics.median(shares), 2), "counted": round(100 * statistics.median(spent), 2),
            }  # fmt: skip
            each = ", ".join(f"{100 * share:+.1f}" for share in shares)
            paired, counted = (headline[method][key] for key in ("paired", "counted"))
            cells = [f"{statistics.median(seconds):.1f} s", f"{paired:+.2f} %", each, f"{counted:.2f} %", str(told[-1])]
            rows.append([method, *cells])
            print(rows[-1], flush=True)
    body = (
        f"`{asked.model}`, {asked.steps} steps, {asked.pairs} pairs, {os.environ.get('OMP_NUM_THREADS', 'all')} thread(s).\n\n"
        + table(["method", "without", "more with it, median", "each pair, %", "counted, median", "snapshots"], rows)
    )
    write_record(f"durability-{asked.model}", "What durability costs", body, {"percent_more": headline})


def _rows(source: Path) -> Encoded:
    examples = read_examples(str(movies_path("train")))
    return encode(examples, sorted(set(examples.labels)), load_tokenizer(source), 64)


def _seconds(
    folder: Path, source: Path, data: Encoded, plan: Plan, steps: int, kind: type[Checkpointer]
) -> tuple[float, int, float]:
    """From the first step to the last, how many snapshots there were, and the seconds of all that keeps."""
    import dataclasses

    plan = dataclasses.replace(plan, steps=steps)
    folder.mkdir()
    config = classifier_config(source, ["negative", "positive"], load_tokenizer(source), 64)
    model = find_method(plan.method).prepare(load_classifier(source, config, 0), plan)
    journal = Journal.create(
        folder / "journal.bin", encode_event(Begun(plan=plan_as_dict(plan), selection={}, pins={}))
    )
    checkpointer = kind(folder, model, journal, History(plan, {}, {}, LABELS.rank))
    made, spent = [0], [0.0]

    def counted(name: str) -> Any:
        real = getattr(checkpointer, name)

        def one(*given: Any) -> Any:
            began = time.monotonic()
            found = real(*given)
            spent[0] += time.monotonic() - began
            made[0] += name == "save"
            return found

        return one

    for name in ("save", "record_event", "record_step", "commit"):
        setattr(checkpointer, name, counted(name))
    validation = select_rows(data, np.arange(64))
    training = Training(
        model=model, train=data, validation=validation, pad_id=config.pad_token_id, seed=0,
        clock=Clock(time.monotonic(), None), ending_seconds=0.0, evaluations=3, max_steps=steps,
        governor=Governor(None, ProcessMeter()), phases=Phases(ProcessMeter(), 0),
        save_best=lambda: save_weights(model, folder), save_stopped=lambda: None, interrupted=lambda: False,
        checkpointer=checkpointer,
    )  # fmt: skip
    moments = []
    for event in train(plan, training):
        checkpointer.commit()
        if isinstance(event, StepEvent):
            moments.append(time.monotonic())
    checkpointer.close()
    return moments[-1] - moments[0], made[0], spent[0]


if __name__ == "__main__":
    main()
