"""The main path, in the process that learns: recipe → examples → task → model → plan → train → evaluate → artifact."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.artifact import has_best, keep_best, return_to_best, save_model, weight_bytes
from proxtune.batches import collate, padded, sorted_batches
from proxtune.clock import Clock
from proxtune.durable import write_json
from proxtune.errors import Interrupted, PersonError
from proxtune.evaluate import logits_of, probabilities, score
from proxtune.examples import Examples, Split
from proxtune.memory.allocator import set_allocator, unload_cold_code
from proxtune.memory.govern import Governor
from proxtune.memory.meter import CudaMeter, Meter, Phases, ProcessMeter
from proxtune.memory.trace import in_forked_child
from proxtune.methods import METHODS
from proxtune.methods.probe import features, install_head
from proxtune.models import classifier_config, find_model, load_classifier, load_tokenizer
from proxtune.plan import Plan, plan_as_dict, plan_from_dict
from proxtune.planner import DEFAULT_EPOCHS, Choice, Survey, choose, evaluations, rehearsed
from proxtune.recipe import DEFAULT_BATCH, Recipe
from proxtune.rehearse import rehearse
from proxtune.rows import read_split_of
from proxtune.scores import confusion
from proxtune.survey import find_out, padded_tokens
from proxtune.tasks.classify import Encoded, encode, longest_allowed
from proxtune.tasks.labels import sorted_labels
from proxtune.train import Record, Training, bite, enable_checkpointing, train

ENDING_SECONDS = 13.0  # baselines, report and the processes that make them
_MISTAKES_SHOWN = 25
_MOST_REHEARSALS = 8
Emit = Callable[[Record], None]


@dataclass(frozen=True, slots=True)
class Task:
    """The data as the model sees it."""

    split: Split
    labels: list[str]
    tokenizer: Any
    config: Any
    train: Encoded
    held: Encoded
    max_length: int


def read_task(recipe: Recipe, folder: Path) -> Task:
    """Examples → token ids, with the sequence length that these texts need."""
    split = read_split_of(recipe)
    labels = sorted_labels(split.train)
    tokenizer = load_tokenizer(folder)
    config = classifier_config(folder, labels, tokenizer, 512)
    allowed = longest_allowed(tokenizer, config) // 8 * 8
    if recipe.knobs.max_length is not None:
        allowed = max(8, min(allowed, padded(recipe.knobs.max_length)))
    train_rows = encode(split.train, labels, tokenizer, allowed)
    held_rows = encode(split.validation, labels, tokenizer, allowed)
    longest = padded(int(max(train_rows.lengths.max(), held_rows.lengths.max())))
    config = classifier_config(folder, labels, tokenizer, longest)
    return Task(split, labels, tokenizer, config, train_rows, held_rows, min(longest, allowed))


def learn(recipe: Recipe, folder: Path, clock: Clock, others_bytes: int, emit: Emit, plan_only: bool = False) -> Record:
    """Run the recipe in `folder`; yields progress through `emit` and returns what was learned, ready for JSON.

    `others_bytes` is what the rest of the process tree holds. Raises PersonError when the data or the budget do not do.
    """
    from proxtune.memory.lean import import_lean

    import_lean()
    import torch

    unload_cold_code()
    set_allocator("fast")
    device = torch.device(
        "cuda" if recipe.device == "cuda" or (recipe.device == "auto" and torch.cuda.is_available()) else "cpu"
    )
    meter: Meter = CudaMeter(device) if device.type == "cuda" else ProcessMeter()
    phases = Phases(meter, others_bytes)
    phases.memory_bytes["load"] = meter.peak() + others_bytes
    governor = Governor(recipe.budget.memory, others_bytes)
    source = find_model(recipe.model)

    emit({"kind": "phase", "phase": "read", "seconds": clock.elapsed})
    task = read_task(recipe, source.folder)
    emit({"kind": "data", **_describe_data(task)})
    meter.give_back()  # what tokenising left behind
    unload_cold_code()

    settled = folder / "settled.json"
    if settled.is_file():
        return _finish_probe(recipe, folder, task, phases, governor, clock, emit, device)

    emit({"kind": "phase", "phase": "plan", "seconds": clock.elapsed})
    survey = _survey(recipe, task, source.folder, meter, others_bytes, clock)
    choice = choose(survey, recipe.budget, recipe.knobs, recipe.method)
    if choice.plan is None:
        return _refusal(choice)
    plan = _settle(choice, survey, recipe, task, source.folder, governor, phases, clock, emit)
    emit({"kind": "plan", **plan_table(plan, choice)})
    if plan_only:
        return {"status": "planned", **plan_table(plan, choice), "predicted": _predicted(plan)}
    write_json(folder / "plan.json", plan_table(plan, choice))

    meter.give_back()
    unload_cold_code()  # as in the rehearsal, whose process began without these pages
    phases.enter("load")
    model = prepared(plan, recipe, task, source.folder).to(device)
    phases.enter("prepare")
    promised = {"plan": plan_as_dict(plan), "predicted": _predicted(plan), "step_downs": governor.step_downs}
    if not METHODS[plan.method].uses_gradients:
        return _save_features(recipe, folder, task, plan, model, phases, promised)

    emit({"kind": "phase", "phase": "train", "seconds": clock.elapsed})
    phases.enter("train")
    stop = _Stop()
    training = Training(
        model, task.train, task.held, task.config.pad_token_id, recipe.seed, clock, ending_seconds(survey),
        evaluations(plan, survey), governor, phases, lambda: keep_best(model, folder), lambda: hold(governor, meter), stop.asked,
    )  # fmt: skip
    last: Record = {}
    interrupted = False
    try:
        for record in train(plan, training):
            emit(record)
            if record["kind"] == "step":
                last = record
    except Interrupted:
        interrupted = True
    except MemoryError as error:
        raise PersonError(f"{error}: give a little more --memory, or a smaller --max-length") from error
    if not has_best(folder):
        raise Interrupted("stopped before anything was learned")
    governor.release()  # the optimizer is gone: its address space is not, and the snapshot is mapped beside it
    return_to_best(model, folder)
    if plan.keep_adapter:
        model.save_pretrained(str(folder / "adapter"))
    plain = METHODS[plan.method].finish(model, plan)
    learned = _judge_and_save(recipe, folder, task, plan, plain, phases, emit, clock)
    done = last.get("examples_seen", 0)
    return {
        **promised, **learned,
        "status": "interrupted" if interrupted else "done",
        "steps": last.get("step", 0),
        "examples_seen": done,
        "flops": survey_flops(plan, survey, done),
        "step_downs": governor.step_downs,
        "model_source": source.origin,
    }  # fmt: skip


def hold(governor: Governor, meter: Meter) -> None:
    """Set the limit that belongs to what the meter counts: the process's or the device's."""
    if isinstance(meter, CudaMeter):
        if governor.memory_bytes is not None:
            meter.hold(governor.memory_bytes)
    else:
        governor.hold()


def ending_seconds(survey: Survey) -> float:
    """Seconds to keep free after the last step: judging and saving the best, baselines, report."""
    return ENDING_SECONDS + 2.5e-4 * survey.rows + survey.weights_bytes / 2e8


def survey_flops(plan: Plan, survey: Survey, examples_seen: int) -> float:
    """Operations that the run computed: those of the plan, for the examples that were seen."""
    whole = plan.steps * plan.batch
    return plan.cost.flops * (examples_seen / whole if whole else 1.0)


class _Stop:
    """Remembers that the person (or the supervisor) asked the run to end; a second signal ends it at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def asked(self) -> bool:
        return self._asked


