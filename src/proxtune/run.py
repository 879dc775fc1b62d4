"""A run, from the recipe to the report. This process supervises: each stage below is a process of its own.

recipe → learn (examples → task → model → plan → train → evaluate → artifact) → baselines → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.aliases import ALIASES
from proxtune.budget import Budget
from proxtune.clock import Clock
from proxtune.durable import disk_words, sweep, write_json
from proxtune.errors import DiskFailed, Interrupted, PersonError
from proxtune.headers import check_files
from proxtune.lock import locked
from proxtune.memory.measure import outer_limit_bytes
from proxtune.metrics import Listen, Metrics, Record, said, seconds_used
from proxtune.recipe import (
    DEFAULT_GENERATOR,
    DEFAULT_MODEL,
    GENERATIVE,
    Knobs,
    Recipe,
    check,
    read_recipe,
    write_recipe,
)
from proxtune.result import (
    FEATURES_SETTLED,
    best_step,
    how_it_ended,
    interruptions,
    is_finished,
    learned_before,
    read_result,
    result_of,
    run_with_model,
    step_downs_of,
)
from proxtune.stages import StageFailed, StageHung, run_stage

_LEARN_TRIES = 3
_HUNG = "hung"  # in what was learned: what the watchdog said, and which step was kept
_SHORT_OF_MEMORY = ("SIGKILL", "SIGSEGV", "SIGBUS")  # the system's answer, and that of compilers which do not ask


class Infeasible(PersonError):
    """No plan fits the budget; `record` has the nearest plan and the shortfall."""

    def __init__(self, record: Record) -> None:
        super().__init__(record["message"])
        self.record = record


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder, its result and its model's use.

    Where text is generated `predict` answers, and there are no labels and no probabilities.
    """

    folder: Path
    result: Record

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of `predict_proba`'s columns."""
        return list(self.result["data"]["labels"])

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each text, or the answer to it."""
        return [str(row.get("label", row.get("answer"))) for row in predictions(self.folder, texts=texts)]

    def predict_proba(self, texts: Sequence[str]) -> list[list[float]]:
        """The probability of each label for each text."""
        return [row["probabilities"] for row in predictions(self.folder, texts=texts)]

    def evaluate(self, data: str | Path) -> Record:
        """Metrics on another file."""
        return evaluate(self.folder, str(data))

    def export(self, out: str | Path, kind: str = "safetensors") -> Path:
        """The model, the adapter or a GGUF file at `out`, as `proxtune.export.export`. Raises PersonError."""
        from proxtune.export import export

        export(self.folder, out, kind)
        return Path(out)


def tune(
    data: str | Path,
    *,
    out: str | Path,
    budget: Budget | None = None,
    task: str | None = None,
    model: str = "",
    method: str = "auto",
    seed: int = 0,
    validation: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    bad_rows: str = "fail",
    instruction: str | None = None,
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
        bad_rows=bad_rows, instruction=instruction,
        knobs=Knobs(**knobs),
    )  # fmt: skip
    return Run(Path(out), train(recipe, listen))


def open_run(folder: str | Path) -> Run:
    """A finished run from its folder. Raises PersonError when there is none."""
    return Run(Path(folder), read_result(folder))


def train(recipe: Recipe, listen: Listen | None = None, started: float | None = None) -> Record:
    """Carry a recipe out; returns what `result.json` holds."""
    started = time.monotonic() if started is None else started
    recipe = checked(recipe, listen)
    made = missing_parents(recipe.out)
    folder = claim_folder(recipe.out)
    try:
        with _failures_of_the_disk(), locked(folder) as lock:
            write_recipe(recipe, folder / "recipe.toml")
            with Metrics(folder, listen) as metrics:
                return _carry_out(recipe, folder, started, metrics, {"lock": lock})
    except BaseException as error:
        if not _can_be_gone_on_with(folder, error):
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        raise


def resume(
    folder: str | Path, listen: Listen | None = None, started: float | None = None, exact: bool = False
) -> Record:
    """Go on with a run that was interrupted, from wherever it was; returns what `result.json` holds.

    The time that it has used counts. A run that is finished stays as it is. With `exact` nothing that training depends on may
    be otherwise than it was. Raises PersonError and Interrupted.
    """
    recipe = begun_recipe(folder)
    place = Path(folder).resolve()
    with _failures_of_the_disk(), locked(place) as lock:
        if is_finished(place):
            if listen is not None:
                listen({"kind": "warning", "words": f"{folder} is finished: there is nothing to do"})
            return read_result(place)
        sweep(place)
        recipe = dataclasses.replace(checked(recipe), out=str(place))
        before = said(place)
        used = seconds_used(before)
        began = (time.monotonic() if started is None else started) - used
        with Metrics(place, listen) as metrics:
            metrics.say({"kind": "resumed", "seconds": used, **how_it_ended(before)})
            return _carry_out(recipe, place, began, metrics, {"lock": lock, "exact": exact})


def begun_recipe(folder: str | Path) -> Recipe:
    """The recipe of a run that was begun. Raises PersonError."""
    if not (Path(folder) / "recipe.toml").is_file():
        raise PersonError(f"{folder} is not a run (no recipe.toml); give the folder that `proxtune train --out` made")
    names = (
        "recipe.toml",
        "journal.bin",
        "snapshots",
        "model",
        "metrics.jsonl",
        "learned.json",
        "result.json",
        "head.npz",
    )
    check_files(Path(folder), names)
    return read_recipe(Path(folder) / "recipe.toml")


def _can_be_gone_on_with(folder: Path, error: BaseException) -> bool:
    """Whether `resume` would find something: what was learned, or a run that was stopped from outside."""
    stopped = isinstance(error, Interrupted | KeyboardInterrupt | DiskFailed) or getattr(error, "killed_by", None)
    stopped = stopped or (isinstance(error, StageHung) and error.cause == "stuck")  # one that was late has no time left
    began = not isinstance(error, PersonError) and (folder / "journal.bin").exists()
    learned = (folder / "model").is_dir() or any(folder.glob("snapshots/*.safetensors"))
    return (folder / "recipe.toml").is_file() and bool(stopped or began or learned)


@contextmanager
def _failures_of_the_disk() -> Iterator[None]:
    """A disk that is full or fails is no fault of ours: the person is told."""
    try:
        yield
    except OSError as error:
        words = disk_words(error)
        if words is None:
            raise
        raise DiskFailed(words) from error


def missing_parents(out: str) -> list[Path]:
    """The folders above `out` that have to be made for it, innermost first."""
    return [parent for parent in Path(out).absolute().parents if not parent.exists()]


def _carry_out(recipe: Recipe, folder: Path, started: float, metrics: Metrics, job: Record) -> Record:
    """The stages of a run that are not done yet, one after another; `result.json` stands before the report drawn from it.

    Raises Interrupted, and StageHung where the watchdog had to end it, with a model and a report there if anything was learned.
    """
    clock = Clock(started, recipe.budget.time)
    try:
        learned = learned_before(folder) or _learn_or_keep(recipe, folder, started, metrics, job)
        metrics.say({"kind": "phase", "phase": "baselines", "seconds": time.monotonic() - started})
        compared = _run_twice("baselines", recipe, folder, clock, metrics, job)
        told = said(folder)
        learned["step_downs"] = step_downs_of(told, learned["step_downs"])
        result = result_of(recipe, learned, compared, time.monotonic() - started) | {
            "interruptions": interruptions(told)
        }
        hung: StageHung | None = learned.get(_HUNG)
        if hung is not None:
            result["hung"] = str(hung)
        (folder / "report.html").unlink(missing_ok=True)  # that of an earlier sitting would pass for this one's
        write_json(folder / "result.json", result)
        metrics.say({"kind": "phase", "phase": "report", "seconds": time.monotonic() - started})
        _run_twice("report", recipe, folder, clock, metrics, job)
        # the report is part of the time: the result on disk says when everything was there
        result["measured"]["seconds"] = round(time.monotonic() - started, 2)
        write_json(folder / "result.json", result)
        if hung is not None:
            metrics.say({"kind": "interrupted", "by": "the watchdog", "seconds": time.monotonic() - started})
            raise StageHung(f"{hung}. The best model so far, of step {learned['best_step']}, was judged and is in "
                            f"{folder / 'model'}; to go on: proxtune resume {recipe.out}", hung.cause)  # fmt: skip
        if result["status"] == "interrupted":
            by = learned.get("interrupted_by", signal.SIGINT)
            raise Interrupted(f"interrupted; the best model so far is in {folder / 'model'}", by)
    except Interrupted as stop:
        seconds = time.monotonic() - started
        metrics.say({"kind": "interrupted", "by": signal.Signals(stop.by).name, "seconds": seconds})
        raise Interrupted(f"{str(stop) or 'interrupted'}; to go on: proxtune resume {recipe.out}", stop.by) from None
    return result


def _learn_or_keep(recipe: Recipe, folder: Path, started: float, metrics: Metrics, job: Record) -> Record:
    """`_learn`; where the watchdog ended it, the best model until then, judged and saved in a fresh process.

    That has all the time of a run again: what judging takes was taken from the process that hung. Raises StageHung where
    nothing was learned yet.
    """
    try:
        learned = _learn(recipe, folder, started, metrics, job)
    except StageHung as error:
        hung = error
        _say_hung(hung, metrics, started)
        if not _has_learned(folder):
            can_resume = hung.cause == "stuck" or (folder / "journal.bin").exists()
            how = f"to go on: proxtune resume {recipe.out}" if can_resume else "give more --time and train again"
            raise StageHung(f"{hung}. Nothing was learned yet; {how}", hung.cause) from error
        try:
            learned = run_stage(
                "learn", {"folder": str(folder), "started": started, "finish": True, **job}, metrics.say,
                clock=Clock(time.monotonic(), recipe.budget.time),
            )  # fmt: skip
        except StageFailed as again:
            raise StageHung(f"{hung}. Judging the best model so far in a fresh process failed too ({again}); "
                            f"to go on: proxtune resume {recipe.out}", hung.cause) from again  # fmt: skip
    else:
        told = learned.pop("watchdog", None)
        if told is None:
            return learned
        hung = StageHung(told["words"], told["cause"])
        _say_hung(hung, metrics, started)
    if learned["status"] == "interrupted":
        learned.setdefault("best_step", best_step(said(folder)))
        learned[_HUNG] = hung
    return learned


def _has_learned(folder: Path) -> bool:
    """Whether there is something to finish a run with: weights, or a fitted head where it is that."""
    has_head = (folder / FEATURES_SETTLED).is_file() and (folder / "head.npz").is_file()
    return has_head or any(folder.glob("snapshots/*.safetensors"))


def _say_hung(hung: StageHung, metrics: Metrics, started: float) -> None:
    metrics.say(
        {"kind": "warning", "words": str(hung), "cause": hung.cause, "seconds": round(time.monotonic() - started, 2)}
    )


def _run_twice(name: str, recipe: Recipe, folder: Path, clock: Clock, metrics: Metrics, job: Record) -> Record:
    """A stage after learning, once more where the watchdog ended it. Raises StageHung that says what is missing."""
    try:
        return run_stage(name, {"folder": str(folder), **job}, clock=clock)
    except StageHung as hung:
        _say_hung(StageHung(f"{hung}; it is tried once more", hung.cause), metrics, clock.started)
    try:
        return run_stage(name, {"folder": str(folder), **job}, clock=clock)
    except StageHung as hung:
        missing = "the report is" if name == "report" else "the baselines and the report are"
        raise StageHung(f"{hung}, for the second time. The model is in {folder / 'model'}, {missing} missing; "
                        f"to go on: proxtune resume {recipe.out}", hung.cause) from hung  # fmt: skip


def plan(recipe: Recipe, listen: Listen | None = None) -> Record:
    """What fits, what it would cost, what was refused and why. Leaves no files. Raises Infeasible.

    That planning takes longer than --time is no reason to end it: it says what would do.
    """
    import tempfile

    recipe = checked(recipe, listen)
    with tempfile.TemporaryDirectory(prefix="proxtune-plan-") as name:
        folder = Path(name)
        write_recipe(recipe, folder / "recipe.toml")
        job = {"folder": name, "started": time.monotonic(), "plan_only": True}
        found = run_stage("learn", job, listen)
    if found["status"] == "infeasible":
        raise Infeasible(found)
    return found


def checked(recipe: Recipe, listen: Listen | None = None) -> Recipe:
    """The recipe with task and model chosen, its names checked, and its memory no larger than the limit around this process.

    Raises PersonError.
    """
    check(recipe)
    recipe = _with_task(recipe, listen)
    check(recipe)
    if recipe.generates:
        from proxtune.text_scores import require_scores

        require_scores(str(recipe.task))
    outer = outer_limit_bytes() if recipe.device != "cuda" else None
    if outer is not None and (recipe.budget.memory is None or recipe.budget.memory > outer):
        budget = recipe.budget.with_memory(outer)
        recipe = dataclasses.replace(recipe, budget=budget)
    return dataclasses.replace(
        recipe,
        data=_absolute(recipe.data),
        validation=None if recipe.validation is None else _absolute(recipe.validation),
        model=recipe.model if recipe.model in ALIASES else _absolute(recipe.model),
    )


def _with_task(recipe: Recipe, listen: Listen | None) -> Recipe:
    """The recipe with its task guessed, if need be, and said; and with the task's own model where none is named."""
    task = recipe.task
    if task is None:
        from proxtune.data import guess_task

        task, why = guess_task(recipe.data, text_column=recipe.text_column, label_column=recipe.label_column)
        if task in GENERATIVE and listen is not None:
            listen({"kind": "warning", "words": f"the task is taken to be {task}, for {why} (--task to change)"})
    model = recipe.model or (DEFAULT_GENERATOR if task in GENERATIVE else DEFAULT_MODEL)
    return dataclasses.replace(recipe, task=task, model=model)


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


