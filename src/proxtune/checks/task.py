"""What the rest of the program counts on a task to do."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.plan import Plan
from proxtune.config.recipe import Recipe
from proxtune.data.dataset import select_rows
from proxtune.errors import UserError
from proxtune.memory.devices.registry import host_device
from proxtune.memory.governor import Governor
from proxtune.methods.registry import method_names
from proxtune.storage.events import Event, Prediction
from proxtune.tasks.base import ModelAtHand, Task, TaskData, TaskTraits

_ROWS = 12
_LOSS_TOLERANCE = 1e-3


def check_task(task: Task, data: str, model_folder: Path) -> None:
    """Run every check on `task` with the rows of `data` and the model in `model_folder`.

    The task must be registered: one check reads the rows in a process of its own.
    """
    recipe = Recipe(data=data, out="unused", model=str(model_folder), task=task.name)
    check_task_values(task)
    check_task_reading(task, recipe)
    encoded = task.encode(recipe, task.read(recipe), model_folder)
    check_task_rows(task, encoded)
    model = task.load_model(model_folder, encoded, 0)
    check_objective(task, encoded, model)
    check_task_results(task, encoded, model)
    check_task_answers(task, recipe, model_folder, encoded, model)


def check_task_values(task: Task) -> None:
    """A name, traits and a section of the report that exists."""
    from proxtune.report.sections.registry import RESULT_SECTIONS

    assert task.name.islower(), f"the name {task.name!r} must be a word in small letters"
    assert isinstance(task.traits, TaskTraits), f"{task.name}'s traits are {type(task.traits).__name__}, not TaskTraits"
    assert task.default_model, f"{task.name} names no default model"
    assert task.report_section in RESULT_SECTIONS, (
        f"{task.name} shows results as {task.report_section!r}; choose one of {', '.join(RESULT_SECTIONS)}"
    )


def check_task_reading(task: Task, recipe: Recipe) -> None:
    """Rows are read the same each time and without torch; a file that is not there is refused with a UserError."""
    task.check(recipe)
    first, second = task.read(recipe), task.read(recipe)
    assert len(first.train) > 0, f"{task.name} finds no training rows in {recipe.data}"
    assert len(first.validation) > 0, f"{task.name} finds no validation rows in {recipe.data}"
    assert first == second, f"{task.name} splits the same rows differently with the same seed"
    missing = str(Path(tempfile.gettempdir()) / "no-such-file.csv")
    for read in (lambda: task.read(replace(recipe, data=missing)), lambda: task.read_evaluation(recipe, missing)):
        try:
            read()
        except UserError:
            continue
        raise AssertionError(f"{task.name} reads rows of a file that is not there")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _READ_WITHOUT_TORCH, task.name, recipe.data, recipe.model],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{task.name} cannot be read in a process of its own: {done.stderr.strip()[-500:]}"
    assert "torch" not in done.stdout, (
        f"{task.name} imports torch to read rows; mistakes in a file are told before that"
    )


_READ_WITHOUT_TORCH = """
import sys
from proxtune.config.recipe import Recipe
from proxtune.tasks.registry import find_task
name, data, model = sys.argv[1:]
recipe = Recipe(data=data, out="unused", model=model, task=name)
find_task(name).check(recipe)
find_task(name).read(recipe)
print("torch" if "torch" in sys.modules else "small")
"""


def check_task_rows(task: Task, data: TaskData) -> None:
    """Each row has tokens, none more than `max_length`, and the same objective; what is said of them goes into JSON."""
    for part, rows in ((data.train, data.split.train), (data.validation, data.split.validation)):
        assert len(part) == len(rows), f"{task.name} read {len(rows)} rows and encoded {len(part)}"
        assert part.lengths.min() > 0, f"{task.name} encodes a row as no token"
        assert part.lengths.max() <= data.max_length, f"{task.name} has rows longer than {data.max_length} tokens"
        assert part.ids.dtype == np.int32, f"{task.name} has token ids in {part.ids.dtype}, not int32"
    assert data.train.objective == data.validation.objective, f"{task.name} trains for one objective and scores another"
    assert isinstance(data.pad_id, int), f"{task.name} has no padding token"
    _assert_json(task.describe(data), f"{task.name} describes rows by what JSON cannot hold")
    task.import_architecture(data)


def check_objective(task: Task, data: TaskData, model: Any) -> None:
    """The loss of a batch is the sum of its parts', has a gradient, and scores are finite and have a rank."""
    import torch

    model.eval()  # no dropout
    objective, rows = data.train.objective, np.arange(min(_ROWS, len(data.train)))
    whole = objective.loss(model, data.train, rows, data.pad_id, rows, None)
    assert bool(torch.isfinite(whole)), f"{task.name} has a loss of {float(whole)} before any step"
    whole.backward()
    whole = whole.detach()
    assert any(p.grad is not None for p in model.parameters()), f"{task.name} has a loss without a gradient"
    model.zero_grad(set_to_none=True)
    with torch.inference_mode():
        parts = [objective.loss(model, data.train, part, data.pad_id, rows, None) for part in np.array_split(rows, 3)]
        outputs = objective.outputs(model, data.train, rows, data.pad_id).float().numpy()
    off = abs(float(sum(parts)) - float(whole)) / max(1.0, abs(float(whole)))
    assert off < _LOSS_TOLERANCE, f"{task.name}: the loss depends on the micro-batch ({off:.2g} off)"
    assert outputs.shape[:1] == rows.shape, f"{task.name} has outputs of shape {outputs.shape}"
    assert outputs.ndim == 2, f"{task.name} has outputs of shape {outputs.shape}"
    metrics = objective.score(outputs, select_rows(data.train, rows))
    assert "loss" in metrics, f"{task.name} scores {sorted(metrics)}, without a loss"
    strange = {name: value for name, value in metrics.items() if not np.isfinite(value)}
    assert not strange, f"{task.name} scores {strange}"
    rank = objective.rank(metrics)
    assert len(rank) == 2, f"{task.name} ranks {metrics} as {rank}, not as a pair"
    assert rank[0] >= 0, f"{task.name} ranks {metrics} as {rank}; the first number is not negative"


