"""make bench-nno: what is learned for each sequence evaluated, by NNO, by MeZO and by LoRA with gradients.

SmolLM2-135M on the bundled movie reviews, asked for the label's word as `proxtune train --method nno` asks it, scored on rows
of the test file. A sequence is one row at one point: a step of NNO takes (neighbours + 2) · rows of them, though the blocks that
do not learn are passed once, a step of MeZO (Malladi et al., 2023) on the same weights two for each row, and LoRA one for each
row, its backward pass not counted. "nno" is the method: a head is fitted to some rows first, each of which counts once. "steps"
are its steps alone, from the words that the model has for the labels, as MeZO begins; "mezo-head" is MeZO from the fitted head.

    --seeds 3            how often NNO is run
    --others 1           how often the other ways are run
    --sequences 6144     for all but MeZO from the words
    --mezo 16000         for each run of MeZO from the words, unless it reaches 0.75 or goes astray before, or has seen as many
                         as a rate before it needed for 0.75
    --rates 1e-4 3e-5    MeZO's
    --only nno           nno, steps, lora, mezo, mezo-head, or steps on what has no gradient: accuracy (the share of wrong
                         answers) or f1 (one less the macro-averaged F1, which is then also what is evaluated); with a record of
                         its own
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import table, write_record
from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs, Recipe
from proxtune.data.batching import epoch_batches
from proxtune.data.dataset import Encoded, select_rows
from proxtune.memory.allocator import set_allocator
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.methods.linear_head import LabelledFeatures, features_of, fit_head, head_at_hand, install_head
from proxtune.methods.registry import find_method
from proxtune.models.introspection import head_of
from proxtune.models.loading import load_classifier
from proxtune.models.source import find_model
from proxtune.optim.nno import NNO, Objective
from proxtune.pipeline.fitted_head import sample_rows
from proxtune.runtime.inference import forward_passes, outputs_of
from proxtune.samples import movies_path
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.label_prompt import init_head_from_words, label_word_rows
from proxtune.tasks.classification.objective import score
from proxtune.tasks.classification.reader import read_examples
from proxtune.tasks.classification.task import CLASSIFY, ClassificationData
from proxtune.training.gradient_step import gradient_of
from proxtune.training.neighbour_step import cross_entropy, nno_step
from proxtune.training.optimizer import make_optimizer, update
from proxtune.training.schedule import schedule

BARS = (0.75, 0.80)
HEAD_ROWS = (
    256,
    512,
    1024,
    2048,
)  # that a head is fitted to, one after another; the last is what the method continues from
MEZO_ROWS, MEZO_SPREAD, MEZO_RATES = 16, 1e-3, (1e-4, 3e-5, 3e-4)
LORA_RATE = 2e-4
METRIC_ROWS = 64  # a share of 16 rows has too few values to tell neighbours apart
EVALUATED_ROWS, EVALUATED_EVERY = 500, 1024  # sequences between two evaluations
Point = tuple[int, float, float]  # sequences, accuracy, loss
Evaluation = Callable[[], tuple[float, float]]


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--others", type=int, default=1)
    words.add_argument("--sequences", type=int, default=6_144)
    words.add_argument("--mezo", type=int, default=16_000)
    words.add_argument("--rates", type=float, nargs="*", default=MEZO_RATES)
    words.add_argument("--only", choices=(*WAYS, "mezo", "mezo-head"))
    asked = words.parse_args()
    data, test = _rows()
    found: dict[str, list[list[Point]]] = {}
    ways = [
        (name, seed, partial(run, data, test, seed, asked.sequences))
        for name, run in WAYS.items()
        for seed in range(asked.seeds if name == "nno" else asked.others)
        if asked.only in (None, name)
    ]
    ways += [
        (f"{name} {rate:g}", seed, partial(run, data, test, rate, seed, most))
        for name, run, most in (("mezo", _mezo, asked.mezo), ("mezo-head", _mezo_head, asked.sequences))
        for rate in asked.rates
        for seed in range(asked.others)
        if asked.only in (None, name)
    ]
    with suppress(KeyboardInterrupt):  # what was found until then is written down
        for name, seed, run in ways:
            beaten = _least_of_mezo(found, seed) if name.startswith("mezo ") else None
            found.setdefault(name, []).append([])
            for point in _told(name, seed, run()):
                found[name][-1].append(point)
                if beaten is not None and point[0] >= beaten:
                    break
    head = ["way", "runs", "before", "after", "best", *(f"sequences to {bar}" for bar in BARS)]
    rows = [_row(name, runs) for name, runs in found.items()]
    body = f"{EVALUATED_ROWS} test rows, evaluated every {EVALUATED_EVERY:,} sequences; "
    body += "median (least to most) of the runs. "
    body += "MeZO from the words ends at 0.75, or where a rate before it had come to that.\n\n"
    body += table(head, rows) + "\n\n" + _curves(found)
    record = f"nno-{asked.only}" if asked.only else "nno"
    write_record(record, "What is learned for each sequence evaluated", body, _headline(found))


def _rows() -> tuple[ClassificationData, Encoded]:
    recipe = Recipe(data=str(movies_path("train")), out="", model="smollm2")
    folder = find_model("smollm2").folder
    data = CLASSIFY.encode(recipe, CLASSIFY.read(recipe), folder)
    test = encode(read_examples(str(movies_path("test"))), data.labels, data.tokenizer, data.max_length)
    return data, select_rows(test, np.arange(min(EVALUATED_ROWS, len(test))))


def _plan(method: str, data: ClassificationData) -> Plan:
    """As the planner makes it, but for what depends on a budget."""
    entry = find_method(method)
    batch = entry.batch if entry.learns_by == "neighbours" else MEZO_ROWS
    return Plan(
        method, "bf16", batch, 256, data.max_length, False, "none", 0.0, 1.0, 0, 0, **entry.variants(30, Knobs())[0]
    )


def _model(data: ClassificationData, plan: Plan, head: Tensor | None = None) -> Any:
    """Prepared for a plan, under the words for the labels or another `head` (classes, width)."""
    folder = find_model("smollm2").folder
    model = load_classifier(folder, data.config, 0, plan.weight_dtype)
    assert data.prompt is not None
    rows = label_word_rows(model, folder, data.tokenizer, data.prompt) if head is None else head
    init_head_from_words(head_of(model)[1], rows)
    return find_method(plan.method).prepare(model, plan)


def _evaluate(
    model: Any, test: Encoded, data: ClassificationData, cast: str, metric: str = "accuracy"
) -> tuple[float, float]:
    logits = outputs_of(model, test, data.pad_id, cast, 32 * data.max_length, Governor(None, ProcessMeter()))
    found = score(logits, test)
    return found[metric], found["loss"]


def _batches(data: ClassificationData, rows: int, seed: int) -> Iterator[np.ndarray]:
    epoch = 0
    while True:
        yield from epoch_batches(data.train.lengths, rows, seed, epoch)
        epoch += 1


def _curve(steps: Iterator[int], evaluate: Evaluation, most: int, every: int, enough: float = 1.0) -> Iterator[Point]:
    """The points of a curve: evaluated before the first step, then every so many sequences.

    Ends at `most` sequences, at `enough` accuracy, or where the loss has grown to twice the first.
    """
    first, last = evaluate(), 0
    yield 0, *first
    for seen in steps:
        if seen - last >= every or seen >= most:
            last, found = seen, evaluate()
            yield seen, *found
            if seen >= most or found[0] >= enough or found[1] > 2 * first[1]:
                return


def _nno(data: ClassificationData, test: Encoded, seed: int, most: int) -> Iterator[Point]:
    return _after_head(data, test, seed, most, partial(_looked, data, test, seed, _plan("nno", data), cross_entropy))


def _steps(data: ClassificationData, test: Encoded, seed: int, most: int) -> Iterator[Point]:
    return _looked(data, test, seed, _plan("nno", data), cross_entropy, most)


def _after_head(
    data: ClassificationData, test: Encoded, seed: int, most: int, then: Callable[[int, Tensor | None], Iterator[Point]]
) -> Iterator[Point]:
    """The points of heads fitted to more and more rows, then those of a way that begins from the last of them."""
    plan = _plan("nno", data)
    model, rows = _model(data, plan).eval(), sample_rows(data.train, HEAD_ROWS[-1], seed)
    yield 0, *_evaluate(model, test, data, "fp32")

    def seen(part: Encoded) -> LabelledFeatures:
        passes = forward_passes(model, part, data.pad_id, "fp32", 32 * data.max_length, Governor(None, ProcessMeter()))
        return LabelledFeatures(features=features_of(model, passes, part.lengths), labels=part.labels)

    train, validation, words = seen(rows), seen(data.validation), head_at_hand(model)
    for count in HEAD_ROWS:
        some = LabelledFeatures(features=train.features[:count], labels=train.labels[:count])
        install_head(model, fit_head(some, validation, classes=len(data.labels), has_bias=False, known=words))
        yield count, *_evaluate(model, test, data, "fp32")
    for count, accuracy, loss in then(most - HEAD_ROWS[-1], head_of(model)[1].weight.detach()):
        if count:  # what it begins from was evaluated
            yield HEAD_ROWS[-1] + count, accuracy, loss


def _accuracy(data: ClassificationData, test: Encoded, seed: int, most: int) -> Iterator[Point]:
    return _looked(data, test, seed, replace(_plan("nno", data), batch=METRIC_ROWS), _wrong, most)


def _f1(data: ClassificationData, test: Encoded, seed: int, most: int) -> Iterator[Point]:
    plan = replace(_plan("nno", data), batch=METRIC_ROWS)
    return _looked(data, test, seed, plan, _f1_missed, most, metric="macro_f1")


def _wrong(logits: Tensor, batch: dict[str, Any]) -> Tensor:
    return ((logits.argmax(-1) != batch["labels"]) * batch["weights"]).sum()


def _f1_missed(logits: Tensor, batch: dict[str, Any]) -> Tensor:
    said = (
        torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]) * batch["weights"][:, None]
    )  # (rows, classes)
    true = torch.nn.functional.one_hot(batch["labels"], logits.shape[-1]) * batch["weights"][:, None]
    both = torch.minimum(said, true).sum(0)
    return 1 - (2 * both / (said.sum(0) + true.sum(0))).mean()


def _looked(
    data: ClassificationData,
    test: Encoded,
    seed: int,
    plan: Plan,
    objective: Objective,
    most: int,
    head: Tensor | None = None,
    metric: str = "accuracy",
) -> Iterator[Point]:
    model = _model(data, plan, head).eval()
    search, planned = NNO(model, neighbours=plan.neighbours, seed=seed), -(-most // plan.evaluated)

    def steps() -> Iterator[int]:
        seen = 0
        for step, rows in enumerate(_batches(data, plan.batch, seed)):
            share = schedule(step, planned, find_method("nno").warm_up)
            nno_step(search, plan, data.train, rows, data.pad_id, step, share, objective)
            seen += (plan.neighbours + 2) * len(rows)
            yield seen

    return _curve(steps(), lambda: _evaluate(model, test, data, "fp32", metric), most, EVALUATED_EVERY)


def _lora(data: ClassificationData, test: Encoded, seed: int, most: int) -> Iterator[Point]:
    plan = replace(_plan("lora", data), rank=16, optimizer="adamw", learning_rate=LORA_RATE)
    torch.manual_seed(seed)
    model = _model(data, plan)
    optimizer, planned = make_optimizer(model, plan), -(-most // plan.batch)

    def steps() -> Iterator[int]:
        seen = 0
        for step, rows in enumerate(_batches(data, plan.batch, seed)):
            for group in optimizer.param_groups:
                group["lr"] = LORA_RATE * schedule(step, planned, find_method("lora").warm_up)
            gradient_of(model.train(), data.train, rows, plan, data.pad_id)
            update(model, optimizer)
            seen += len(rows)
            yield seen

    return _curve(steps(), lambda: _evaluate(model, test, data, "bf16"), most, EVALUATED_EVERY)


def _mezo_head(data: ClassificationData, test: Encoded, rate: float, seed: int, most: int) -> Iterator[Point]:
    return _after_head(data, test, seed, most, partial(_mezo, data, test, rate, seed))


def _mezo(
    data: ClassificationData, test: Encoded, rate: float, seed: int, most: int, head: Tensor | None = None
) -> Iterator[Point]:
    """As published, with fp32 masters (16 bits would eat its updates); the forward passes are in bf16 as NNO's are."""
    model = _model(data, _plan("nno", data), head).eval()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    masters = [weight.detach().float() for weight in weights]
    directions = [torch.empty_like(master) for master in masters]  # kept here; drawn anew from the seed in MeZO proper

    def move(length: float) -> None:
        for weight, master, direction in zip(weights, masters, directions, strict=True):
            weight.data.copy_(master.add(direction, alpha=length))

    def loss(rows: np.ndarray) -> float:
        few = select_rows(data.train, rows)
        logits = outputs_of(model, few, data.pad_id, "fp32", 1 << 30, Governor(None, ProcessMeter()))
        return score(logits, few)["loss"]

    def steps() -> Iterator[int]:
        seen, draw = 0, torch.Generator().manual_seed(seed)
        for rows in _batches(data, MEZO_ROWS, seed):
            for direction in directions:
                direction.normal_(generator=draw)
            move(MEZO_SPREAD)
            above = loss(rows)
            move(-MEZO_SPREAD)
            slope = (above - loss(rows)) / (2 * MEZO_SPREAD)
            for master, direction in zip(masters, directions, strict=True):
                master.sub_(direction, alpha=rate * slope)
            move(0.0)
            seen += 2 * len(rows)
            yield seen

    return _curve(
        steps(),
        lambda: _evaluate(model, test, data, "fp32"),
        most,
        EVALUATED_EVERY,
        enough=BARS[0] if head is None else 1.0,
    )