def _learn(recipe: Recipe, folder: Path, started: float, metrics: Metrics, more: Record) -> Record:
    """The stage `learn`, again with less memory when the system kills it; with the head fitted in between for `probe`."""
    killed: list[Record] = []
    clock = Clock(started, recipe.budget.time)
    for attempt in range(_LEARN_TRIES):
        job = {"folder": str(folder), "started": started, **more}
        try:
            has_features = (folder / FEATURES_SETTLED).is_file()
            learned: Record = {"status": "features"}
            if not has_features:
                learned = run_stage("learn", job, metrics.say, clock=clock)
            if learned["status"] == "features":
                has_head = (folder / "head.npz").is_file()
                head = {"peak_bytes": 0} if has_head else run_stage("head", job, clock=clock)
                learned = run_stage("learn", job, metrics.say, clock=clock)
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
            metrics.say(step)
            budget = recipe.budget.with_memory(smaller)
            recipe = dataclasses.replace(recipe, budget=budget)
            shutil.rmtree(folder / "snapshots", ignore_errors=True)  # the next try learns from the beginning
            for name in ("journal.bin", FEATURES_SETTLED, "features.npz", "head.npz"):
                (folder / name).unlink(missing_ok=True)
            write_recipe(recipe, folder / "recipe.toml")
    if learned["status"] == "infeasible":
        raise Infeasible(learned)
    learned["step_downs"] = killed + learned["step_downs"]
    return learned


