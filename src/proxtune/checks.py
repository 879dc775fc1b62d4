"""Contract checks for authors of extensions: what the rest of the program counts on a method to do.

    from proxtune.checks import check_method

    def test_my_method():
        check_method(METHOD, Path("a/small/model"))

Each check raises AssertionError with a sentence that says what was expected. Any transformers model folder will do;
a tiny one makes the checks quick.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs
from proxtune.data.batching import collate
from proxtune.data.dataset import Encoded
from proxtune.errors import UserError
from proxtune.export.base import ExportFormat
from proxtune.methods.base import Method
from proxtune.models.loading import classifier_config, load_classifier, load_tokenizer, longest_allowed
from proxtune.planning.cost_model import trainable_parameters
from proxtune.planning.profile import Profile

_LABELS = ["bad", "fair", "good"]
_ROWS, _LENGTH = 12, 16
_COUNT_TOLERANCE = 0.2  # of the planner's count of trainable parameters, which the rehearsal replaces by the true one
_LOGIT_TOLERANCE = 1e-4


def check_method(method: Method, model_folder: Path) -> None:
    """Run every check on every variant of `method` with the model in `model_folder`."""
    check_method_values(method)
    for plan in _plans(method, model_folder):
        check_prior(method, plan)
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
    prior = method.prior(plan, max(1, plan.last_layers))
    shares = [prior.expected(epochs) for epochs in (0.0, 0.1, 0.5, 1.0, 3.0, 10.0)]
    assert all(0 < share <= 1 for share in shares), f"{plan.name} expects {shares}; shares are between 0 and 1"
    assert shares == sorted(shares), f"{plan.name} expects less of more epochs: {shares}"


def check_preparation(method: Method, plan: Plan, model_folder: Path) -> None:
    """`prepare` marks what the planner counts, all in fp32, changes no output and leaves no gradient."""
    plain, model = _load(model_folder), method.prepare(_load(model_folder), plan)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counted = trainable_parameters(plan, _profile(plain, model_folder))
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


def _plans(method: Method, model_folder: Path) -> Iterator[Plan]:
    from proxtune.models.introspection import blocks_of

    blocks = len(blocks_of(_load(model_folder))[1])
    optimizer = "adamw" if method.uses_gradients else "none"
    blank = Plan(method.name, "fp32", _ROWS, _ROWS, _LENGTH, False, optimizer, method.learning_rate or 0.0, 1.0, 1, 0)
    for variant in method.variants(blocks, Knobs()):
        yield replace(blank, **variant)


def _load(model_folder: Path) -> Any:
    tokenizer = load_tokenizer(model_folder)
    config = classifier_config(model_folder, _LABELS, tokenizer, _LENGTH)
    assert longest_allowed(tokenizer, config) >= _LENGTH, f"the checks need a model that takes {_LENGTH} tokens"
    return load_classifier(model_folder, config, seed=0)


def _profile(model: Any, model_folder: Path) -> Profile:
    from proxtune.planning.profiler import model_facts

    facts: dict[str, Any] = model_facts(model)
    return Profile(
        **facts, supervisor_bytes=0, libraries_bytes=0, import_peak_bytes=0, weights_bytes=4 * facts["parameters"],
        rows=_ROWS, validation_rows=_ROWS, epoch_tokens=_ROWS * _LENGTH, validation_tokens=_ROWS * _LENGTH,
        max_length=_LENGTH, code_bytes=0,
    )  # fmt: skip


def _data(model: Any) -> Encoded:
    """Rows of several lengths, the same each time; no padding or special ids among them where there is a choice."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, _LENGTH + 1, _ROWS)
    low = min(200, model.config.vocab_size // 2)
    ids = random.integers(low, model.config.vocab_size, int(lengths.sum()), dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Encoded(ids, starts, np.arange(_ROWS) % len(_LABELS), 0)


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
