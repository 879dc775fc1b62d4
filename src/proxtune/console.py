"""What the user sees while a run is on: lines and a progress bar on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from proxtune.config.budget import Budget, format_bytes, format_seconds
from proxtune.report.scores import score_table
from proxtune.storage.events import (
    Continued,
    DataRead,
    DryRunDone,
    Event,
    LapDone,
    Notice,
    Phase,
    PlanChosen,
    Resumed,
    RowsLeftOut,
    ScheduleChange,
    SizePhaseBegun,
    StepDown,
    StepEvent,
    StepRejected,
    Validation,
)

_console = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else 160)
_INDENT = " " * 10
_PHASES = {
    "read": "reading the data",
    "plan": "planning: profiling the model and trying plans out",
    "race": "racing: the best plans train for a while, and the lowest loss to expect wins",
    "untouched": "scoring the base model",
    "train": "training",
    "evaluate": "evaluating the best model",
    "save": "saving",
    "baselines": "baselines: what the cheapest answers score",
    "report": "report",
}


class ProgressDisplay:
    """Shows a run's events: on a terminal with a progress bar, elsewhere a line for each that matters."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[words]}"),
            console=_console, transient=True,
        )  # fmt: skip
        self._task: Any = None

    def __enter__(self) -> ProgressDisplay:
        if _console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _console.is_terminal:
            self._bar.stop()

    def on_event(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StepEvent) and _console.is_terminal:
            self._step(event)
        for line in event_lines(event):
            _console.print(line, markup=False)

    def _step(self, event: StepEvent) -> None:
        limit, time = self._budget.memory, self._budget.time
        memory = format_bytes(event.memory_bytes) + (f" of {format_bytes(limit)}" if limit else "")
        left = f" · {format_seconds(max(0.0, time - event.seconds))} left" if time else ""
        words = f"{event.step}/{event.steps} · loss {event.loss:.3f} · {memory}{left}"
        if self._task is None:
            self._task = self._bar.add_task("training", total=event.steps, words=words)
        self._bar.update(self._task, completed=event.step, total=event.steps, words=words)


def event_lines(event: Event) -> list[str]:
    """What the user is told of an event; nothing of a mere step."""
    match event:
        case Phase():
            return [_at(event.seconds, _PHASES.get(event.phase, event.phase))]
        case DataRead():
            return [_INDENT + line for line in _data_lines(event.facts)]
        case DryRunDone() if event.refused:
            return [_at(event.seconds, f"tried {event.plan}: {event.refused}")]
        case LapDone():
            return [_INDENT + f"{event.plan}: {_lap_text(event)}"]
        case PlanChosen():
            return [_INDENT + _plan_line(event.chosen)]
        case Validation():
            best = "  best so far" if event.best else ""
            return [_at(event.seconds, f"step {event.step}: {_scores_text(event.metrics)}{best}")]
        case SizePhaseBegun():
            size, scores = format_bytes(event.allocated_bytes), _scores_text(event.metrics)
            return [_at(event.seconds, f"step {event.step}: {scores} without the size limit; from now on in {size}")]
        case StepDown():
            return [_at(event.seconds, f"step-down: {event.before} → {event.after} ({event.why})")]
        case ScheduleChange():
            pace = "slower" if event.after < event.before else "faster"
            return [_at(event.seconds, f"{pace} than planned: {event.before} → {event.after} steps")]
        case Notice():
            return [_INDENT + event.words]
        case Resumed():
            how = f"interrupted by {event.after}" if event.after else "cut off"
            return [f"{_INDENT}resuming a run that was {how} after {format_seconds(event.seconds)}"]
        case Continued():
            return [_INDENT + "; ".join([f"continuing from step {event.step}", *event.notes])]
        case StepRejected():
            rows = f"; look at {', '.join(event.rows[:5])}" if event.rows else ""
            return [f"{_INDENT}step {event.step}: a loss or gradient was not finite, so nothing was updated{rows}"]
        case RowsLeftOut():
            more = f" and {len(event.rows) - 5} more" if len(event.rows) > 5 else ""
            rows = f"{', '.join(event.rows[:5])}{more}"
            return [f"{_INDENT}step {event.step}: too large for the memory even alone, left out from now on: {rows}"]
        case _:
            return []


def _at(seconds: float, words: str) -> str:
    return f"{seconds:6.1f} s  {words}"


def _data_lines(facts: Mapping[str, Any]) -> list[str]:
    labels = f"; labels: {', '.join(facts['labels'][:8])}" if facts["labels"] else ""
    return [f"{facts['train_rows']} training rows, {facts['validation_rows']} validation rows{labels}", *facts["notes"]]


def _plan_line(plan: Mapping[str, Any]) -> str:
    memory = format_bytes(max(plan["cost"]["memory_bytes"].values()))
    return (
        f"plan: {plan['name']}, {plan['steps']} steps ({plan['epochs']:.1f} epochs), {plan['trainable']:,} trained "
        f"parameters, promised {memory} and {format_seconds(plan['cost']['seconds'])}"
    )


def _lap_text(event: LapDone) -> str:
    if event.refused:
        return f"out of the race: {event.refused}"
    first, last = event.losses[0], event.losses[-1]
    return f"loss {first:.3f} → {last:.3f} in {event.steps} steps and {event.seconds[-1]:.0f} s"


