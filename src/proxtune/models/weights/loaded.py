"""Weights that came from the files of a model: whether they are all there, in the shapes of its config.

transformers draws what is missing at random and drops what it has no place for, and says so in a log at the most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from proxtune.errors import UserError
from proxtune.models.introspection import head_modules, head_of
from proxtune.models.weights.unused import UnusedWeights, listed

_NONE_UNUSED = UnusedWeights()
_ADVICE = "give a model whose weights and config belong together"
_WRAPPERS = {  # what holds a model while it is trained, by how its weights are called, with how to get at it
    "base_model.model.": "model.merge_and_unload()",
    "_orig_mod.": "model._orig_mod",
    "module.": "model.module",
}
# Layers that sum a row up, and that checkpoints of bodies often lack, or have in another form for another task: they are
# learned anew with the head.
_SUMMARIES = ("pooler", "sequence_summary", "pooled", "perceiver.decoder.")


def head_parameters(model: Any) -> set[str]:
    """The parameters of a classifier's head, which a checkpoint need not have; a language model must have its own."""
    if model.get_output_embeddings() is not None:
        return set()
    head = dict(head_modules(model)) or dict([head_of(model)])
    return {f"{name}.{inner}" for name, module in head.items() for inner, _ in module.named_parameters()}


def new_layer_notes(model: Any, missing: Collection[str]) -> tuple[str, ...]:
    """What to say of layers before a classification layer that the files lack; that one itself is new as a rule."""
    if not missing or model.get_output_embeddings() is not None:
        return ()
    last = head_of(model)[0]
    layers = dict.fromkeys(name.rpartition(".")[0] for name in sorted(missing))
    found = [layer for layer in layers if layer != last]
    return (
        (f"the files lack layers before the classification layer ({listed(found)}): they begin at random",)
        if found
        else ()
    )


def check_loaded(
    told: Mapping[str, Any],
    folder: Path,
    *,
    new: Collection[str] = (),
    of_other_shape: Collection[str] = (),
    unused: UnusedWeights = _NONE_UNUSED,
) -> None:
    """Raises UserError for weights that are not in the files of `folder`, are there in another shape, or would be dropped.

    `told` is what `from_pretrained` says of its loading. The parameters `new` need not be in the files, and those
    `of_other_shape` are drawn anew.
    """
    for name, found, wanted in sorted(told["mismatched_keys"], key=lambda item: str(item[0])):
        if name not in of_other_shape:
            raise UserError(
                f"{name} in {folder} has the shape {tuple(found)} where config.json says {tuple(wanted)}; {_ADVICE}"
            )
    lacking = sorted(name for name in told["missing_keys"] if name not in new and not _is_summary(name))
    if lacking:
        strange = sorted(told["unexpected_keys"])
        wrapper = next((part for part in _WRAPPERS if strange and all(name.startswith(part) for name in strange)), None)
        if wrapper is not None:
            raise UserError(
                f"the weights in {folder} have names that begin with {wrapper!r}, those of a model within another: save the "
                f"inner one ({_WRAPPERS[wrapper]}.save_pretrained(FOLDER)), and give its folder"
            )
        instead = f", and have {strange[0]} instead" if len(strange) >= len(lacking) else ""
        raise UserError(
            f"the weights in {folder} lack {lacking[0]}{_and_more(len(lacking) - 1)}{instead}: they would begin at "
            f"random; {_ADVICE}"
        )
    dropped = [name for name in unused.dropped if not _is_summary(f"{name}.")]
    if dropped:
        raise UserError(
            f"the weights in {folder} have {listed(dropped)}, for which the model of config.json has no place: they would "
            f"be dropped; {_ADVICE}"
        )


def _is_summary(name: str) -> bool:
    return any(word in name for word in _SUMMARIES)


def _and_more(count: int) -> str:
    return f" and {count:,} more" if count else ""
