"""Inside a transformers model: its head, its blocks, and whether it can be checkpointed."""

from __future__ import annotations

from typing import Any

from proxtune.models.facts import ModelFacts


def head_of(model: Any) -> tuple[str, Any]:
    """Name and module of the last linear layer, the one that yields the logits."""
    import torch

    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels
    ]
    assert found, "a sequence classifier ends in a linear layer"
    return found[-1]


def blocks_of(model: Any) -> tuple[str, Any]:
    """Name and ModuleList of the transformer's blocks: the longest list of modules of one class."""
    import torch

    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) > 0 and len({type(m) for m in module}) == 1
    ]
    assert lists, "a transformer has a list of blocks"
    return max(lists, key=lambda item: len(item[1]))


def block_lists(model: Any) -> list[Any]:
    """All such lists: an encoder-decoder has two."""
    import torch

    length = len(blocks_of(model)[1])
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len({type(b) for b in m}) == 1]
    inner = {id(m) for each in lists for m in each.modules() if m is not each}
    return [each for each in lists if id(each) not in inner and len(each) == length]


def model_facts(model: Any) -> ModelFacts:
    """What plans count with."""
    import torch

    def linear_in(module: Any) -> list[Any]:
        return [each for each in module.modules() if isinstance(each, torch.nn.Linear)]

    lists = block_lists(model)
    lm_head = model.get_output_embeddings()  # a language-model head, which adapters leave as it is
    head = head_of(model)[1] if lm_head is None else lm_head
    embeddings = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return ModelFacts(
        parameters=sum(p.numel() for p in model.parameters()),
        embedding_parameters=sum(embeddings.values()),
        block_parameters=sum(p.numel() for each in lists for p in each.parameters()),
        linear_parameters=sum(m.weight.numel() for each in lists for m in linear_in(each)),
        rank_parameters=sum(m.in_features + m.out_features for m in linear_in(model) if m is not head),
        head_parameters=sum(p.numel() for p in head.parameters()) if lm_head is None else 0,
        blocks=len(blocks_of(model)[1]),
        width=int(model.config.hidden_size),
    )


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
