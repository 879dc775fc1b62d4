"""make bench-time-to-accuracy: wall seconds to a test accuracy, ours beside the Trainer of Hugging Face; MiniLM, movie reviews.

"proxtune" is the whole command, from its start to the report, with the least `--time` of a ladder whose model reaches the
accuracy on `test.csv`. "trainer" is transformers' Trainer as it comes (float32, batches of 8, 5e-5, three epochs), and
"trainer, tuned" with what its documentation offers for speed (bf16 autocast, batches of 32, 1e-4 after a warm-up, two epochs):
from the start of its process to the first evaluation, one each 25 steps, that reaches the accuracy; the evaluations' own seconds
are taken off, so it pays for nothing but its training. With rows of like length together it learned nothing here (0.52 after
two epochs, in bf16 and in float32), so the tuned way is without that. Rounds follow one another in one run; ratios are within
a round.

    --accuracy 0.85
    --rounds 3
    --ladder 30,45,60,75,90,120,150,180,240     seconds
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import proxtune, table, write_record
from proxtune.models.source import find_model
from proxtune.samples import movies_path

WAYS = {
    "trainer": {"batch": 8, "rate": 5e-5, "epochs": 3.0, "bf16": False, "warm_up": 0.0},
    "trainer, tuned": {"batch": 32, "rate": 1e-4, "epochs": 2.0, "bf16": True, "warm_up": 0.06},
}
_LENGTH, _EVERY = 512, 25


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--accuracy", type=float, default=0.85)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--ladder", default="30,45,60,75,90,120,150,180,240")
    words.add_argument("--way", choices=WAYS)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    if asked.way:
        print(json.dumps(_trainers(asked)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ("proxtune", *WAYS)}
    for seed in range(asked.rounds):
        for way, runs in found.items():
            runs.append(_ours(asked, seed) if way == "proxtune" else _theirs(way, asked, seed))
            sys.stderr.write(f"round {seed}, {way}: {runs[-1]}\n")
    rows, headline = [], {}
    for way, runs in found.items():
        ratios = [ours["seconds"] / it["seconds"] for ours, it in zip(found["proxtune"], runs, strict=True)]
        seconds, best = [run["seconds"] for run in runs], [run["accuracy"] for run in runs]
        rows.append([way, _spread(seconds, "{:.0f}"), _spread(ratios, "{:.2f}"), _spread(best, "{:.3f}")])
        headline[way] = {
            "seconds": round(statistics.median(seconds)),
            "ours_over_it": round(statistics.median(ratios), 3),
        }
    body = f"Wall seconds to {asked.accuracy:g} on the {len(_rows('test')[0])} rows of `test.csv`; medians of "
    body += (
        f"{asked.rounds} rounds (least to most). Where it is never reached the seconds are those of the whole run.\n\n"
    )
    body += table(["way", "seconds", "ours / it, paired", "accuracy then"], rows)
    write_record("time-to-accuracy", "Time to a fixed accuracy, beside the Trainer", body, headline)


def _spread(values: list[float], form: str) -> str:
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def _ours(asked: Any, seed: int) -> dict[str, float]:
    """The first rung of the ladder that reaches the accuracy, else the last."""
    found: dict[str, float] = {}
    for rung in asked.ladder.split(","):
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "run")
            seen = proxtune("train", str(movies_path("train")), "--time", f"{rung}s", "--seed", str(seed), "--out", out)
            if seen.status != 0:
                continue
            test = proxtune("evaluate", out, str(movies_path("test")))
        found = {"seconds": round(seen.seconds, 1), "accuracy": test.result["metrics"]["accuracy"], "rung": float(rung)}
        sys.stderr.write(f"  {found}\n")
        if found["accuracy"] >= asked.accuracy:
            break
    return found


def _theirs(way: str, asked: Any, seed: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--accuracy", str(asked.accuracy), "--seed", str(seed)]
    began = time.time()
    found: dict[str, float] = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    found["seconds"] = round(found.pop("reached_at") - began, 1)
    return found


def _rows(part: str) -> tuple[list[str], list[str]]:
    with movies_path(part).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def _trainers(asked: Any) -> dict[str, float]:
    import numpy as np
    import transformers

    way, folder = WAYS[asked.way], str(find_model("minilm").folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    (texts, labels), (test_texts, test_labels) = _rows("train"), _rows("test")
    names = sorted(set(labels))

    def encoded(texts: list[str], labels: list[str]) -> list[dict[str, Any]]:
        ids = tokenizer(texts, truncation=True, max_length=_LENGTH)["input_ids"]
        return [{"input_ids": own, "label": names.index(label)} for own, label in zip(ids, labels, strict=True)]

    transformers.set_seed(asked.seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names))
    reached: dict[str, float] = {}
    evaluating = [0.0]

    class Evaluate(transformers.TrainerCallback):
        """Evaluates each so many steps, and stops where the accuracy is reached."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if state.global_step % _EVERY and state.global_step < state.max_steps:
                return control
            began = time.time()
            logits = trainer.predict(test).predictions
            accuracy = float((np.argmax(logits, 1) == [row["label"] for row in test]).mean())
            evaluating[0] += time.time() - began
            reached.update(accuracy=accuracy, reached_at=time.time() - evaluating[0], steps=state.global_step)
            control.should_training_stop = accuracy >= asked.accuracy
            return control

    test = encoded(test_texts, test_labels)
    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            output_dir=out, per_device_train_batch_size=way["batch"], learning_rate=way["rate"], seed=asked.seed,
            num_train_epochs=way["epochs"], bf16=way["bf16"], use_cpu=True, save_strategy="no", logging_strategy="no",
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False, per_device_eval_batch_size=32,
            warmup_steps=way["warm_up"],
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=encoded(texts, labels),
            data_collator=transformers.DataCollatorWithPadding(tokenizer), callbacks=[Evaluate()],
        )  # fmt: skip
        trainer.train()
    return reached


if __name__ == "__main__":
    main()
