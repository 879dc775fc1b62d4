"""Inside a transformers model: its head, its blocks, its linear layers, and whether it can be checkpointed.

Parts are told by the role that they have in the tree of modules. Their sizes say nothing: a head may be as wide as the model,
a list of experts longer than that of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proxtune.models.facts import ModelFacts
from proxtune.models.weights.file_layout import layout_copies_bytes

_LARGE_SHARE = 0.25  # of the parameters of the largest list: less is no list of blocks (norms, projections)
# Of experts in files of transformers 4: peft takes a layer of such a name for all experts of the model, fused since.
_EXPERT_PARTS = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3")
# What a table's module is given where its weights are streamed: a function of the rows (from, to) that are not needed for now.
LET_GO = "let_go_of_rows"
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "d_latents")


def head_of(model: Any) -> tuple[str, Any]:
    """Name and module of the linear layer that yields a classifier's logits: the last in what its body does not have."""
    import torch

    def linear_in(places: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        named = [
            (f"{name}.{inner}".strip("."), module) for name, part in places for inner, module in part.named_modules()
        ]
        return [(name, module) for name, module in named if isinstance(module, torch.nn.Linear)]

    for found in (linear_in(head_modules(model)), linear_in([("", model)])):
        last = [(name, module) for name, module in found if module.out_features == model.config.num_labels]
        if last:
            return last[-1]
    raise AssertionError("a sequence classifier ends in a linear layer")


def head_modules(model: Any) -> list[tuple[str, Any]]:
    """Names and modules of what a classifier has beside its body, and learns anew; none in a model without a head of its own."""
    body = getattr(model, "base_model", model)
    if body is model or _language_head(model) is not None:
        return []
    return [
        (name, module)
        for name, module in model.named_children()
        if module is not body and any(True for _ in module.parameters())
    ]


def blocks_of(model: Any) -> tuple[str, Any]:
    """Name and ModuleList of the transformer's blocks: the longest list that holds a good part of the parameters.

    Layers of several kinds may stand in it, and lists inside them (experts) do not count. A body without any such list is one
    block.
    """
    import torch

    lists = _outer_lists(model)
    if lists:
        return max(lists, key=lambda item: len(item[1]))
    body = getattr(model, "base_model", model)
    name = next((name for name, module in model.named_modules() if module is body), "")
    return name.rpartition(".")[0], torch.nn.ModuleList([body])


def block_lists(model: Any) -> list[Any]:
    """All lists of as many blocks: an encoder-decoder has two."""
    length, lists = len(blocks_of(model)[1]), [each for _, each in _outer_lists(model)]
    return [each for each in lists if len(each) == length] or [blocks_of(model)[1]]


def blocks_are_alike(model: Any) -> bool:
    """Whether each block computes what the others of its list do, on weights of the same shapes."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return len(set(kinds)) <= 1 and all(len(set(map(_shape_of, blocks))) == 1 for blocks in block_lists(model))


def _shape_of(block: Any) -> tuple[Any, ...]:
    """The classes of a block's modules and the shapes of its parameters, by name."""
    modules = tuple((name, type(module)) for name, module in block.named_modules())
    return modules, tuple((name, parameter.shape) for name, parameter in block.named_parameters())


@contextmanager
def first_blocks(model: Any, count: int) -> Iterator[None]:
    """While this lasts, the model has the first `count` blocks of each list alone; its config says nothing of it."""
    lists = [(blocks, list(blocks)) for blocks in block_lists(model)]
    for blocks, _ in lists:
        del blocks[count:]
    try:
        yield
    finally:
        for blocks, whole in lists:
            blocks.extend(whole[len(blocks) :])


def _outer_lists(model: Any) -> list[tuple[str, Any]]:
    """The lists of modules that stand in no other and hold a good part of the parameters."""
    import torch

    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    inner = {id(each) for _, module in lists for each in module.modules() if each is not module}
    sized = [
        (name, module, sum(parameter.numel() for parameter in module.parameters()))
        for name, module in lists
        if id(module) not in inner and len(module) > 0
    ]
    largest = max((size for _, _, size in sized), default=0)
    return [(name, module) for name, module, size in sized if size and size >= _LARGE_SHARE * largest]


def adapter_targets(model: Any) -> list[str]:
    """Names of the linear layers of the body that adapters go on.

    Not those of a head, which learns in full or stays; not routers and experts, which see too few rows each to learn from few;
    not projections whose weights a kernel of a state-space mixer takes by itself, past the adapter; and not linear layers that
    compute something else with their weights (the block-diagonal ones of DeepSeek-V4), to which x A B is nothing to add.
    """
    import torch
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.pytorch_utils import Conv1D

    aside = {id(module) for _, head in head_modules(model) for module in head.modules()}
    aside.add(id(_language_head(model)))
    if not head_modules(model) and _language_head(model) is None:
        aside.add(id(head_of(model)[1]))
    modules = dict(model.named_modules())
    has_experts = any(map(_in_experts, modules)) or get_checkpoint_conversion_mapping(model.config.model_type)
    found = []
    for name, module in modules.items():
        if type(module).forward not in (torch.nn.Linear.forward, Conv1D.forward) or id(module) in aside:
            continue
        if has_experts and (_in_experts(name) or name.rpartition(".")[2] in _EXPERT_PARTS):
            continue
        parents = [modules[path] for path in _paths_above(name)]
        if not (_is_router(name, parents) or _is_raw(name, parents)):
            found.append(name)
    return found


def _paths_above(name: str) -> list[str]:
    """The paths of the modules that hold one, the nearest first: "a.b.c" is in "a.b", "a" and the model itself ("")."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, -1, -1)]


def _in_experts(name: str) -> bool:
    return "experts" in name.split(".")


def _is_router(name: str, parents: list[Any]) -> bool:
    """Whether a layer chooses between experts: it is called so, in a block that has some."""
    words = ("router", "gate", "wg", "classifier", "expert_gate")
    named = any(part in words or part.endswith(("router", "expert_gate")) for part in name.split(".")[-2:])
    return named and any("expert" in child for parent in parents[:2] for child, _ in parent.named_children())


def _is_raw(name: str, parents: list[Any]) -> bool:
    """Whether the fused kernels of a state-space mixer read the layer's weights instead of calling it."""
    return name.rpartition(".")[2] in ("out_proj", "dt_proj") and hasattr(parents[0], "conv1d")


def _language_head(model: Any) -> Any:
    """The language-model head, which adapters leave as it is; None for a model without one."""
    return model.get_output_embeddings()


def model_facts(model: Any) -> ModelFacts:
    """What plans count with."""
    import torch

    modules = dict(model.named_modules())
    lists, lm_head = block_lists(model), _language_head(model)
    heads = [module for _, module in head_modules(model)]
    if not heads and lm_head is None:
        heads = [head_of(model)[1]]
    embeddings = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return ModelFacts(
        parameters=sum(p.numel() for p in model.parameters()),
        embedding_parameters=sum(embeddings.values()),
        block_parameters=sum(p.numel() for each in lists for p in each.parameters()),
        linear_parameters=sum(
            m.weight.numel() for each in lists for m in each.modules() if isinstance(m, torch.nn.Linear)
        ),
        rank_parameters=sum(sum(modules[name].weight.shape) for name in adapter_targets(model)),
        head_parameters=sum(p.numel() for head in heads for p in head.parameters()),
        blocks=len(blocks_of(model)[1]),
        width=width_of(model.config),
        layout_copies_bytes=layout_copies_bytes(model) * 4 // model.dtype.itemsize,
    )


def width_of(config: Any) -> int:
    """Numbers in a hidden state."""
    text = config.get_text_config()
    found = (getattr(each, name, None) for each in (text, config) for name in _WIDTHS)
    return next((int(width) for width in found if isinstance(width, int)), 1)


def can_checkpoint(model: Any) -> bool:
    """Whether the model can recompute its activations."""
    return bool(getattr(without_adapters(model), "supports_gradient_checkpointing", False))


def enable_checkpointing(model: Any) -> bool:
    """Recompute activations in the backward pass instead of keeping them; False where the model cannot."""
    if not can_checkpoint(model):
        return False
    plain = without_adapters(model)
    turn_on = getattr(plain, "activation_checkpointing_enable", None) or plain.gradient_checkpointing_enable
    turn_on({"use_reentrant": False})
    return True


def without_adapters(model: Any) -> Any:
    """The transformers model that peft has put adapters into; any other as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