def predictions(
    folder: str | Path, *, texts: Sequence[str] = (), file: str | None = None, listen: Listen | None = None
) -> list[Record]:
    """For each text (or row of `file`): text, label and probabilities, or the answer, in order; `listen` has each as it comes.

    Of the answer to a single text it has the pieces first: records of the kind "piece", with their `text`.
    """
    place = run_with_model(folder)
    rows: list[Record] = []
    job = {"folder": str(place), "texts": list(texts), "file": None if file is None else _absolute(file)}

    def hear(record: Record) -> None:
        if record.get("kind") == "prediction":
            rows.append(record)
        if listen is not None and record.get("kind") in ("prediction", "piece"):
            listen(record)

    run_stage("apply", job, hear)
    return rows


def evaluate(folder: str | Path, data: str) -> Record:
    """Metrics on the rows of `data`, with the baselines' beside them; kept in the run's result and report."""
    place = run_with_model(folder)
    job = {"folder": str(place), "file": _absolute(data), "evaluate": True}
    found = run_stage("apply", job)
    if read_recipe(place / "recipe.toml").generates:
        found = _with_answers_compared(found, job)
    else:
        try:
            found["baselines"] = run_stage("baselines", {"folder": str(place), "file": _absolute(data)})["baselines"]
        except PersonError as error:  # the rows that the run learned from may be gone by now
            found["baselines"], found["note"] = {}, f"no baselines: {error}"
    result = read_result(place)
    result.setdefault("evaluations", {})[Path(data).name] = found
    write_json(place / "result.json", result)
    run_stage("report", {"folder": str(place)})
    return found


def _with_answers_compared(found: Record, job: Record) -> Record:
    """An evaluation with the untouched model's and the baselines' scores on the same rows."""
    before = run_stage("apply", job | {"untouched": True})
    both = {
        name: {key: one[key] for key in ("answers", "metrics")} for name, one in (("after", found), ("before", before))
    }
    compared = run_stage("baselines", {key: job[key] for key in ("folder", "file")} | both)
    compared.pop("peak_bytes")
    kept = {key: value for key, value in found.items() if key != "answers"}
    return {**kept, **compared, "untouched_memory_bytes": before["memory_bytes"]}


def report(folder: str | Path) -> Path:
    """Write the report of a run again; returns its path."""
    read_result(folder)
    return Path(run_stage("report", {"folder": str(Path(folder).resolve())})["report"])
