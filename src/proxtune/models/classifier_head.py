"""The classification layer of a model that is a classifier already: kept where its rows mean our labels, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxtune.models.source import json_of

_NAMED = 6  # labels in a note


def labels_before(folder: Path) -> tuple[str, ...] | None:
    """What the rows of the checkpoint's classification layer stand for; None for a model that classifies no texts."""
    told = json_of(folder / "config.json", f"the model in {folder}")
    if not any(str(name).endswith("ForSequenceClassification") for name in told.get("architectures") or []):
        return None
    names = told.get("id2label")
    if not isinstance(names, dict) or not all(str(place) in names for place in range(len(names))):
        return tuple(f"LABEL_{i}" for i in range(int(told.get("num_labels") or 2)))
    return tuple(str(names[str(place)]) for place in range(len(names)))


def keeps_head(folder: Path, labels: Sequence[str]) -> bool:
    """Whether the checkpoint has a row for each of our labels, by its name, and no other."""
    before = labels_before(folder)
    return before is not None and sorted(before) == sorted(labels) and len(set(before)) == len(before)


def head_notes(folder: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """What becomes of the classification layer that the checkpoint has."""
    before = labels_before(folder)
    if before is None:
        return ()
    if keeps_head(folder, labels):
        moved = "" if tuple(labels) == before else ", its rows put in the order of these labels"
        return (
            f"the model told these labels apart already: its classification layer is kept{moved}, unless one "
            "fitted to these rows is right more often",
        )
    named = ", ".join(before[:_NAMED]) + (", …" if len(before) > _NAMED else "")
    return (
        f"the model was a classifier of {len(before)} other classes ({named}): its classification layer is replaced by a new one",
    )


def replaces_head(folder: Path, labels: Sequence[str]) -> bool:
    """Whether the checkpoint has a classification layer, of texts, tokens or choices, that does not mean our labels."""
    told = json_of(folder / "config.json", f"the model in {folder}")
    kinds = [str(name) for name in told.get("architectures") or []]
    return any(name.endswith(("Classification", "MultipleChoice")) for name in kinds) and not keeps_head(folder, labels)


def settle_head(model: Any, folder: Path, labels: Sequence[str], seed: int) -> None:
    """Begin a classification layer anew that means other labels, and put the rows of a kept one in the order of `labels`."""
    import torch

    from proxtune.models.introspection import head_of

    _, head = head_of(model)
    before = labels_before(folder)
    with torch.no_grad():
        if replaces_head(folder, labels):
            torch.manual_seed(seed)
            head.weight.normal_(0.0, float(getattr(model.config, "initializer_range", None) or 0.02))
            if head.bias is not None:
                head.bias.zero_()
        elif before is not None and before != tuple(labels):
            order = [before.index(label) for label in labels]
            head.weight.copy_(head.weight[order].clone())
            if head.bias is not None:
                head.bias.copy_(head.bias[order].clone())
