"""The command line: parsing only. Words and progress go to stderr; with --json the last line of stdout is one object."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from proxtune.config.budget import Budget
from proxtune.config.recipe import DEFAULT_GENERATOR, DEFAULT_MODEL, Knobs, Recipe
from proxtune.errors import Interrupted, UserError
from proxtune.export.registry import EXPORTS
from proxtune.memory.devices.registry import DEVICES
from proxtune.methods.registry import METHODS
from proxtune.storage.events import AnswerPiece, Event, Notice, Prediction
from proxtune.tasks.registry import TASKS

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


def _one_of(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


Data = Annotated[
    str,
    typer.Argument(help=".csv .tsv .jsonl .json .parquet, a dataset folder or a Hugging Face name", show_default=False),
]
Folder = Annotated[Path, typer.Argument(help="A run folder, made by train --out", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line")]
Memory = Annotated[str | None, _option("Bytes of RAM (or of the GPU) in every phase, e.g. 700MB", _BUDGET)]
Size = Annotated[str | None, _option("Bytes of the saved model, e.g. 100MB", _BUDGET)]
Trainable = Annotated[str | None, _option("Most parameters to train, e.g. 1M", _BUDGET)]
Time = Annotated[
    str | None,
    typer.Option(
        "--time", help="From the command to the saved result, e.g. 10min", rich_help_panel=_BUDGET, show_default=False
    ),
]
Compute = Annotated[str | None, _option("Floating-point operations, e.g. 2PFLOP", _BUDGET)]
TaskName = Annotated[str | None, _option(f"{_one_of(TASKS.names())} (default: guessed from the columns)", _TASK)]
Model = Annotated[
    str, _option(f"Alias, folder or hub id (default {DEFAULT_MODEL}; to generate text {DEFAULT_GENERATOR})", _TASK)
]
Validation = Annotated[str | None, _option("Validation data (default: a tenth of DATA)", _TASK)]
TextColumn = Annotated[str | None, _option("Column with the texts or prompts (default: guessed)", _TASK)]
LabelColumn = Annotated[str | None, _option("Column with the labels or answers (default: guessed)", _TASK)]
BadRows = Annotated[str, _option("fail or skip: what to do with unusable rows (default fail)", _TASK)]
Instruction = Annotated[str | None, _option('Instruction put before each text ("" for none)', _TASK)]
MethodName = Annotated[str, _option(_one_of(("auto", *METHODS.names())), _TASK)]
Seed = Annotated[int, _option("Random seed (default 0)", _TASK)]
DeviceName = Annotated[str, _option(_one_of(("auto", *DEVICES.names())), _TASK)]
MicroBatch = Annotated[int | None, _option("Rows computed at once", _KNOBS)]
Batch = Annotated[int | None, _option("Rows of an update", _KNOBS)]
MaxLength = Annotated[int | None, _option("Tokens of the longest text", _KNOBS)]
Dtype = Annotated[str | None, _option("fp32 or bf16", _KNOBS)]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--checkpointing/--no-checkpointing", help="Recompute activations", rich_help_panel=_KNOBS, show_default=False
    ),
]
Optimizer = Annotated[str | None, _option("adamw or adafactor", _KNOBS)]
LearningRate = Annotated[float | None, _option("Peak learning rate", _KNOBS)]
Epochs = Annotated[float | None, _option("Most passes over the data", _KNOBS)]
Rank = Annotated[int | None, _option("Rank of adapters", _KNOBS)]
LastLayers = Annotated[int | None, _option("How many of the last blocks to train, for methods that train some", _KNOBS)]
BaseDtype = Annotated[str | None, _option("int8 or int4: hold the weights under adapters as codes", _KNOBS)]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream", help="Read the weights under adapters from disk as they are used", rich_help_panel=_KNOBS,
        show_default=False,
    ),
]  # fmt: skip
KeepAdapter = Annotated[
    bool, typer.Option("--keep-adapter", help="Keep the adapter in adapter/ as well", rich_help_panel=_KNOBS)
]


def _recipe(given: dict[str, Any], out: str = "") -> Recipe:
    """The recipe that the options of `plan` and `train` say, by their names."""
    knobs = {name: given.get(name) for name in _names(Knobs)}
    knobs["keep_adapter"] = knobs["keep_adapter"] or None  # a flag that was not given leaves it out of the recipe
    budget = Budget(**{name: given[name] for name in _names(Budget) - {"time"}}, time=given["budget_time"])
    others = _names(Recipe) - {"out", "budget", "knobs"}
    return Recipe(**{name: given[name] for name in others}, out=out, budget=budget, knobs=Knobs(**knobs))


def _names(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


@app.command()
def plan(
    data: Data, memory: Memory = None, size: Size = None, trainable: Trainable = None, budget_time: Time = None,
    compute: Compute = None, task: TaskName = None, model: Model = "", validation: Validation = None,
    text_column: TextColumn = None, label_column: LabelColumn = None, method: MethodName = "auto", seed: Seed = 0,
    device: DeviceName = "auto", bad_rows: BadRows = "fail", instruction: Instruction = None,
    micro_batch: MicroBatch = None, batch: Batch = None, max_length: MaxLength = None, dtype: Dtype = None,
    checkpointing: Checkpointing = None, optimizer: Optimizer = None, learning_rate: LearningRate = None, epochs: Epochs = None,
    rank: Rank = None, last_layers: LastLayers = None, base_dtype: BaseDtype = None, stream: Stream = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show what fits the budget, what it would cost, and why the rest was refused."""
    recipe = _recipe(locals())
    from proxtune.console import ProgressDisplay, show_plan
    from proxtune.pipeline.supervisor import plan as plan_run

    with ProgressDisplay(recipe.budget) as display:
        found = plan_run(recipe, display.on_event)
    show_plan(found)
    _print_json(as_json, found)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="Alias, folder or hub id", show_default=False)],
    data: Annotated[str, typer.Argument(help="Data as for train (default: a bundled sample)", show_default=False)] = "",
    task: TaskName = None, text_column: TextColumn = None, label_column: LabelColumn = None, bad_rows: BadRows = "fail",
    instruction: Instruction = None, device: DeviceName = "auto", max_length: MaxLength = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Check in seconds whether a model can be trained on some data, and show a row as the model sees it."""
    recipe = Recipe(
        data=data, out="", task=task, model=model, text_column=text_column, label_column=label_column, device=device,
        bad_rows=bad_rows, instruction=instruction, knobs=Knobs(max_length=max_length),
    )  # fmt: skip
    from proxtune.console import ProgressDisplay, show_check
    from proxtune.pipeline.supervisor import check as check_run

    with ProgressDisplay(recipe.budget) as display:
        found = check_run(recipe, display.on_event)
    show_check(found)
    _print_json(as_json, found)


@app.command()
def train(
    data: Data, out: Annotated[str, typer.Option(help="Run folder to make; never overwritten", show_default=False)],
    memory: Memory = None, size: Size = None, trainable: Trainable = None, budget_time: Time = None,
    compute: Compute = None, task: TaskName = None, model: Model = "", validation: Validation = None,
    text_column: TextColumn = None, label_column: LabelColumn = None, method: MethodName = "auto", seed: Seed = 0,
    device: DeviceName = "auto", bad_rows: BadRows = "fail", instruction: Instruction = None,
    micro_batch: MicroBatch = None, batch: Batch = None, max_length: MaxLength = None, dtype: Dtype = None,
    checkpointing: Checkpointing = None, optimizer: Optimizer = None, learning_rate: LearningRate = None, epochs: Epochs = None,
    rank: Rank = None, last_layers: LastLayers = None, base_dtype: BaseDtype = None, stream: Stream = None,
    keep_adapter: KeepAdapter = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Fine-tune inside the budget; leaves a run folder with model/, report.html and result.json."""
    recipe = _recipe(locals(), out)
    from proxtune.console import ProgressDisplay, show_result
    from proxtune.pipeline.supervisor import train as train_run

    with ProgressDisplay(recipe.budget) as display:
        result = train_run(recipe, display.on_event, _STARTED)
    show_result(result, recipe.out)
    _print_json(as_json, result)


