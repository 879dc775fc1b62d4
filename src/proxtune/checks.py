"""Contract checks for authors of extensions: what the rest of the program counts on each kind of extension to do.

    from proxtune.checks import check_device, check_export, check_method, check_task

    def test_my_method():
        check_method(METHOD, Path("a/small/model"))

    def test_my_task():
        check_task(TASK, "rows.csv", Path("a/small/model"))

    def test_my_export():
        check_export(FORMAT, Path("a/finished/run"))

    def test_my_device():
        check_device(DEVICE)

Each check raises AssertionError with a sentence that says what was expected. Any transformers model folder works;
a tiny one makes the checks quick.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs, Recipe
from proxtune.data.batching import collate
from proxtune.data.dataset import Encoded, select_rows
from proxtune.errors import UserError
from proxtune.export.base import ExportFormat
from proxtune.memory.allocator import FAST, TIGHT
from proxtune.memory.devices.base import Device
from proxtune.memory.devices.calibration import constant_names
from proxtune.memory.devices.registry import DEVICES, device_of, host_device
from proxtune.memory.governor import Governor
from proxtune.methods.base import FORWARD, HELD_FORWARD, Method
from proxtune.methods.registry import method_names
from proxtune.models.facts import ModelFacts
from proxtune.models.introspection import blocks_of, model_facts
from proxtune.models.loading import classifier_config, load_classifier, load_tokenizer, longest_allowed
from proxtune.storage.events import Event, Prediction
from proxtune.tasks.base import ModelAtHand, Task, TaskData, TaskTraits
from proxtune.tasks.classification.objective import LABELS

_LABELS = ["bad", "fair", "good"]
_ROWS, _LENGTH = 12, 16
_COUNT_TOLERANCE = 0.2  # of the planner's count of trainable parameters, which the dry run replaces by the true one
_LOGIT_TOLERANCE = 1e-4
_LOSS_TOLERANCE = 1e-3
_BLOCK_BYTES = 64 << 20  # that a meter must see


def check_method(method: Method, model_folder: Path) -> None:
    """Run every check on every variant of `method` with the model in `model_folder`."""
    check_method_values(method)
    facts = model_facts(_load(model_folder))
    for plan in _plans(method, model_folder):
        check_prior(method, plan)
        check_cost(method, plan, facts)
        check_preparation(method, plan, model_folder)
        check_learning(method, plan, model_folder)
        check_finish(method, plan, model_folder)


def check_method_values(method: Method) -> None:
    """A name, a learning rate that suits its use of gradients, and variants that `Plan` takes."""
    assert method.name.islower(), f"the name {method.name!r} must be a word in small letters"
    if method.uses_gradients:
        assert method.learning_rate > 0, f"{method.name} uses gradients and needs a learning rate"
    known = {field.name for field in fields(Plan)}
    for blocks in (1, 2, 6, 12):
        variants = method.variants(blocks, Knobs())
        assert variants, f"{method.name} has no variant for a model of {blocks} blocks"
        for variant in variants:
            strange = sorted(set(variant) - known)
            assert not strange, f"{method.name}'s variants set {strange}, which a Plan does not have"
            last = variant.get("last_layers", 0)
            assert last <= blocks, f"{method.name} would train {last} blocks of {blocks}"
        for variant in method.variants(blocks, Knobs(rank=3)):
            assert variant.get("rank", 3) == 3, f"{method.name} ignores --rank 3"
        for variant in method.variants(blocks, Knobs(last_layers=1)):
            assert variant.get("last_layers", 1) == 1, f"{method.name} ignores --last-layers 1"


def check_prior(method: Method, plan: Plan) -> None:
    """Expectations are shares, and more passes over the data never promise less."""
    for prior_of in (method.prior, method.base_model_prior or method.prior):
        prior = prior_of(plan, max(1, plan.last_layers))
        shares = [prior.expected(epochs) for epochs in (0.0, 0.1, 0.5, 1.0, 3.0, 10.0)]
        assert all(0 < share <= 1 for share in shares), f"{plan.name} expects {shares}; shares are between 0 and 1"
        assert shares == sorted(shares), f"{plan.name} expects less of more epochs: {shares}"


def check_cost(method: Method, plan: Plan, facts: ModelFacts) -> None:
    """The trace that the cost asks for can be made, and its shares and bytes are such, on every device."""
    cost, families = method.cost, {FORWARD, HELD_FORWARD, method.name, *method_names()}
    assert cost.trace_family in families, f"{method.name} asks for traces of {cost.trace_family!r}, which nothing makes"
    forward_only = cost.trace_family in (FORWARD, HELD_FORWARD)
    assert forward_only != method.uses_gradients, (
        f"{method.name} and its traces differ in whether there is a backward pass"
    )
    share = cost.backward_share(plan, facts)
    assert 0 < share <= 1, f"{plan.name} goes backward through {share} of the blocks"
    plan = replace(plan, trainable=cost.count_trainable(plan, facts))
    for device in DEVICES.all().values():
        calibration = device.calibration
        extra = cost.extra_bytes(plan, facts, calibration)
        assert all(count >= 0 for count in extra.values()), f"{plan.name} takes fewer bytes than none: {dict(extra)}"
        for traits in (TaskTraits(), TaskTraits(long_rows=True)):
            assert cost.kernel_bytes(plan, traits, calibration) >= 0, (
                f"{plan.name} has kernels of fewer bytes than none"
            )
            assert cost.heap_slack(plan, traits, calibration) >= 1, f"{plan.name} makes the heap smaller"
        assert cost.slowdown(plan, calibration) >= 1, f"{plan.name} is faster than its operations"
        assert cost.update_seconds(calibration) > 0, f"{plan.name} is updated in no time"


def check_preparation(method: Method, plan: Plan, model_folder: Path) -> None:
    """`prepare` marks what the planner counts, all in fp32, changes no output and leaves no gradient."""
    plain, model = _load(model_folder), method.prepare(_load(model_folder), plan)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counted = method.cost.count_trainable(plan, model_facts(plain))
    off = abs(learning - counted)
    assert off <= _COUNT_TOLERANCE * counted, (
        f"{plan.name} trains {learning:,} parameters, the planner counts {counted:,}"
    )
    assert method.makes_steps == (learning > 0), f"{plan.name} trains {learning:,} parameters"
    narrow = sorted({str(p.dtype) for p in model.parameters() if p.requires_grad} - {"torch.float32"})
    assert not narrow, f"{plan.name} trains weights in {narrow}; masters are fp32"
    assert all(p.grad is None for p in model.parameters()), f"{plan.name} left gradients behind when it was prepared"
    _assert_like(_logits(plain), _logits(model), f"{plan.name} predicts otherwise once prepared, before any step")


def check_learning(method: Method, plan: Plan, model_folder: Path) -> None:
    """A step moves what is marked and nothing else, and gives the same gradient however the batch is cut."""
    from proxtune.training.gradient_step import gradient_of
    from proxtune.training.optimizer import make_optimizer

    if not method.uses_gradients:
        return
    data, model = _data(_load(model_folder)), method.prepare(_load(model_folder), plan)
    model.train()
    pad, found = model.config.pad_token_id, []
    for micro_batch in (_ROWS, 5):
        model.zero_grad(set_to_none=True)
        gradient_of(model, data, np.arange(_ROWS), replace(plan, micro_batch=micro_batch), pad)
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    marked = {name for name, p in model.named_parameters() if p.requires_grad}
    assert found[0].keys() <= marked, f"{plan.name} has gradients that nobody uses: {sorted(found[0].keys() - marked)}"
    for name, gradient in found[0].items():
        scale = max(1e-4, float(gradient.abs().max()))
        off = float((gradient - found[1][name]).abs().max()) / scale
        assert off < 1e-2, (
            f"{plan.name}: the gradient of {name} depends on the micro-batch (dropout or batch statistics?)"
        )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_optimizer(model, plan).step()
    moved = {name for name, p in model.named_parameters() if not bool((p == before[name]).all())}
    assert moved, f"{plan.name} learns nothing from a step"
    assert moved <= marked, f"{plan.name} moves weights that are not marked: {sorted(moved - marked)[:3]}"


def check_finish(method: Method, plan: Plan, model_folder: Path) -> None:
    """`finish` gives back the plain model with what was learned, which saves, loads and predicts the same."""
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedModel

    model = method.prepare(_load(model_folder), plan)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))  # as if something was learned
    learned = _logits(model)
    plain = method.finish(model, replace(plan, keep_adapter=False))
    assert isinstance(plain, PreTrainedModel), (
        f"{plan.name} finishes as {type(plain).__name__}, not as a transformers model"
    )
    expected = type(_load(model_folder))
    assert type(plain) is expected, f"{plan.name} finishes as {type(plain).__name__}, not as {expected.__name__}"
    _assert_like(learned, _logits(plain), f"{plan.name} loses what it learned when it finishes")
    with tempfile.TemporaryDirectory() as folder:
        plain.save_pretrained(folder)
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True
        )
    missing = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])
    assert not missing, f"{plan.name}: the saved model lacks or has too many weights: {missing[:3]}"
    _assert_like(_logits(plain), _logits(loaded), f"{plan.name} predicts otherwise after saving and loading")


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
        method="full", dtype="fp32", batch=4, micro_batch=2, max_length=data.max_length, checkpointing=False,
        optimizer="adamw", learning_rate=1e-4, epochs=1.0, steps=1, trainable=0,
    )  # fmt: skip
    governor = _ungoverned()
    final = ModelAtHand(model=model, plan=plan, data=data, governor=governor)
    tokens = task.traits.prediction_tokens
    assert task.dry_run_results(final, tokens) >= 0, f"{task.name} promises results of fewer bytes than none"
    outputs = outputs_of(model, data.validation, data.pad_id, "fp32", tokens, governor)
    base = task.base_results(final, 60.0) if task.traits.compares_base_model else None
    _assert_json(task.results(final, outputs, base), f"{task.name} has results that JSON cannot hold")


def check_task_answers(task: Task, recipe: Recipe, model_folder: Path, data: TaskData, model: Any) -> None:
    """A saved model is loaded again, scored on a file, and predicts each row of it once, in order."""
    from proxtune.runtime.inference import outputs_of

    governor, tokens = _ungoverned(), task.traits.prediction_tokens
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        data.tokenizer.save_pretrained(folder)
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


def check_export(export_format: ExportFormat, run_folder: Path) -> None:
    """Run every check on `export_format` with the finished run in `run_folder`, which needs an adapter if the format does."""
    from proxtune.export.formats import export_as

    name = export_format.name
    assert name.islower(), f"the name {name!r} must be a word in small letters"
    assert export_format.description, f"{name} has no description"
    assert export_format.source in ("model", "adapter"), f"{name} is made from {export_format.source!r}"
    assert export_format.makes in ("folder", "file"), f"{name} makes {export_format.makes!r}"
    before = _digests(run_folder)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder).resolve() / "exports" / "out"
        try:
            told = export_as(export_format, run_folder, out)
        except UserError as error:
            raise AssertionError(f"{name} cannot export {run_folder}: {error}") from error
        made = "file" if out.is_file() else "folder" if out.is_dir() else "nothing"
        assert made == export_format.makes, f"{name} is to make a {export_format.makes} and made: {made}"
        assert told["bytes"] > 0, f"{name} wrote no bytes"
        assert [place.name for place in out.parent.iterdir()] == [out.name], f"{name} left files beside its export"
        assert _digests(run_folder) == before, f"{name} changed the run folder"
        written = _digests(out)
        with contextlib.suppress(UserError):
            export_as(export_format, run_folder, out)
        assert _digests(out) == written, f"{name} overwrote what was there"
        _check_whole_or_nothing(export_format, run_folder, out)
    assert _digests(run_folder) == before, f"{name} changed the run folder when it could not write"


def _check_whole_or_nothing(export_format: ExportFormat, run_folder: Path, made: Path) -> None:
    """With files limited to half of the largest that it made before, an export fails and leaves nothing."""
    from proxtune.export.formats import export_as

    files = [made] if made.is_file() else [place for place in made.rglob("*") if place.is_file()]
    out, name = made.parent / "failed", export_format.name
    with _files_limited(max(file.stat().st_size for file in files) // 2) as limited:
        if not limited:
            return
        try:
            export_as(export_format, run_folder, out)
        except UserError:
            pass
        else:
            raise AssertionError(f"{name} hid that it could not write all of its export")
    left = sorted(place.name for place in made.parent.iterdir() if place != made)
    assert not left, f"{name} left {left} behind when it could not write all of its export"


@contextlib.contextmanager
def _files_limited(most_bytes: int) -> Iterator[bool]:
    """No file of this process grows beyond `most_bytes`, as on a full disk; False where the system has no such limit."""
    try:
        import resource
    except ImportError:
        yield False
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _digests(place: Path) -> dict[str, str]:
    """What a file or folder holds: the digest of each file by its path."""
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return {str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_device(device: Device) -> None:
    """Run every check that can be run here; the meter and a computation only where there is such a device."""
    check_calibration(device)
    assert device.name.islower(), f"the name {device.name!r} must be a word in small letters"
    assert device.allocators, f"{device.name} has no allocator"
    strange = sorted(set(device.allocators) - {FAST, TIGHT})
    assert not strange, f"{device.name} has allocators that nothing sets: {strange}"
    assert device.attention("eager"), f"{device.name} names no attention"
    outer = device.outer_limit_bytes()
    assert outer is None or outer > 0, f"{device.name} is limited to {outer} bytes"
    missing = device.explain_missing()
    if missing is None:
        check_meter(device)
        check_computing(device)
    else:
        assert len(missing.splitlines()) == 1, f"{device.name} must say in a line why it is missing"


def check_calibration(device: Device) -> None:
    """Each constant has a source, and slack for every allocator."""
    calibration = device.calibration
    unsourced = [name for name in constant_names() if not calibration.sources.get(name, "").strip()]
    assert not unsourced, f"{device.name}'s calibration does not say where these come from: {', '.join(unsourced)}"
    slack = calibration.allocator_slack
    assert set(device.allocators) <= set(slack), f"{device.name} needs the slack of {', '.join(device.allocators)}"
    assert all(ratio >= 1 for ratio in slack.values()), f"{device.name}: an allocator cannot hold less than what lives"


def check_meter(device: Device) -> None:
    """The meter sees a tensor come and go, its peak stays until it is reset, and a limit can be set and lifted."""
    import torch

    meter = device.meter()
    meter.trim()
    meter.reset()
    before = meter.now()
    block = torch.ones(_BLOCK_BYTES // 4, device=device.torch_device)
    assert meter.now() - before > 0.8 * _BLOCK_BYTES, f"{device.name}: the meter does not see {_BLOCK_BYTES:,} bytes"
    assert meter.peak() >= meter.now() - _BLOCK_BYTES // 8, f"{device.name}: the peak is below what is held"
    del block
    meter.trim()
    assert meter.now() - before < 0.5 * _BLOCK_BYTES, f"{device.name}: what was freed and trimmed counts as held"
    meter.limit(meter.reach() + 16 * _BLOCK_BYTES)
    spare = meter.spare()
    meter.limit(None)
    assert spare is None or spare > 0, f"{device.name}: nothing is left under a limit that has room"


def check_computing(device: Device) -> None:
    """A model learns there: a step of the optimizer with the device's options, in bf16 where it says that it can."""
    import torch

    model = torch.nn.Linear(8, 8).to(device.torch_device)
    assert device_of(model).name == device.name, f"{device.name} is not what torch calls it: {device_of(model).name}"
    before = model.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **device.optimizer_options)
    with torch.autocast(device.torch_device.type, torch.bfloat16, enabled=device.supports_bf16):
        model(torch.ones(2, 8, device=device.torch_device)).sum().backward()
    optimizer.step()
    assert not bool((model.weight == before).all()), f"{device.name}: a step of the optimizer moves nothing"