def check_task_results(task: Task, data: TaskData, model: Any) -> None:
    """What is said of the final model goes into JSON."""
    from proxtune.runtime.inference import outputs_of

    plan = Plan(
        method=method_names()[-1], dtype="fp32", batch=4, micro_batch=2, max_length=data.max_length, checkpointing=False,
        optimizer="adamw", learning_rate=1e-4, epochs=1.0, steps=1, trainable=0,
    )  # fmt: skip
    governor = _ungoverned()
    final = ModelAtHand(model=model, plan=plan, data=data, governor=governor)
    tokens = task.traits.prediction_tokens
    assert task.dry_run_results(final, tokens) >= 0, f"{task.name} promises results of fewer bytes than none"
    outputs = outputs_of(model, data.validation, data.pad_id, "fp32", tokens, governor)
    base = task.base_results(final, 60.0, lambda rows: outputs[rows]) if task.traits.compares_base_model else None
    needed = task.rows_of_results(data, base)
    assert set(needed) <= set(range(len(data.validation))), f"{task.name} asks for rows that are not there"
    results = task.results(final, np.where(np.isin(np.arange(len(outputs)), needed)[:, None], outputs, np.nan), base)
    _assert_json(results, f"{task.name} has results that JSON cannot hold")
    if base is not None:
        assert {"metrics", "seconds"} <= base.keys(), f"{task.name} scores the base model without metrics or seconds"
        assert task.lost_to_base(data, results, base), f"{task.name} says that a model is better than itself"
    task.set_defaults(model, data)


def check_task_answers(task: Task, recipe: Recipe, model_folder: Path, data: TaskData, model: Any) -> None:
    """A saved model is loaded again, scored on a file, and predicts each row of it once, in order."""
    from proxtune.models.tokenizer.saving import save_tokenizer
    from proxtune.runtime.inference import outputs_of

    governor, tokens = _ungoverned(), task.traits.prediction_tokens
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        save_tokenizer(data.tokenizer, Path(folder))
        result = {"task": task.name, "data": task.describe(data)}
        rows = task.read_evaluation(recipe, recipe.data)
        trained = task.load_trained(Path(folder), recipe, rows, result=result)
        outputs = outputs_of(trained.model, trained.rows, trained.pad_id, "fp32", tokens, governor)
        trained.rows.objective.score(outputs, trained.rows)
        _assert_json(
            task.evaluation(trained, outputs, governor, tokens), f"{task.name} evaluates to what JSON cannot hold"
        )
        inputs = task.read_inputs(recipe, (), recipe.data)
        asked = task.load_trained(Path(folder), recipe, inputs, result=result)
        events: list[Event] = []
        task.predict(
            asked, inputs, governor, tokens,
            lambda: outputs_of(asked.model, asked.rows, asked.pad_id, "fp32", tokens, governor), events.append,
        )  # fmt: skip
    predicted = sum(isinstance(event, Prediction) for event in events)
    assert predicted == len(inputs), f"{task.name} predicts {predicted} of {len(inputs)} rows"


def _ungoverned() -> Governor:
    return Governor(None, host_device().meter(), 0)


def _assert_json(value: Any, words: str) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{words}: {error}") from error