def _scores_text(metrics: Mapping[str, float]) -> str:
    """The metrics of a validation, the loss last but for its perplexity."""
    if "accuracy" in metrics:
        return f"accuracy {metrics['accuracy']:.3f}, loss {metrics['loss']:.3f}"
    others = [f"{name} {value:.3g}" for name, value in metrics.items() if name != "loss"]
    return ", ".join([f"loss {metrics['loss']:.3f}", *others])


def show_plan(found: Mapping[str, Any]) -> None:
    """The plan table: what was chosen, what fits, what was refused and why."""
    table = Table(title="plans", title_justify="left", box=None, pad_edge=False)
    for name in ("plan", "memory", "time", "epochs", "quality", "status"):
        table.add_column(name, justify="left" if name in ("plan", "status") else "right", no_wrap=name == "plan")
    for row in found["table"]:
        plan, cost = row["plan"], row["plan"]["cost"]
        style = {"chosen": "bold green", "refused": "dim"}.get(row["status"])
        table.add_row(
            plan["name"], format_bytes(max(cost["memory_bytes"].values())), format_seconds(cost["seconds"]),
            f"{plan['epochs']:.1f}", f"{plan['expected']:.3f}",
            row["reason"] if row["status"] != "chosen" else "chosen", style=style,
        )  # fmt: skip
    _console.print(table)


def show_check(found: Mapping[str, Any]) -> None:
    """What a check found: the model, its tokenizer, and a row with all its tokens, the part that is learned in ⟦ ⟧."""
    model, tokenizer, row = found["model"], found["tokenizer"], found["row"]
    special = ", ".join(
        f"{name.removesuffix('_token')} {token!r}" for name, token in tokenizer["special_tokens"].items()
    )
    template = "with a chat template" if tokenizer["chat_template"] else "no chat template"
    learned = row["learned"] if found["data"]["labels"] else f"⟦{row['learned']}⟧"
    for name, words in (
        (
            "model",
            f"{model['architecture']} ({model['model_type']}), {model['parameters']:,} parameters in {model['blocks']} blocks",
        ),
        (
            "head",
            f"{model['head']}; attention {model['attention']}; {found['data']['max_length']} tokens a row at most",
        ),
        (
            "tokenizer",
            f"{tokenizer['class']}, {tokenizer['vocabulary']:,} tokens, {template}; {special or 'no special tokens'}",
        ),
        ("read", f"{row['name']}, {row['tokens']} tokens: {row['input']}"),
        ("learned", learned),
        ("one row", f"forward and backward in {model['row_seconds']:.1f} s, loss {model['loss']:.3f}"),
    ):
        _console.print(f"{name:<10} {words}", markup=False, soft_wrap=True)
    _console.print(f"ok: this model can be trained with --task {found['task']}", markup=False)


def show_result(result: Mapping[str, Any], out: str) -> None:
    """The result in a few lines."""
    memory, limit = result["measured"]["memory_bytes"], result["budget"]["memory"]
    peak = max(memory.values())
    promised = max(result["predicted"]["memory_bytes"].values())
    _console.print(result["verdict"], markup=False)
    _console.print(
        f"memory {format_bytes(peak)} (promised {format_bytes(promised)}" + (f", budget {format_bytes(limit)}" if limit else "")
        + f"), {format_seconds(result['measured']['seconds'])} (promised {format_seconds(result['predicted']['seconds'])})",
        markup=False,
    )  # fmt: skip
    if result["budget"].get("size"):
        _console.print(f"size {result['artifact_bytes']:,} of {result['budget']['size']:,} bytes", markup=False)
    _console.print(f"model:  {out}/model\nreport: {out}/report.html", markup=False)


def show_evaluation(found: Mapping[str, Any], name: str) -> None:
    """Metrics, and the main one of them beside the baselines'."""
    if "main" in found:
        _show_scores(found, name)
    else:
        _console.print(
            f"{name}: {found['rows']} rows, {', '.join(f'{key} {value:.4f}' for key, value in found['metrics'].items())}",
            markup=False,
        )
        for baseline, row in found.get("baselines", {}).items():
            _console.print(f"  {baseline}: accuracy {row['accuracy']:.4f}", markup=False)
    if found.get("note"):
        _console.print(f"  {found['note']}", markup=False)
    for note in found.get("notes", ()):
        _console.print(f"  {note}", markup=False)
    if found.get("truncated_rows"):
        _console.print(f"  {found['truncated_rows']} texts were too long and were cut", markup=False)


def show_cache(found: Mapping[str, Any], cleared: bool) -> None:
    """What the cache holds, the last used first, or how much was removed from it."""
    for model in found["models"]:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(model["last_used_seconds"]))
        _console.print(f"{model['name']}: {format_bytes(model['bytes'])}, last used {used}", markup=False)
        if model["source"]:
            _console.print(f"  made from {model['source']}", markup=False)
        _console.print(f"  {model['path']}", markup=False)
    if cleared:
        _console.print(f"removed {format_bytes(found['freed_bytes'])}", markup=False)
    if found["models"] or not cleared:
        total = f"{format_bytes(found['bytes'])} in all" if found["models"] else "the cache is empty"
        _console.print(total, markup=False)


def _show_scores(found: Mapping[str, Any], name: str) -> None:
    """Scores of generated text, in points: the model's, the base model's, the baselines'."""
    scores = score_table(found)
    assert scores is not None, "an evaluation has scores"
    table = Table(title=Text(f"{name}: {found['rows']} rows", "bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in scores.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in scores.rows:
        table.add_row(row.name, *row.cells, style="bold" if row.own else None)
    _console.print(table)
