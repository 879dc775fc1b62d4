"""Begin smaller: a copy of the pretrained model with fewer vocabulary rows or blocks, where --size leaves no room for all of it.

It is written as a model folder of its own, and everything that follows begins from it: the smaller model is what is planned,
traced and tried in a dry run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from proxtune.compression.architecture import Shapes, Structure, choose_structure
from proxtune.compression.depth import blocks_prefix, config_with_blocks, kept_names, spread
from proxtune.compression.vocabulary import NotTrimmed, Trimmed, config_with, trimmed
from proxtune.data.examples import Examples, Split
from proxtune.errors import UserError
from proxtune.models.introspection import blocks_of, head_of
from proxtune.models.loading import classifier_config
from proxtune.models.source import ModelSource
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.word_classifier import answers_by_words
from proxtune.storage.atomic import as_system_errors, write_json
from proxtune.storage.safetensors_header import check_files
from proxtune.tasks.classification.label_prompt import LabelPrompt, has_language_head, prompt_for
from proxtune.tasks.classification.reader import sorted_labels

Choose = Callable[[Shapes, int, int, int], Structure | None]  # as `choose_structure`
_FOLDER = "start"
_STRUCTURE = "structure.json"


def shrink_model(
    source: ModelSource, split: Split[Examples], size_bytes: int, folder: Path, choose: Choose = choose_structure
) -> tuple[ModelSource, Structure | None]:
    """The model to begin with so that what is saved can fit in `size_bytes`, and its structure; None where it fits as it is.

    This computes, so a process that forks later lets a child do it and reads what that wrote with `find_smaller_model`.
    Raises UserError with the least size that could work.
    """
    found = find_smaller_model(source, folder)
    if found is not None:  # written by another process of the same run
        return found
    place = folder / _FOLDER
    tokenizer, labels = load_tokenizer(source.folder), sorted_labels(split.train)
    config = classifier_config(source.folder, labels, tokenizer, 512)
    if answers_by_words(config):
        raise UserError(f"--size does not work with {config.model_type}, which has no classifier class; leave it out")
    shapes = shapes_of(config)
    counts = _counts(
        tokenizer, split, prompt_for(labels) if has_language_head(config) else None, shapes.vocabulary[0][0]
    )
    used, least = _rows_kept(tokenizer, counts)
    structure = choose(shapes, size_bytes, used, least)
    if structure is None:
        return source, None
    smaller = None
    if structure.vocabulary < len(counts):
        smaller = trimmed(tokenizer, counts, structure.vocabulary, all_characters=structure.vocabulary >= used)
    if isinstance(smaller, Trimmed):
        structure = dataclasses.replace(structure, vocabulary=len(smaller.kept))
        tokenizer = smaller.tokenizer
    else:
        smaller = None
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with as_system_errors():
        _write(source.folder, place, smaller, len(counts), spread(len(shapes.blocks), structure.blocks))
        tokenizer.save_pretrained(str(place))
    write_json(place / _STRUCTURE, dataclasses.asdict(structure))
    return dataclasses.replace(source, folder=place), structure


def find_smaller_model(source: ModelSource, folder: Path) -> tuple[ModelSource, Structure] | None:
    """The smaller model that the run in `folder` begins with, and its structure; None where there is none yet."""
    place = folder / _FOLDER
    check_files(folder, [_FOLDER])
    if not (place / _STRUCTURE).is_file():
        return None
    return dataclasses.replace(source, folder=place), _read_structure(place / _STRUCTURE)


def _read_structure(path: Path) -> Structure:
    try:
        found = Structure(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}; train again into another folder") from error
    if not all(isinstance(value, int) and value >= 0 for value in dataclasses.astuple(found)):
        raise UserError(f"{path} holds something other than numbers; train again into another folder")
    return found


def remove_smaller_model(folder: Path) -> None:
    """Remove the smaller model that a run began with."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def shapes_of(config: Any) -> Shapes:
    """The shapes of a classifier's parameters, without its weights."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    blocks, embedding, head = blocks_of(model)[1], model.get_input_embeddings().weight, head_of(model)[1].weight
    inside = {id(parameter) for parameter in (*blocks.parameters(), embedding, head)}
    others = [tuple(p.shape) for p in model.parameters() if id(p) not in inside]
    return Shapes(
        (*others, (head.numel(),)),  # which is not packed
        (tuple(embedding.shape),),
        tuple(tuple(tuple(p.shape) for p in block.parameters()) for block in blocks),
    )


def _rows_kept(tokenizer: Any, counts: np.ndarray) -> tuple[int, int]:
    """Rows of the vocabulary that the texts use, with every single character; and the fewest that these texts can be cut into.

    All of them where the vocabulary cannot be trimmed.
    """
    used, least = trimmed(tokenizer, counts), trimmed(tokenizer, counts, 0, all_characters=False)
    if isinstance(used, Trimmed) and isinstance(least, NotTrimmed) and least.least_rows is not None:
        return len(used.kept), least.least_rows
    return len(counts), len(counts)


def _counts(tokenizer: Any, split: Split[Examples], prompt: LabelPrompt | None, rows: int) -> np.ndarray:
    """How often each token stands in the texts of a run, (rows,)."""
    counts = np.zeros(rows, dtype=np.int64)
    prompt_texts = [] if prompt is None else [prompt.question, *prompt.words]
    for texts in (split.train.whole_texts, split.validation.whole_texts, prompt_texts):
        for begin in range(0, len(texts), 1024):
            for ids in tokenizer(texts[begin : begin + 1024], return_attention_mask=False)["input_ids"]:
                np.add.at(counts, ids, 1)
    return counts


def _write(source: Path, place: Path, smaller: Trimmed | None, rows: int, blocks: list[int]) -> None:
    """The tensors and the config of `source`, of the vocabulary only the rows that stay, and only some of the blocks.

    Raises UserError for a model whose blocks cannot be told apart.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(source), trust_remote_code=False)
    files = {name: path for path in sorted(source.glob("*.safetensors")) for name in _names(path)}
    names: dict[str, str] | None = {name: name for name in files}
    if len(blocks) < config.num_hidden_layers:
        prefix = blocks_prefix(files, config.num_hidden_layers)
        names = None if prefix is None else kept_names(files, prefix, blocks)
        config = config_with_blocks(config, blocks)
    if names is None:
        raise UserError("--size is too small for this model, whose blocks cannot be left out; raise it")
    tensors = {}
    for old, new in names.items():
        with safe_open(str(files[old]), framework="pt") as weights:
            tensor = weights.get_tensor(old)
        of_tokens = smaller is not None and tensor.dim() > 0 and len(tensor) == rows
        tensors[new] = (tensor[list(smaller.kept)] if of_tokens and smaller is not None else tensor).contiguous()
    save_file(tensors, str(place / "model.safetensors"), {"format": "pt"})
    (config if smaller is None else config_with(config, smaller)).save_pretrained(str(place))


def _names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as weights:
        return list(weights.keys())
