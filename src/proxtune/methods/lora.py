"""lora: low-rank adapters on every linear layer of the body (peft), a classification head in full; merged at the end.

The adapter alone is kept beside the model when asked.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

from __future__ import annotations

import warnings
from typing import Any

from proxtune.config.plan import CODE_BITS, Plan
from proxtune.config.recipe import Knobs
from proxtune.errors import UserError
from proxtune.memory.devices.calibration import Calibration
from proxtune.memory.lean_imports import import_peft
from proxtune.methods.base import Method, MethodCost, Prior
from proxtune.models.facts import ModelFacts
from proxtune.models.introspection import adapter_targets, head_modules
from proxtune.tasks.base import TaskTraits

_RANKS = (16, 4)
_LARGE_RANK = 8  # a smaller one reaches 0.01 less
_CODES_LOSS = {"int8": 0.002, "int4": 0.01}  # of expected quality, beside weights that are not codes


def _variants(blocks: int, knobs: Knobs) -> list[dict[str, Any]]:
    return [{"rank": knobs.rank}] if knobs.rank is not None else [{"rank": rank} for rank in _RANKS]


def _prepare(model: Any, plan: Plan) -> Any:
    from proxtune.models.quantized_linear import quantize_frozen_layers

    peft = import_peft()
    targets, heads = adapter_targets(model), [name for name, _ in head_modules(model)]
    if not targets:
        raise UserError("this model has no linear layers that adapters could go on; choose --method layers or full")
    adapters = peft.LoraConfig(
        task_type=_kind_of(model, heads),
        r=plan.rank,
        lora_alpha=2 * plan.rank,
        lora_dropout=0.0,  # a batch must give the same gradient however it is cut
        target_modules=targets,
        modules_to_save=heads or None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of the head's copy, which is meant
        adapted = peft.get_peft_model(model, adapters)
    if plan.base_dtype in CODE_BITS:
        quantize_frozen_layers(adapted, CODE_BITS[plan.base_dtype])
    if plan.weight_dtype != "fp32":
        for module in adapted.modules():  # peft would widen what enters an adapter, and autocast narrow it again
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False
    return adapted


def _kind_of(model: Any, heads: list[str]) -> str | None:
    """peft's word for a model, where it means to peft what is so: in a classifier, that modules of two names are its head."""
    if model.get_output_embeddings() is not None:
        return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    taken = {name for name, _ in model.named_modules() if name.endswith(("classifier", "score"))}
    return "SEQ_CLS" if taken == set(heads) else None


def _finish(model: Any, plan: Plan) -> Any:
    from proxtune.models.quantized_linear import dequantize_frozen_layers

    dequantize_frozen_layers(model)
    return model.merge_and_unload()  # sums in float32, which weights held in bfloat16 take rounded once


def adapter_bytes(model: Any) -> int:
    """What the adapters take, and no longer take when they are merged; 0 without any."""
    return sum(parameter.nbytes for name, parameter in model.named_parameters() if ".lora_" in name)


def _extra_bytes(plan: Plan, facts: ModelFacts, calibration: Calibration) -> dict[str, int]:
    return {"libraries": calibration.adapter_library_bytes, "weights": 4 * plan.trainable}


def _kernel_bytes(plan: Plan, traits: TaskTraits, calibration: Calibration) -> int:
    adapters = 0 if traits.long_rows else calibration.adapter_kernel_bytes[plan.dtype]  # few kernels are kept there
    return calibration.training_kernel_bytes[plan.dtype] + adapters


def _heap_slack(plan: Plan, traits: TaskTraits, calibration: Calibration) -> float:
    """Small tensors between large ones, where memory does not go back before each step."""
    return calibration.adapter_slack if plan.allocator == "fast" and not traits.long_rows else 1.0


def _base_model_prior(plan: Plan, blocks: int) -> Prior:
    """Adapters learn to answer nearly as well as all weights, step for step (Biderman et al., LoRA Learns Less …, 2024)."""
    return Prior(ceiling=0.995 - (0.0 if plan.rank >= _LARGE_RANK else 0.01), gap=0.10, decay_epochs=0.9)


METHOD = Method(
    name="lora",
    cost=MethodCost(
        trace_family="lora",
        count_trainable=lambda plan, facts: plan.rank * facts.rank_parameters + facts.head_parameters,
        extra_bytes=_extra_bytes,
        kernel_bytes=_kernel_bytes,
        heap_slack=_heap_slack,
        slowdown=lambda plan, calibration: calibration.codes_slowdown if plan.base_dtype in CODE_BITS else 1.0,
        dispatches=2.5,  # three products where there was one, two of them small
    ),
    learns_by="gradients",
    learning_rate=1e-3,
    variants=_variants,
    prepare=_prepare,
    finish=_finish,
    supports_size_limit=False,
    supports_codes=True,
    keeps_adapter=True,
    applies=lambda facts: facts.rank_parameters > 0,
    merged_bytes=adapter_bytes,
    prior=lambda plan, blocks: Prior(ceiling=0.985 if plan.rank >= _LARGE_RANK else 0.975, gap=0.11, decay_epochs=1.1),
    base_model_prior=_base_model_prior,
    expected_loss=lambda plan: _CODES_LOSS.get(plan.base_dtype, 0.0),
)
