"""Use a trained model: predict texts, or evaluate it on a file, in the memory budget of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxtune.config.plan import plan_from_dict
from proxtune.data.examples import Pairs
from proxtune.memory.allocator import set_allocator
from proxtune.memory.devices.registry import find_device, host_device
from proxtune.memory.governor import Governor
from proxtune.memory.lean_imports import import_lean
from proxtune.memory.library_pages import unload_cold_code
from proxtune.models.source import check_folder, find_model
from proxtune.pipeline.jobs import PredictJob
from proxtune.storage.events import Event, Notice, Prediction
from proxtune.storage.result import read_result
from proxtune.storage.run_folder import read_recipe
from proxtune.storage.safetensors_header import check_files
from proxtune.tasks.describe import with_learned_columns
from proxtune.tasks.registry import find_task

if TYPE_CHECKING:
    import numpy as np


def predict(job: PredictJob, emit: Callable[[Event], None], others_bytes: int) -> dict[str, Any]:
    """Emit a `Prediction` for each text or row; with `job.evaluate` return the model's metrics on them instead."""
    folder = job.folder
    check_files(folder, ["model"])
    check_folder(folder / "model", f"the model of {folder}")
    result = read_result(folder)
    recipe = with_learned_columns(read_recipe(folder / "recipe.toml"), result.get("data") or {})
    task = find_task(str(recipe.task))
    file = job.file
    rows = task.read_evaluation(recipe, str(file)) if job.evaluate else task.read_inputs(recipe, job.texts, file)
    notes = tuple(getattr(rows, "notes", ()))
    for note in () if job.evaluate else notes:
        emit(Notice(words=note))
    import_lean()
    unload_cold_code()
    set_allocator("fast")
    from proxtune.compression.packed_format import is_packed, load_packed
    from proxtune.models.converted import weights_in
    from proxtune.runtime.inference import outputs_of, warm_up_forward
    from proxtune.runtime.streaming import stream_weights

    streamed = bool((result.get("plan") or {}).get("streamed"))
    place = find_model(recipe.model).folder if job.base else folder / "model"
    if job.base and streamed:
        place = weights_in(place, plan_from_dict(result["plan"]).loaded_dtype)
    packed = load_packed(place, "eager") if is_packed(place) else None
    device = find_device(recipe.device, or_another=True) if packed is None else host_device()
    meter, others = device.meter(), others_bytes if device.supervisor_counts else 0
    trained = task.load_trained(place, recipe, rows, result=result, model=packed, base=job.base)
    trained.model.to(device.torch_device)
    if streamed:
        stream_weights(trained.model.requires_grad_(False), place)
    governor = Governor(recipe.budget.memory, meter, others)
    traits, encoded = task.traits, trained.rows
    tokens = traits.prediction_tokens if recipe.budget.memory is None else traits.prediction_tokens_in_budget

    def outputs() -> np.ndarray:
        warm_up_forward(trained.model, encoded, trained.pad_id, "fp32", governor)
        governor.hold()
        return outputs_of(trained.model, encoded, trained.pad_id, "fp32", tokens, governor)

    found: dict[str, Any] = {"rows": len(encoded), "truncated_rows": encoded.truncated, "notes": notes}
    if encoded.truncated and not job.evaluate:
        longest = int(encoded.lengths.max())
        emit(Notice(words=f"{encoded.truncated:,} texts were longer than {longest} tokens and were cut there"))
    if job.evaluate:
        made = outputs()
        found["metrics"] = encoded.objective.score(made, encoded)
        found |= task.evaluation(trained, made, governor, tokens)
    else:
        places = _FilePlaces(emit, rows)
        task.predict(trained, rows, governor, tokens, outputs, places.emit)
        places.end()
    return found | {"memory_bytes": meter.peak() + others}


class _FilePlaces:
    """Keeps the places of rows without a text: between the predictions of the others stand empty ones. State: the next place."""

    def __init__(self, emit: Callable[[Event], None], rows: Any) -> None:
        self._emit, self._blank = emit, frozenset(getattr(rows, "blank", ()))
        self._empty = Prediction(text="", answer="") if isinstance(rows, Pairs) else Prediction(text="", label="")
        self._place = 0

    def emit(self, event: Event) -> None:
        """Pass on what the task says, the empty predictions that are due before it."""
        if isinstance(event, Prediction):
            self.end()
            self._place += 1
        self._emit(event)

    def end(self) -> None:
        """Emit the empty predictions that are due."""
        while self._place in self._blank:
            self._emit(self._empty)
            self._place += 1
