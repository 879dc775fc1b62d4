"""What `make bench-size` begins runs with that no option asks for: bits that are the same for all weights, and fewer blocks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from proxtune.compression.architecture import Shapes, Structure, choose_structure, file_bytes
from proxtune.compression.depth import blocks_prefix, config_with_blocks, kept_names, spread
from proxtune.compression.shrink import shrink_model
from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.models.source import find_model
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.pipeline.supervisor import resolve_recipe
from proxtune.samples import movies_path
from proxtune.storage.run_folder import write_recipe
from proxtune.tasks.classification.task import CLASSIFY


def begin_uniform(out: Path, size: str, seed: int, epochs: float) -> None:
    """A run in `out` that `proxtune resume` carries out: held to `size` with the same bits and groups for all weights."""
    out.mkdir(parents=True)
    recipe = resolve_recipe(
        Recipe(
            data=str(movies_path("train")), out=str(out), method="full", seed=seed, budget=Budget(size=size),
            knobs=Knobs(dtype="bf16", epochs=epochs),
        )
    )  # fmt: skip
    assert recipe.budget.size is not None
    shrink_model(find_model(recipe.model), CLASSIFY.read(recipe), recipe.budget.size, out, uniform)
    write_recipe(recipe, out / "recipe.toml")  # last: a folder without it is begun anew


def uniform(shapes: Shapes, size_bytes: int, used: int, least: int) -> Structure | None:
    """The usual bits, groups, rows and blocks, held to what these take: nothing is left to give single weights more."""
    usual = choose_structure(shapes, size_bytes, used, least)
    assert usual is not None, "the size binds"
    return dataclasses.replace(usual, size_bytes=file_bytes(shapes, usual))


def with_blocks(place: Path, blocks: int) -> Path:
    """A model folder with so many of MiniLM's blocks, from the first to the last; the folder."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    if (place / "tokenizer.json").is_file():
        return place
    source = find_model("minilm").folder
    config = AutoConfig.from_pretrained(str(source))
    tensors = load_file(str(source / "model.safetensors"))
    keep = spread(config.num_hidden_layers, blocks)
    prefix = blocks_prefix(tensors, config.num_hidden_layers)
    assert prefix is not None
    names = kept_names(tensors, prefix, keep)
    assert names is not None
    place.mkdir(parents=True, exist_ok=True)
    save_file({new: tensors[old] for old, new in names.items()}, str(place / "model.safetensors"), {"format": "pt"})
    config_with_blocks(config, keep).save_pretrained(str(place))
    load_tokenizer(source).save_pretrained(str(place))
    return place
