"""What the rest of the program counts on a training method to do."""

from __future__ import annotations

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
from proxtune.memory.devices.registry import DEVICES
from proxtune.methods.base import FORWARD, HELD_FORWARD, Method
from proxtune.methods.registry import method_names
from proxtune.models.facts import ModelFacts
from proxtune.models.introspection import blocks_of, model_facts
from proxtune.models.loading import classifier_config, load_classifier, longest_allowed
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.tasks.base import TaskTraits
from proxtune.tasks.classification.objective import LABELS

_LABELS = ["bad", "fair", "good"]
_ROWS, _LENGTH = 12, 16
_COUNT_TOLERANCE = 0.2  # of the planner's count of trainable parameters, which the dry run replaces by the true one
_LOGIT_TOLERANCE = 1e-4


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