@app.command()
def resume(
    folder: Folder,
    exact: Annotated[
        bool, typer.Option("--exact", help="Refuse to resume if the data, model, versions or threads changed")
    ] = False,
    as_json: Json = False,
) -> None:
    """Resume an interrupted run. Time already used counts."""
    from proxtune.console import ProgressDisplay, show_result
    from proxtune.pipeline.supervisor import resumable_recipe
    from proxtune.pipeline.supervisor import resume as resume_run

    with ProgressDisplay(resumable_recipe(folder).budget) as display:
        result = resume_run(folder, display.on_event, _STARTED, exact)
    show_result(result, str(folder))
    _print_json(as_json, result)


@app.command()
def evaluate(folder: Folder, data: Data, as_json: Json = False) -> None:
    """Score a run's model on another file, beside the baselines."""
    from proxtune.console import show_evaluation
    from proxtune.pipeline.queries import evaluate as evaluate_run

    found = evaluate_run(folder, data)
    show_evaluation(found, data)
    _print_json(as_json, found)


@app.command()
def predict(
    folder: Folder,
    text: Annotated[list[str] | None, typer.Argument(help="Texts to classify or answer", show_default=False)] = None,
    file: Annotated[
        str | None, typer.Option(help="Take the texts from a file's text column", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Classify or answer texts with a run's model. Prints a line for each text as it is done."""
    from proxtune.pipeline.queries import predictions

    if not text and file is None:
        raise UserError("nothing to predict; give texts, or --file FILE")
    listen = _PredictionPrinter(only_notices=as_json).on_event
    rows = predictions(folder, texts=text or (), file=file, listen=listen, keep=as_json)
    if as_json:
        told = [{key: value for key, value in row.as_dict().items() if key != "kind"} for row in rows]
        _print_json(True, {"predictions": told})


class _PredictionPrinter:
    """Prints predictions as they come, and notices to stderr. State: the pieces of a single answer that are printed already."""

    def __init__(self, only_notices: bool) -> None:
        self._only_notices = only_notices
        self._pieces = ""

    def on_event(self, event: Event) -> None:
        match event:
            case Notice(words=words):
                sys.stderr.write(f"{words}\n")
            case _ if self._only_notices:
                pass
            case AnswerPiece():
                self._pieces += event.text
                sys.stdout.write(event.text)
            case Prediction(answer=str() as answer):
                sys.stdout.write(answer.removeprefix(self._pieces) + ("\n\n" if "\n" in answer else "\n"))
            case Prediction(probabilities=probabilities):
                best = f"{max(probabilities):.3f}" if probabilities else ""  # none of a row without a text
                sys.stdout.write(f"{event.label}\t{best}\t{' '.join(event.text.split())}\n")
        sys.stdout.flush()


@app.command()
def report(folder: Folder) -> None:
    """Write report.html anew and print its path."""
    from proxtune.pipeline.queries import report as write

    sys.stdout.write(f"{write(folder)}\n")


@app.command()
def export(
    folder: Folder,
    out: Annotated[str, typer.Option(help="Folder or file to make; never overwritten", show_default=False)],
    kind: Annotated[str, typer.Option("--format", help=_one_of(EXPORTS.names()))] = "safetensors",
    as_json: Json = False,
) -> None:
    """Export a run's model: merged safetensors, the adapter alone, or GGUF by llama.cpp's converter."""
    from proxtune.export.formats import export as export_run

    found = export_run(folder, out, kind)
    sys.stderr.write(f"{found['out']}: {found['bytes']:,} bytes\n")
    _print_json(as_json, found)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them")] = False, as_json: Json = False
) -> None:
    """List the converted models that are kept for the next run, or remove them."""
    from proxtune.console import show_cache
    from proxtune.storage.cache import cached_models, clear_cache

    freed_bytes = clear_cache() if clear else 0
    models = [{"name": model.path.name, **asdict(model), "path": str(model.path)} for model in cached_models()]
    found = {"models": models, "bytes": sum(model["bytes"] for model in models), "freed_bytes": freed_bytes}
    show_cache(found, clear)
    _print_json(as_json, found)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Run folder to make")] = "runs/demo",
    memory: Annotated[str, typer.Option(help="Memory budget")] = "1GB",
    budget_time: Annotated[str, typer.Option("--time", help="Time budget")] = "6min",
    as_json: Json = False,
) -> None:
    """Fine-tune on bundled movie reviews, positive or negative."""
    from proxtune.demo import free_folder, run_demo

    result = run_demo(free_folder(out), Budget(memory=memory, time=budget_time), _STARTED)
    _print_json(as_json, result)


def _print_json(wanted: bool, value: Any) -> None:
    if wanted:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def main() -> None:
    """Run the command line; exit codes: 0 done, 2 the user can fix it, 1 our fault, 130 or 143 interrupted."""
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