WAYS = {"nno": _nno, "steps": _steps, "accuracy": _accuracy, "f1": _f1, "lora": _lora}


def _told(name: str, seed: int, points: Iterator[Point]) -> Iterator[Point]:
    began = time.perf_counter()
    for point in points:
        yield point
        seconds = time.perf_counter() - began
        sys.stderr.write(
            f"{name} seed {seed}: {point[0]} sequences, {point[1]:.3f}, loss {point[2]:.4f}, {seconds:.0f} s\n"
        )


def _needed(points: list[Point], bar: float) -> int | None:
    return next((seen for seen, accuracy, _ in points if accuracy >= bar), None)


def _least_of_mezo(found: dict[str, list[list[Point]]], seed: int) -> int | None:
    """The fewest sequences with which a rate tried before reached the first bar: no other has to be run for longer."""
    runs = [runs[seed] for name, runs in found.items() if name.startswith("mezo ") and len(runs) > seed]
    return min((needed for run in runs if (needed := _needed(run, BARS[0])) is not None), default=None)


def _spread(values: list[float], form: str = ".3f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _row(name: str, runs: list[list[Point]]) -> list[str]:
    needed = []
    for bar in BARS:
        counts = [_needed(run, bar) for run in runs]
        reached = [count for count in counts if count is not None]
        told = _spread(reached, ",.0f") if reached else "not reached"
        needed.append(told if len(reached) in (0, len(runs)) else f"{told}, {len(reached)} of {len(runs)} runs")
    accuracies = [[point[1] for point in run] for run in runs]
    best = _spread([max(own) for own in accuracies])
    return [name, str(len(runs)), f"{accuracies[0][0]:.3f}", _spread([own[-1] for own in accuracies]), best, *needed]


def _curves(found: dict[str, list[list[Point]]]) -> str:
    lines = [
        f"- {name}, seed {seed}: " + ", ".join(f"{seen:,} {accuracy:.3f}" for seen, accuracy, _ in run)
        for name, runs in found.items()
        for seed, run in enumerate(runs)
    ]
    return "Accuracy by sequences:\n\n" + "\n".join(lines)


def _headline(found: dict[str, list[list[Point]]]) -> dict[str, Any]:
    return {
        name: {
            "accuracy": round(statistics.median(run[-1][1] for run in runs), 3),
            **{f"sequences_to_{bar}": [_needed(run, bar) for run in runs] for bar in BARS},
        }
        for name, runs in found.items()
    }


if __name__ == "__main__":
    set_allocator("fast")
    main()
