"""The command line: parsing only. Words and progress go to stderr; with --json the last line of stdout is one object."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from proxtune.config.budget import Budget
from proxtune.config.recipe import DEFAULT_GENERATOR, DEFAULT_MODEL, Knobs, Recipe
from proxtune.errors import Interrupted, UserError

app = typer.Typer(
    name="proxtune",
    help="Fine-tune a language model inside the budget you have: bytes of memory, bytes of model, minutes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_BUDGET, _TASK, _KNOBS = "Budget", "Task and data", "Knobs (the planner chooses what you leave out)"
_STARTED = time.monotonic()


def _option(words: str, panel: str | None = None) -> Any:
    return typer.Option(help=words, rich_help_panel=panel, show_default=False)


Data = Annotated[
    str, typer.Argument(help=".csv .tsv .jsonl .json .parquet, a Hugging Face data folder or name", show_default=False)
]
Folder = Annotated[Path, typer.Argument(help="A run folder, made by train --out", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line")]
Memory = Annotated[str | None, _option("Bytes of RAM (or of the GPU) in every phase, e.g. 700MB", _BUDGET)]
Size = Annotated[str | None, _option("Bytes of the saved model, e.g. 100MB", _BUDGET)]
Trainable = Annotated[str | None, _option("Parameters trained at most, e.g. 1M", _BUDGET)]
Time = Annotated[
    str | None,
    typer.Option("--time", help="From start to saved result, e.g. 10min", rich_help_panel=_BUDGET, show_default=False),
]
Compute = Annotated[str | None, _option("Floating-point operations, e.g. 2PFLOP", _BUDGET)]
TaskName = Annotated[str | None, _option("classify, summarize, translate or instruct (guessed when left out)", _TASK)]
Model = Annotated[
    str, _option(f"Alias, folder or hub id (default {DEFAULT_MODEL}; to generate {DEFAULT_GENERATOR})", _TASK)
]
Validation = Annotated[str | None, _option("Rows to judge by (else a tenth of DATA)", _TASK)]
TextColumn = Annotated[str | None, _option("Column with the texts, or with what is asked (else guessed)", _TASK)]
LabelColumn = Annotated[str | None, _option("Column with the labels, or with the answers (else guessed)", _TASK)]
BadRows = Annotated[str, _option("fail or skip: rows that cannot be learned from (default fail)", _TASK)]
Instruction = Annotated[str | None, _option('What is said before each text that is answered ("" for nothing)', _TASK)]
Method = Annotated[str, _option("auto, probe, nno, lora, layers or full", _TASK)]
Seed = Annotated[int, _option("Seed of everything that is drawn (default 0)", _TASK)]
Device = Annotated[str, _option("auto, cpu or cuda", _TASK)]
MicroBatch = Annotated[int | None, _option("Rows computed at a time", _KNOBS)]
Batch = Annotated[int | None, _option("Rows in an update", _KNOBS)]
MaxLength = Annotated[int | None, _option("Tokens of a text at most", _KNOBS)]
Dtype = Annotated[str | None, _option("fp32 or bf16", _KNOBS)]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--checkpointing/--no-checkpointing", help="Recompute activations", rich_help_panel=_KNOBS, show_default=False
    ),
]
Optimizer = Annotated[str | None, _option("adamw or adafactor", _KNOBS)]
LearningRate = Annotated[float | None, _option("Peak learning rate", _KNOBS)]
Epochs = Annotated[float | None, _option("Passes over the data at most", _KNOBS)]
Rank = Annotated[int | None, _option("lora's rank", _KNOBS)]
LastLayers = Annotated[int | None, _option("How many blocks `layers` and `nno` train", _KNOBS)]
BaseDtype = Annotated[str | None, _option("int8 or int4: codes of the weights under lora's adapters", _KNOBS)]
KeepAdapter = Annotated[
    bool, typer.Option("--keep-adapter", help="Keep lora's adapter in adapter/ as well", rich_help_panel=_KNOBS)
]


@app.command()
def plan(
    data: Data, memory: Memory = None, size: Size = None, trainable: Trainable = None, budget_time: Time = None,
    compute: Compute = None, task: TaskName = None, model: Model = "", validation: Validation = None,
    text_column: TextColumn = None, label_column: LabelColumn = None, method: Method = "auto", seed: Seed = 0,
    device: Device = "auto", bad_rows: BadRows = "fail", instruction: Instruction = None,
    micro_batch: MicroBatch = None, batch: Batch = None, max_length: MaxLength = None, dtype: Dtype = None,
    checkpointing: Checkpointing = None, optimizer: Optimizer = None, learning_rate: LearningRate = None, epochs: Epochs = None,
    rank: Rank = None, last_layers: LastLayers = None, base_dtype: BaseDtype = None, as_json: Json = False,
) -> None:  # fmt: skip
    """What fits the budget, what it would cost, what was refused and why."""
    from proxtune.console import ProgressDisplay, show_plan
    from proxtune.pipeline.supervisor import plan as plan_run

    budget = Budget(memory, size, trainable, budget_time, compute)
    knobs = Knobs(
        micro_batch, batch, max_length, dtype, checkpointing, optimizer, learning_rate, epochs, rank, last_layers,
        base_dtype=base_dtype,
    )  # fmt: skip
    recipe = Recipe(
        data,
        "",
        task,
        model,
        method,
        seed,
        budget,
        validation,
        text_column,
        label_column,
        device,
        bad_rows,
        instruction,
        knobs,
    )
    with ProgressDisplay(budget) as progress:
        found = plan_run(recipe, progress.on_event)
    show_plan(found)
    _print_json(as_json, found)


@app.command()
def train(
    data: Data, out: Annotated[str, typer.Option(help="Run folder to make; never overwritten", show_default=False)],
    memory: Memory = None, size: Size = None, trainable: Trainable = None, budget_time: Time = None,
    compute: Compute = None, task: TaskName = None, model: Model = "", validation: Validation = None,
    text_column: TextColumn = None, label_column: LabelColumn = None, method: Method = "auto", seed: Seed = 0,
    device: Device = "auto", bad_rows: BadRows = "fail", instruction: Instruction = None,
    micro_batch: MicroBatch = None, batch: Batch = None, max_length: MaxLength = None, dtype: Dtype = None,
    checkpointing: Checkpointing = None, optimizer: Optimizer = None, learning_rate: LearningRate = None, epochs: Epochs = None,
    rank: Rank = None, last_layers: LastLayers = None, base_dtype: BaseDtype = None,
    keep_adapter: KeepAdapter = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Fine-tune inside the budget; leaves a run folder with model/, report.html and result.json."""
    budget = Budget(memory, size, trainable, budget_time, compute)
    knobs = Knobs(
        micro_batch,
        batch,
        max_length,
        dtype,
        checkpointing,
        optimizer,
        learning_rate,
        epochs,
        rank,
        last_layers,
        keep_adapter or None,
        base_dtype,
    )
    _train(
        Recipe(
            data,
            out,
            task,
            model,
            method,
            seed,
            budget,
            validation,
            text_column,
            label_column,
            device,
            bad_rows,
            instruction,
            knobs,
        ),
        as_json,
    )