def _plans(method: Method, model_folder: Path) -> Iterator[Plan]:
    blocks = len(blocks_of(_load(model_folder))[1])
    optimizer = "adamw" if method.uses_gradients else "none"
    blank = Plan(
        method=method.name, dtype="fp32", batch=_ROWS, micro_batch=_ROWS, max_length=_LENGTH, checkpointing=False,
        optimizer=optimizer, learning_rate=method.learning_rate, epochs=1.0, steps=1, trainable=0,
    )  # fmt: skip
    for variant in method.variants(blocks, Knobs()):
        yield replace(blank, **variant)


def _load(model_folder: Path) -> Any:
    tokenizer = load_tokenizer(model_folder)
    config = classifier_config(model_folder, _LABELS, tokenizer, _LENGTH)
    assert longest_allowed(tokenizer, config) >= _LENGTH, f"the checks need a model that takes {_LENGTH} tokens"
    return load_classifier(model_folder, config, seed=0)


def _data(model: Any) -> Encoded:
    """Rows of several lengths, the same each time; no padding or special ids among them where there is a choice."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, _LENGTH + 1, _ROWS)
    low = min(200, model.config.vocab_size // 2)
    ids = random.integers(low, model.config.vocab_size, int(lengths.sum()), dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Encoded(ids=ids, starts=starts, labels=np.arange(_ROWS) % len(_LABELS), truncated=0, objective=LABELS)


def _logits(model: Any) -> Any:
    import torch

    ids, mask = collate(_data(model), np.arange(_ROWS), model.config.pad_token_id)
    model.eval()
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask).logits.float()  # (rows, classes)


def _assert_like(expected: Any, found: Any, words: str) -> None:
    off = float((expected - found).abs().max())
    limit = _LOGIT_TOLERANCE * max(1.0, float(expected.abs().max()))
    assert off <= limit, (  # not so for a NaN either
        f"{words} ({off:.2g} off)"
    )
