"""Weights of a checkpoint that its model has no place for: of no matter, worth a word, or layers that must not be dropped.

transformers leaves them out in silence. What they are is told by the tree of modules that they would stand in, not by names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_NAMED = 3


@dataclass(frozen=True, slots=True)
class UnusedWeights:
    """What is left over: `dropped` has names of layers and weights of the body, `beside` of other parts of the checkpoint."""

    dropped: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of parts that the model does without."""
        return (f"weights of the files that this model has no use for: {listed(self.beside)}",) if self.beside else ()


def listed(names: Iterable[str]) -> str:
    """The first of the names, and how many more there are."""
    all_names = list(names)
    more = len(all_names) - _NAMED
    return ", ".join(all_names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def sort_unused(model: Any, names: Iterable[str]) -> UnusedWeights:
    """What the weights `names` are, for which `model` has no place.

    Quiet: heads of other tasks, layers that the body's class leaves empty (a pooler), and numbers that older versions saved as
    buffers, which stand where a module has no weights of its own.
    """
    dropped, beside = dict[str, tuple[Any, set[str]]](), dict[str, None]()
    for name in sorted(names, key=_by_number):
        place, reached, rest = _walk(model, name)
        part = ".".join([*([place] if place else []), rest[0]])
        if reached is None:
            if _is_part_of_body(model, name) or any(each.isdigit() for each in rest[:-1]):
                beside[part] = None
        elif not (_is_head(model, reached) or _is_buffer(model, reached, rest)):
            dropped.setdefault(part, (reached, set()))[1].update(rest[1:2])
    for part, (reached, inner) in list(dropped.items()):
        if _predicts_ahead(model, reached, part.rpartition(".")[2], inner):
            del dropped[part]
            beside[part] = None
    return UnusedWeights(tuple(dropped), tuple(beside))


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _body(model: Any) -> Any:
    return getattr(model, "base_model", model)


def _walk(model: Any, name: str) -> tuple[str, Any, list[str]]:
    """How far the path of a weight leads into the model: there, the module that it comes to, and what is left of the path.

    The module is None where the path comes to nothing inside the body or a head. Files have the body's prefix or not.
    """
    body, prefix = _body(model), str(getattr(model, "base_model_prefix", "") or "")
    parts = name.split(".")
    bare = parts[1:] if prefix and parts[0] == prefix else parts
    for root, path in ((model, parts), (body, bare)):
        module, left = root, list(path)
        while len(left) > 1 and left[0] in module._modules and module._modules[left[0]] is not None:
            module = module._modules[left.pop(0)]
        if module is not root and module is not body:
            return ".".join(parts[: len(parts) - len(left)]), module, left
    return ".".join(parts[: len(parts) - len(bare)]), None, bare


def _is_part_of_body(model: Any, name: str) -> bool:
    """Whether the checkpoint has it inside the body, where this model's class has not even an empty place for it."""
    prefix, body = str(getattr(model, "base_model_prefix", "") or ""), _body(model)
    own, _, rest = name.partition(".")
    return bool(prefix) and own == prefix and body is not model and not hasattr(body, rest.split(".")[0])


def _is_head(model: Any, module: Any) -> bool:
    """Whether a module stands outside the body, or where the model is its own body, in the language model's head."""
    body, lm_head = _body(model), model.get_output_embeddings()
    outside = body is not model and all(module is not inner for inner in body.modules())
    return outside or (lm_head is not None and any(module is inner for inner in lm_head.modules()))


def _is_buffer(model: Any, module: Any, rest: list[str]) -> bool:
    """Whether it is no weight: it stands in a module that has none. Files that are quantized have scales beside weights."""
    if len(rest) > 1:
        return False
    return not module._parameters or getattr(model.config, "quantization_config", None) is not None


def _predicts_ahead(model: Any, module: Any, number: str, parts: set[str]) -> bool:
    """Whether a block that is left over predicts more tokens than the next, as the config says some do.

    Such a block stands behind the last, and has parts that the others do not have.
    """
    extra = getattr(model.config.get_text_config(), "num_nextn_predict_layers", None) or 0
    if not number.isdigit() or not len(module._modules) <= int(number) < len(module._modules) + int(extra):
        return False
    return any(part not in block._modules for block in module._modules.values() for part in parts)