def _train(recipe: Recipe, as_json: bool) -> None:
    from proxtune.console import ProgressDisplay, show_result
    from proxtune.pipeline.supervisor import train as train_run

    with ProgressDisplay(recipe.budget) as progress:
        result = train_run(recipe, progress.on_event, _STARTED)
    show_result(result, recipe.out)
    _print_json(as_json, result)


@app.command()
def resume(
    folder: Folder,
    exact: Annotated[
        bool, typer.Option("--exact", help="Refuse where anything is otherwise than when the run began")
    ] = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was interrupted, killed or out of room; the time that it used counts."""
    from proxtune.console import ProgressDisplay, show_result
    from proxtune.pipeline.supervisor import resumable_recipe
    from proxtune.pipeline.supervisor import resume as resume_run

    with ProgressDisplay(resumable_recipe(folder).budget) as progress:
        result = resume_run(folder, progress.on_event, _STARTED, exact)
    show_result(result, str(folder))
    _print_json(as_json, result)


@app.command()
def evaluate(folder: Folder, data: Data, as_json: Json = False) -> None:
    """Score a run's model on another file, with the baselines beside it."""
    from proxtune.console import show_evaluation
    from proxtune.pipeline.queries import evaluate as evaluate_run

    found = evaluate_run(folder, data)
    show_evaluation(found, data)
    _print_json(as_json, found)


@app.command()
def predict(
    folder: Folder,
    text: Annotated[list[str] | None, typer.Argument(help="Texts to label or to answer", show_default=False)] = None,
    file: Annotated[str | None, typer.Option(help="Texts from a file, its text column", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Label texts with a run's model, or let it answer them, as they come: one line a text, a blank one after longer answers."""
    from proxtune.pipeline.queries import predictions

    if not text and file is None:
        raise UserError("nothing to predict: give texts, or --file F")
    rows = predictions(folder, texts=text or (), file=file, listen=None if as_json else _PredictionPrinter().on_event)
    if as_json:
        _print_json(
            True, {"predictions": [{key: value for key, value in row.items() if key != "kind"} for row in rows]}
        )


class _PredictionPrinter:
    """Predictions as they come: of a single answer its pieces, and of the whole then what they lack."""

    def __init__(self) -> None:
        self._pieces = ""

    def on_event(self, row: dict[str, Any]) -> None:
        if row["kind"] == "piece":
            self._pieces += row["text"]
            sys.stdout.write(row["text"])
        elif "answer" in row:
            answer = row["answer"]
            sys.stdout.write(answer.removeprefix(self._pieces) + ("\n\n" if "\n" in answer else "\n"))
        else:
            sys.stdout.write(f"{row['label']}\t{max(row['probabilities']):.3f}\t{' '.join(row['text'].split())}\n")
        sys.stdout.flush()


@app.command()
def report(folder: Folder) -> None:
    """Write report.html again and print its path."""
    from proxtune.pipeline.queries import report as write

    sys.stdout.write(f"{write(folder)}\n")


@app.command()
def export(
    folder: Folder,
    out: Annotated[str, typer.Option(help="Folder, or file for gguf, to make; never overwritten", show_default=False)],
    kind: Annotated[str, typer.Option("--format", help="safetensors, adapter or gguf")] = "safetensors",
    as_json: Json = False,
) -> None:
    """Put a run's model or adapter elsewhere: merged safetensors, lora's adapter alone, or GGUF by llama.cpp's converter."""
    from proxtune.export.formats import export as export_run

    found = export_run(folder, out, kind)
    sys.stderr.write(f"{found['out']}: {found['bytes']:,} bytes\n")
    _print_json(as_json, found)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Run folder to make")] = "runs/demo",
    memory: Annotated[str, typer.Option(help="Memory budget")] = "1GB",
    budget_time: Annotated[str, typer.Option("--time", help="Time budget")] = "6min",
    as_json: Json = False,
) -> None:
    """The main job on bundled real data: movie reviews, positive or negative."""
    from proxtune.demo import free_folder, run_demo

    result = run_demo(free_folder(out), Budget(memory=memory, time=budget_time), _STARTED)
    _print_json(as_json, result)


def _print_json(wanted: bool, value: Any) -> None:
    if wanted:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def main() -> None:
    """Run the command line; exit codes: 0 done, 2 the person can mend it, 1 our fault, 130 or 143 interrupted."""
    as_json = "--json" in sys.argv
    try:
        app()
    except UserError as error:
        _end(
            as_json,
            2,
            "infeasible" if hasattr(error, "record") else "refused",
            str(error),
            getattr(error, "record", {}),
        )
    except (Interrupted, KeyboardInterrupt) as error:
        _end(as_json, 128 + getattr(error, "by", signal.SIGINT), "interrupted", str(error) or "interrupted", {})
    except Exception as error:
        from proxtune.pipeline.process import StageFailed

        if not isinstance(error, StageFailed):
            raise
        _end(as_json, 1, "failed", str(error), {})


def _end(as_json: bool, code: int, status: str, message: str, more: dict[str, Any]) -> None:
    if more.get("table"):
        from proxtune.console import show_plan

        show_plan(more)
    sys.stderr.write(f"proxtune: {message}\n")
    _print_json(as_json, {**more, "status": status, "message": message})
    sys.exit(code)


if __name__ == "__main__":
    main()
