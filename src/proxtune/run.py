"""A run, from the recipe to the report. This process supervises: each stage below is a process of its own.

recipe → learn (examples → task → model → plan → train → evaluate → artifact) → baselines → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.budget import Budget
from proxtune.durable import write_json
from proxtune.errors import Interrupted, PersonError
from proxtune.memory.measure import outer_limit_bytes
from proxtune.models import ALIASES
from proxtune.recipe import DEFAULT_MODEL, Knobs, Recipe, check, write_recipe
from proxtune.result import read_result, result_of, run_with_model
from proxtune.stages import StageFailed, run_stage

Record = dict[str, Any]
Listen = Callable[[Record], None]
_LEARN_TRIES = 3
_SHORT_OF_MEMORY = ("SIGKILL", "SIGSEGV", "SIGBUS")  # the system's answer, and that of compilers which do not ask


class Infeasible(PersonError):
    """No plan fits the budget; `record` has the nearest plan and the shortfall."""

    def __init__(self, record: Record) -> None:
        super().__init__(record["message"])
        self.record = record


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder, its result and its model's use."""

    folder: Path
    result: Record

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of `predict_proba`'s columns."""
        return list(self.result["data"]["labels"])

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each text."""
        return [row["label"] for row in predictions(self.folder, texts=texts)]

    def predict_proba(self, texts: Sequence[str]) -> list[list[float]]:
        """The probability of each label for each text."""
        return [row["probabilities"] for row in predictions(self.folder, texts=texts)]

    def evaluate(self, data: str | Path) -> Record:
        """Metrics on another file."""
        return evaluate(self.folder, str(data))


def tune(
    data: str | Path,
    *,
    out: str | Path,
    budget: Budget | None = None,
    task: str | None = None,
    model: str = DEFAULT_MODEL,
    method: str = "auto",
    seed: int = 0,
    validation: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    listen: Listen | None = None,
    **knobs: Any,
) -> Run:
    """Fine-tune `model` on `data` inside `budget`; the run folder `out` must not exist yet.

    `knobs` fixes what the planner would choose (`micro_batch`, `dtype`, `epochs`, … see `proxtune.recipe.Knobs`); `listen`
    receives each record as it happens. Raises PersonError (Infeasible among them) and Interrupted.
    """
    recipe = Recipe(
        data=str(data), out=str(out), task=task, model=model, method=method, seed=seed, budget=budget or Budget(),
        validation=None if validation is None else str(validation), text_column=text_column, label_column=label_column,
        knobs=Knobs(**knobs),
    )  # fmt: skip
    return Run(Path(out), train(recipe, listen))


def open_run(folder: str | Path) -> Run:
    """A finished run from its folder. Raises PersonError when there is none."""
    return Run(Path(folder), read_result(folder))


def train(recipe: Recipe, listen: Listen | None = None, started: float | None = None) -> Record:
    """Carry a recipe out; returns what `result.json` holds."""
    started = time.monotonic() if started is None else started
    recipe = checked(recipe)
    made = missing_parents(recipe.out)
    folder = claim_folder(recipe.out)
    with Journal(folder / "metrics.jsonl", listen) as journal:
        try:
            result = _carry_out(recipe, folder, started, journal)
        except BaseException:
            if not (folder / "model").is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                for parent in made:
                    with contextlib.suppress(OSError):
                        parent.rmdir()
            raise
    if result["status"] == "interrupted":
        raise Interrupted(f"interrupted; the best model so far is in {folder / 'model'}")
    return result


def missing_parents(out: str) -> list[Path]:
    """The folders above `out` that have to be made for it, innermost first."""
    return [parent for parent in Path(out).absolute().parents if not parent.exists()]


def _carry_out(recipe: Recipe, folder: Path, started: float, journal: Journal) -> Record:
    """The stages of a run, one after another; `result.json` stands before the report that is drawn from it."""
    write_recipe(recipe, folder / "recipe.toml")
    learned = _learn(recipe, folder, started, journal)
    journal.say({"kind": "phase", "phase": "baselines", "seconds": time.monotonic() - started})
    compared = run_stage("baselines", {"folder": str(folder)})
    result = result_of(recipe, learned, compared, time.monotonic() - started)
    write_json(folder / "result.json", result)
    journal.say({"kind": "phase", "phase": "report", "seconds": time.monotonic() - started})
    run_stage("report", {"folder": str(folder)})
    # the report is part of the time: the result on disk says when everything was there
    result["measured"]["seconds"] = round(time.monotonic() - started, 2)
    write_json(folder / "result.json", result)
    return result


def plan(recipe: Recipe, listen: Listen | None = None) -> Record:
    """What fits, what it would cost, what was refused and why. Leaves no files. Raises Infeasible."""
    import tempfile

    recipe = checked(recipe)
    with tempfile.TemporaryDirectory(prefix="proxtune-plan-") as name:
        folder = Path(name)
        write_recipe(recipe, folder / "recipe.toml")
        job = {"folder": name, "started": time.monotonic(), "plan_only": True}
        found = run_stage("learn", job, listen)
    if found["status"] == "infeasible":
        raise Infeasible(found)
    return found


def checked(recipe: Recipe) -> Recipe:
    """The recipe with its names checked and its memory no larger than the limit set around this process."""
    check(recipe)
    outer = outer_limit_bytes()
    if outer is not None and (recipe.budget.memory is None or recipe.budget.memory > outer):
        budget = recipe.budget.with_memory(outer)
        recipe = dataclasses.replace(recipe, budget=budget)
    return dataclasses.replace(
        recipe,
        task=recipe.task or "classify",
        data=_absolute(recipe.data),
        validation=None if recipe.validation is None else _absolute(recipe.validation),
        model=recipe.model if recipe.model in ALIASES else _absolute(recipe.model),
    )


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name


def claim_folder(out: str) -> Path:
    """Make the run folder; one that is there already is never touched."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise PersonError(
            f"the folder {out} is already there and is never overwritten; choose another --out"
        ) from error
    except OSError as error:
        raise PersonError(f"the folder {out} cannot be made: {error.strerror}; choose another --out") from error
    return folder.resolve()