def _survey(recipe: Recipe, task: Task, folder: Path, meter: Meter, others: int, clock: Clock) -> Survey:
    """What the planner needs to know; little of it when the model alone passes the memory budget."""
    meter.give_back()
    unload_cold_code()
    libraries, on_disk, memory = meter.now(), weight_bytes(folder), recipe.budget.memory
    hopeless = memory is not None and others + max(libraries + on_disk, meter.peak()) > memory
    found = find_out(folder, task.config, task.train, task.max_length, recipe, gradients=not hopeless)
    return Survey(
        **found.facts,  # type: ignore[arg-type]
        supervisor_bytes=others,
        libraries_bytes=libraries,
        import_peak_bytes=meter.peak(),
        weights_bytes=4 * found.facts["parameters"],
        rows=len(task.train),
        validation_rows=len(task.held),
        epoch_tokens=padded_tokens(task.train.lengths, recipe.knobs.batch or DEFAULT_BATCH, recipe.seed),
        validation_tokens=padded_tokens(task.held.lengths, DEFAULT_BATCH, recipe.seed),
        max_length=task.max_length,
        traces=found.traces,
        flops_per_second=found.flops_per_second,
        seconds_so_far=clock.elapsed + ENDING_SECONDS,
    )


def prepared(plan: Plan, recipe: Recipe, task: Task, folder: Path) -> Any:
    """The pretrained model with the plan's method and knobs applied."""
    set_allocator(plan.allocator)
    model = METHODS[plan.method].prepare(load_classifier(folder, task.config, recipe.seed), plan)
    if plan.checkpointing:
        enable_checkpointing(model)
    return model


