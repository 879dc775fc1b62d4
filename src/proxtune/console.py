"""What a person sees while a run is on: words and a progress bar on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from proxtune.config.budget import Budget, format_bytes, format_seconds
from proxtune.report.sections.generation import scores

Record = dict[str, Any]
_console = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else 160)
_PHASES = {
    "read": "reading the data",
    "plan": "planning: tracing and rehearsing",
    "untouched": "asking the untouched model",
    "train": "training",
    "evaluate": "judging the best model",
    "save": "saving",
    "baselines": "baselines: what the cheapest answers score",
    "report": "report",
}


class ProgressDisplay:
    """Hears a run's records and shows them; on a terminal with a bar, elsewhere a line at each milestone."""

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

    def on_event(self, record: Record) -> None:
        """Show one record."""
        kind = record.get("kind")
        if kind == "phase":
            _console.print(f"[dim]{record['seconds']:6.1f} s[/]  {_PHASES.get(record['phase'], record['phase'])}")
        elif kind == "data":
            _console.print(
                f"          {record['train_rows']} rows to learn from, {record['validation_rows']} to judge by"
                + (f"; labels: {', '.join(record['labels'][:8])}" if record["labels"] else ""),
                markup=False,
            )
            for note in record["notes"]:
                _console.print(f"          {note}", markup=False)
        elif kind == "rehearsal" and record["refused"]:
            _console.print(f"{record['seconds']:6.1f} s  rehearsed {record['plan']}: {record['refused']}", markup=False)
        elif kind == "plan":
            chosen = record["chosen"]
            _console.print(
                f"          plan: {chosen['name']}, {chosen['steps']} steps ({chosen['epochs']:.1f} epochs), "
                f"{chosen['trainable']:,} parameters trained, promised "
                f"{format_bytes(max(chosen['cost']['memory_bytes'].values()))} and {format_seconds(chosen['cost']['seconds'])}",
                markup=False,
            )
        elif kind == "validation":
            star = "  best so far" if record["best"] else ""
            _console.print(f"[dim]{record['seconds']:6.1f} s[/]  step {record['step']}: {_scores_text(record)}{star}")
        elif kind == "held":
            _console.print(
                f"{record['seconds']:6.1f} s  step {record['step']}: accuracy {record['free']['accuracy']:.3f} without the size; "
                f"from now on held to {format_bytes(record['bytes'])}",
                markup=False,
            )
        elif kind == "step_down":
            _console.print(
                f"{record['seconds']:6.1f} s  step down: {record['from']} → {record['to']} ({record['why']})",
                markup=False,
            )
        elif kind in ("warning", "continued", "rejected", "resumed"):
            _console.print(f"          {_event_text(record)}", markup=False)
        elif kind == "schedule":
            _console.print(
                f"{record['seconds']:6.1f} s  {'slower' if record['to'] < record['from'] else 'faster'} than planned: "
                f"{record['from']} → {record['to']} steps",
                markup=False,
            )
        elif kind == "step" and _console.is_terminal:
            self._step(record)

    def _step(self, record: Record) -> None:
        memory = format_bytes(record["memory_bytes"]) + (
            f" of {format_bytes(self._budget.memory)}" if self._budget.memory else ""
        )
        left = f" · {format_seconds(max(0.0, self._budget.time - record['seconds']))} left" if self._budget.time else ""
        words = f"{record['step']}/{record['steps']} · loss {record['loss']:.3f} · {memory}{left}"
        if self._task is None:
            self._task = self._bar.add_task("training", total=record["steps"], words=words)
        self._bar.update(self._task, completed=record["step"], total=record["steps"], words=words)


def _scores_text(record: Record) -> str:
    """What a judgement says, in words."""
    if "accuracy" in record:
        return f"accuracy {record['accuracy']:.3f}, loss {record['loss']:.3f}"
    return f"loss {record['loss']:.3f}, perplexity {record['perplexity']:.1f}"


def _event_text(record: Record) -> str:
    """What a record says, in words."""
    if record["kind"] == "resumed":
        how = f"interrupted by {record['after']}" if record["after"] else "cut off"
        return f"going on with a run that was {how}, {format_seconds(record['seconds'])} in"
    if record["kind"] == "continued":
        return "; ".join([f"going on from step {record['step']}", *record["notes"]])
    if record["kind"] == "rejected":
        rows = f"; look at {', '.join(record['rows'][:5])}" if record["rows"] else ""
        return f"step {record['step']}: a loss or a gradient was not finite, and nothing moved{rows}"
    return str(record["words"])


def show_plan(found: Record) -> None:
    """The plan table: what was chosen, what fits, what was refused and why."""
    table = Table(title="plans", title_justify="left", box=None, pad_edge=False)
    for name in ("plan", "memory", "time", "epochs", "expected", "fate"):
        table.add_column(name, justify="left" if name in ("plan", "fate") else "right", no_wrap=name == "plan")
    for row in found["table"]:
        plan, cost = row["plan"], row["plan"]["cost"]
        style = {"chosen": "bold green", "refused": "dim"}.get(row["status"])
        table.add_row(
            plan["name"], format_bytes(max(cost["memory_bytes"].values())), format_seconds(cost["seconds"]),
            f"{plan['epochs']:.1f}", f"{plan['expected']:.3f}",
            row["reason"] if row["status"] != "chosen" else "chosen", style=style,
        )  # fmt: skip
    _console.print(table)


def show_result(result: Record, out: str) -> None:
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


def show_evaluation(found: Record, name: str) -> None:
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
    if found.get("truncated_rows"):
        _console.print(f"  {found['truncated_rows']} texts were longer than the model takes and were cut", markup=False)


def _show_scores(found: Record, name: str) -> None:
    """Scores of generated text, in points: the model's, the untouched model's, the baselines'."""
    told = scores(found)
    assert told is not None, "an evaluation has scores"
    table = Table(title=Text(f"{name}: {found['rows']} rows", "bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in told["columns"]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in told["rows"]:
        table.add_row(row["name"], *row["cells"], style="bold" if row["own"] else None)
    _console.print(table)