class Journal:
    """Appends each record to `metrics.jsonl` and passes it on. State: the open file."""

    def __init__(self, path: Path, listen: Listen | None) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._listen = listen

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def say(self, record: Record) -> None:
        """One record, on disk before anyone hears of it."""
        if record.get("kind") != "plan":  # has a file of its own
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if self._listen is not None:
            self._listen(record)


def _learn(recipe: Recipe, folder: Path, started: float, journal: Journal) -> Record:
    """The stage `learn`, again with less memory when the system kills it; with the head fitted in between for `probe`."""
    killed: list[Record] = []
    for attempt in range(_LEARN_TRIES):
        job = {"folder": str(folder), "started": started}
        try:
            learned = run_stage("learn", job, journal.say)
            if learned["status"] == "features":
                head = run_stage("head", job)
                learned = run_stage("learn", job, journal.say)
                learned["memory_bytes"]["train"] = max(learned["memory_bytes"]["train"], head["peak_bytes"])
            break
        except StageFailed as failure:
            memory = recipe.budget.memory
            if failure.killed_by not in _SHORT_OF_MEMORY or memory is None or attempt == _LEARN_TRIES - 1:
                raise
            smaller = round(0.9 * memory)
            step = {
                "kind": "step_down", "at_step": 0, "seconds": round(time.monotonic() - started, 2),
                "from": f"{memory} bytes", "to": f"{smaller} bytes", "why": f"the process was killed by {failure.killed_by}",
            }  # fmt: skip
            killed.append(step)
            journal.say(step)
            budget = recipe.budget.with_memory(smaller)
            recipe = dataclasses.replace(recipe, budget=budget)
            shutil.rmtree(folder / "snapshots", ignore_errors=True)  # the next try learns from the beginning
            (folder / "journal.bin").unlink(missing_ok=True)
            write_recipe(recipe, folder / "recipe.toml")
    if learned["status"] == "infeasible":
        raise Infeasible(learned)
    learned["step_downs"] = killed + learned["step_downs"]
    return learned


def predictions(folder: str | Path, *, texts: Sequence[str] = (), file: str | None = None) -> list[Record]:
    """For each text (or row of `file`): text, label and probabilities, in order."""
    place = run_with_model(folder)
    rows: list[Record] = []
    job = {"folder": str(place), "texts": list(texts), "file": None if file is None else _absolute(file)}
    run_stage("apply", job, lambda record: rows.append(record) if record.get("kind") == "prediction" else None)
    return rows


def evaluate(folder: str | Path, data: str) -> Record:
    """Metrics on the rows of `data`, with the baselines' beside them; kept in the run's result and report."""
    place = run_with_model(folder)
    found = run_stage("apply", {"folder": str(place), "file": _absolute(data), "evaluate": True})
    try:
        found["baselines"] = run_stage("baselines", {"folder": str(place), "file": _absolute(data)})["baselines"]
    except PersonError as error:  # the rows that the run learned from may be gone by now
        found["baselines"], found["note"] = {}, f"no baselines: {error}"
    result = read_result(place)
    result.setdefault("evaluations", {})[Path(data).name] = found
    write_json(place / "result.json", result)
    run_stage("report", {"folder": str(place)})
    return found


def report(folder: str | Path) -> Path:
    """Write the report of a run again; returns its path."""
    read_result(folder)
    return Path(run_stage("report", {"folder": str(Path(folder).resolve())})["report"])