def _settle(
    choice: Choice,
    survey: Survey,
    recipe: Recipe,
    task: Task,
    folder: Path,
    governor: Governor,
    phases: Phases,
    clock: Clock,
    emit: Emit,
) -> Plan:
    """Rehearse candidates, best first, each in a forked child, until one fits for real; the plan with measured costs."""
    rehearsals = 0
    for candidate in choice.fitting:
        plan: Plan | None = candidate
        forced = recipe.knobs.micro_batch is not None
        changes: list[tuple[str, str, str, float]] = []
        while plan is not None and (rehearsals < _MOST_REHEARSALS or forced):
            found = in_forked_child(lambda plan=plan: _rehearse(plan, recipe, task, folder, governor, phases))  # type: ignore[misc]
            rehearsals += 1
            emit(
                {
                    "kind": "rehearsal",
                    "plan": plan.name,
                    "allocator": plan.allocator,
                    "refused": found["refused"],
                    "seconds": clock.elapsed,
                }
            )
            if not found["refused"]:
                for change in changes:
                    governor.record(*change[:3], 0, change[3])
                return _with_measured_costs(found, survey, recipe, clock)
            smaller = _smaller(plan)
            if smaller is not None:
                changes.append((bite(plan), bite(smaller), found["refused"], clock.elapsed))
            plan = smaller
    raise PersonError("no plan fits the memory budget once rehearsed; give a little more --memory")


def _smaller(plan: Plan) -> Plan | None:
    """The same plan in half the micro-batch; None when there is nothing to halve."""
    return plan.with_micro_batch(plan.micro_batch // 2) if plan.micro_batch > 1 else None


def _with_measured_costs(found: Record, survey: Survey, recipe: Recipe, clock: Clock) -> Plan:
    terms = {
        "supervisor": survey.supervisor_bytes, "libraries": survey.libraries_bytes,
        "weights": survey.weights_bytes, **found["terms"],
    }  # fmt: skip
    plan = plan_from_dict(found["plan"])
    measured = {
        "memory_bytes": found["memory_bytes"],
        "terms": terms,
        "seconds_per_token": found["seconds_per_token"],
        "seconds_so_far": clock.elapsed + ENDING_SECONDS,
        "epochs": recipe.knobs.epochs or DEFAULT_EPOCHS,
    }
    settled = rehearsed(plan, survey, recipe.budget, measured)
    if METHODS[plan.method].uses_gradients and settled.steps < 1:
        raise PersonError(
            f"--time is too short: {clock.elapsed:.0f} s went into planning and nothing is left to learn; give more"
        )
    return settled


def _rehearse(plan: Plan, recipe: Recipe, task: Task, folder: Path, governor: Governor, phases: Phases) -> Record:
    """In a forked child: load, prepare and rehearse; what was measured, as plain values."""
    phases.enter("load")
    model = prepared(plan, recipe, task, folder)
    phases.leave()
    plan = replace(plan, trainable=sum(p.numel() for p in model.parameters() if p.requires_grad))
    found = rehearse(plan, model, task.train, task.held, task.config.pad_token_id, recipe.seed, governor, phases)
    return {
        "plan": plan_as_dict(plan), "memory_bytes": {"load": phases.memory_bytes["load"], **found.memory_bytes},
        "terms": found.terms, "seconds_per_token": found.seconds_per_token, "refused": found.refused,
    }  # fmt: skip


def _save_features(
    recipe: Recipe, folder: Path, task: Task, plan: Plan, model: Any, phases: Phases, promised: Record
) -> Record:
    """First half of `probe`: features to disk, for the process that fits the head."""
    from proxtune.models import head_of

    phases.enter("train")
    tokens = plan.micro_batch * plan.max_length
    amp = plan.dtype == "bf16"

    def batches(data: Encoded) -> Any:
        for rows in sorted_batches(data.lengths, tokens):
            ids, mask = collate(data, rows, task.config.pad_token_id)
            yield rows, ids, mask

    arrays = {
        "train": features(model, batches(task.train), len(task.train), amp),
        "labels": task.train.labels,
        "held": features(model, batches(task.held), len(task.held), amp),
        "held_labels": task.held.labels,
        "classes": np.asarray(len(task.labels)),
        "has_bias": np.asarray(head_of(model)[1].bias is not None),
    }
    np.savez(folder / "features.npz", **arrays)  # type: ignore[arg-type]
    phases.leave()
    settled = {**promised, "memory_bytes": phases.memory_bytes}
    write_json(folder / "settled.json", settled)
    return {"status": "features", **settled}


def _finish_probe(
    recipe: Recipe, folder: Path, task: Task, phases: Phases, governor: Governor, clock: Clock, emit: Emit, device: Any
) -> Record:
    """Second half of `probe`: the fitted head in the model, judged and saved."""
    import json

    settled = json.loads((folder / "settled.json").read_text(encoding="utf-8"))
    plan = plan_from_dict(settled["plan"])
    source = find_model(recipe.model)
    set_allocator(plan.allocator)
    phases.enter("load")
    model = load_classifier(source.folder, task.config, recipe.seed).to(device)
    install_head(model, folder / "head.npz")
    phases.leave()
    hold(governor, phases.meter)
    for phase, peak in settled["memory_bytes"].items():
        phases.memory_bytes[phase] = max(peak, phases.memory_bytes.get(phase, 0))
    learned = _judge_and_save(recipe, folder, task, plan, model, phases, emit, clock)
    for name in ("settled.json", "features.npz", "head.npz"):
        (folder / name).unlink(missing_ok=True)
    return {
        **{key: settled[key] for key in ("plan", "predicted", "step_downs")}, **learned,
        "status": "done", "steps": 0, "examples_seen": len(task.train), "flops": plan.cost.flops,
        "model_source": source.origin,
    }  # fmt: skip


def _judge_and_save(
    recipe: Recipe, folder: Path, task: Task, plan: Plan, model: Any, phases: Phases, emit: Emit, clock: Clock
) -> Record:
    """Judge the final model on the held rows, save it, and say what it got wrong."""
    emit({"kind": "phase", "phase": "evaluate", "seconds": clock.elapsed})
    phases.enter("evaluate")
    logits = logits_of(
        model, task.held, task.config.pad_token_id, "fp32", plan.micro_batch * plan.max_length, phases.meter
    )
    emit({"kind": "phase", "phase": "save", "seconds": clock.elapsed})
    phases.enter("save")
    artifact_bytes = save_model(model, task.tokenizer, folder)
    phases.leave()
    chosen = logits.argmax(axis=1)
    return {
        "metrics": score(logits, task.held.labels),
        "confusion": confusion(task.held.labels.tolist(), chosen.tolist(), len(task.labels)),
        "mistakes": _mistakes(task.split.validation, task.labels, logits, task.held.labels),
        "artifact_bytes": artifact_bytes,
        "memory_bytes": phases.memory_bytes,
        "data": _describe_data(task),
    }


def _mistakes(held: Examples, labels: list[str], logits: np.ndarray, truth: np.ndarray) -> list[Record]:
    chances = probabilities(logits)
    chosen = chances.argmax(axis=1)
    wrong = np.flatnonzero(chosen != truth)
    wrong = wrong[np.argsort(-chances[wrong, chosen[wrong]])][:_MISTAKES_SHOWN]
    return [
        {
            "text": held.texts[i][:500], "label": labels[truth[i]], "predicted": labels[chosen[i]],
            "confidence": round(float(chances[i, chosen[i]]), 4), "line": held.lines[i],
        }
        for i in wrong
    ]  # fmt: skip


def _describe_data(task: Task) -> Record:
    notes = [*task.split.train.notes, task.split.note]
    truncated = task.train.truncated + task.held.truncated
    if truncated:
        notes.append(f"{truncated} texts were longer than {task.max_length} tokens and were cut there")
    return {
        "source": task.split.train.source, "train_rows": len(task.train), "validation_rows": len(task.held),
        "labels": task.labels, "notes": notes, "truncated_rows": truncated, "max_length": task.max_length,
    }  # fmt: skip


def _predicted(plan: Plan) -> Record:
    return {
        "memory_bytes": plan.cost.memory_bytes,
        "seconds": plan.cost.seconds,
        "flops": plan.cost.flops,
        "terms": plan.cost.terms,
    }


def plan_table(plan: Plan, choice: Choice) -> Record:
    """The chosen plan and every candidate's fate, best first."""
    rows: list[Record] = [
        {"plan": plan_as_dict(plan), "status": "chosen", "reason": "the best expected result that fits"}
    ]
    best = choice.fitting[0]
    rows += [
        {"plan": plan_as_dict(p), "status": "fits", "reason": "fits, but less is expected of it"}
        for p in choice.fitting
        if p is not best
    ]
    rows += [{"plan": plan_as_dict(r.plan), "status": "refused", "reason": r.reason} for r in choice.refused]
    return {"chosen": plan_as_dict(plan), "table": rows}


def _refusal(choice: Choice) -> Record:
    infeasible = choice.infeasible
    assert infeasible is not None, "a model that was not loaded has no plan that fits"
    return {
        "status": "infeasible",
        "message": infeasible.message,
        "shortfall_bytes": infeasible.shortfall_bytes,
        "shortfall_seconds": infeasible.shortfall_seconds,
        "nearest": plan_as_dict(infeasible.nearest),
        "table": [{"plan": plan_as_dict(r.plan), "status": "refused", "reason": r.reason} for r in choice.refused],
    }
