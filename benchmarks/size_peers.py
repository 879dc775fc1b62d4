"""What else makes a trained model small: each way takes the model of a run without a size, and says bytes and accuracy.

    python benchmarks/size_peers.py WAY RUN [--size 9MB]

Run by `size.py`, a process for each. The last line is a JSON object: `bytes` of the file with the weights, `accuracy` on
test.csv, `with` (the library and its version); or `absent`, why it could not be done here.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxtune.compression.architecture import choose_structure
from proxtune.compression.packed_format import write_packed
from proxtune.compression.shrink import shrink_model
from proxtune.compression.size_constraint import SizeConstraint
from proxtune.config.budget import parse_bytes
from proxtune.config.plan import plan_from_dict
from proxtune.models.introspection import head_of
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.source import ModelSource
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.samples import movies_path
from proxtune.storage.run_folder import read_recipe
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.reader import sorted_labels
from proxtune.tasks.classification.task import CLASSIFY
from proxtune.training.bit_allocation import importance_of, rows_at_a_time
from size_begun import uniform

Logits = Callable[[Any, Any], np.ndarray]  # of ids and mask, (rows, length) each
_BATCH, _LONGEST = 32, 256


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("way", choices=WAYS)
    words.add_argument("run", type=Path)
    words.add_argument("--size", default="9MB")
    asked = words.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    try:
        found = WAYS[asked.way](asked.run, asked.size)
    except ImportError as error:
        found = {"absent": f"{error.name or error} is not installed"}
    print(json.dumps(found))


def torchao_int8(run: Path, size: str) -> dict[str, Any]:
    """Linear layers in 8 bits; embeddings stay, in 16."""
    from torchao.quantization import Int8WeightOnlyConfig

    return _torchao(run, [(Int8WeightOnlyConfig(), torch.nn.Linear)])


def torchao_int8_all(run: Path, size: str) -> dict[str, Any]:
    """Linear layers and embeddings in 8 bits."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerAxis

    embedding = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
    return _torchao(run, [(Int8WeightOnlyConfig(), torch.nn.Linear), (embedding, torch.nn.Embedding)])


def torchao_int4(run: Path, size: str) -> dict[str, Any]:
    """Linear layers in 4 bits by 128 in the form that a CPU multiplies with; embeddings stay, in 16."""
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

    return _torchao(run, [(PrototypeInt4WeightOnlyConfig(group_size=128), torch.nn.Linear)])


def torchao_int4_int8(run: Path, size: str) -> dict[str, Any]:
    """The same with embeddings in 8 bits: torchao keeps codes of an embedding in a byte each, whatever their bits."""
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization import IntxWeightOnlyConfig, PerAxis

    embedding = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
    linear = PrototypeInt4WeightOnlyConfig(group_size=128)
    return _torchao(run, [(linear, torch.nn.Linear), (embedding, torch.nn.Embedding)])


def _torchao(run: Path, forms: list[tuple[Any, type]]) -> dict[str, Any]:
    from torchao.quantization import quantize_

    model = _model(run, torch.bfloat16)
    for form, kind in forms:
        quantize_(
            model, form, filter_fn=lambda module, name, kind=kind: type(module) is kind and "classifier" not in name
        )
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "weights.pt"
        torch.save(model.state_dict(), file)
        size_bytes = file.stat().st_size
    return {"bytes": size_bytes, "accuracy": _accuracy(run / "model", _logits(model)), "with": _named("torchao")}


def onnx_int8(run: Path, size: str) -> dict[str, Any]:
    """ONNX Runtime's dynamic quantization: all matrices in 8 bits, embeddings too."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = _model(run, torch.float32)
    model.config.return_dict = False
    ids = torch.ones(2, 16, dtype=torch.int64)
    axes = {name: {0: "rows", 1: "length"} for name in ("input_ids", "attention_mask")}
    with tempfile.TemporaryDirectory() as place:
        whole, small = Path(place) / "model.onnx", Path(place) / "small.onnx"
        torch.onnx.export(
            model, (ids, torch.ones_like(ids)), str(whole), input_names=list(axes), output_names=["logits"],
            dynamic_axes=axes, dynamo=False,
        )  # fmt: skip
        quantize_dynamic(str(whole), str(small), weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(small), options, providers=["CPUExecutionProvider"])

        def logits(ids: Any, mask: Any) -> np.ndarray:
            return np.asarray(session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0])

        return {
            "bytes": small.stat().st_size,
            "accuracy": _accuracy(run / "model", logits),
            "with": _named("onnxruntime"),
        }


def ours_at_the_end(run: Path, size: str) -> dict[str, Any]:
    """The structure and the allocation of proxtune, without learning there."""
    return _at_the_end(run, size, choose_structure)


def uniform_at_the_end(run: Path, size: str) -> dict[str, Any]:
    """The same bits for all weights, in groups as small as there is room for, without learning there."""
    return _at_the_end(run, size, uniform)


def _at_the_end(run: Path, size: str, choose: Any) -> dict[str, Any]:
    from proxtune.compression.packed_format import load_packed

    recipe = replace(read_recipe(run / "recipe.toml"), data=str(movies_path("train")))  # a run may have been moved here
    plan = plan_from_dict(json.loads((run / "result.json").read_text(encoding="utf-8"))["plan"])
    split = CLASSIFY.read(recipe)
    labels = sorted_labels(split.train)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        source = ModelSource("trained", run / "model", "trained")
        begun, structure = shrink_model(source, split, parse_bytes(size, "size"), place, choose)
        assert structure is not None, "the size binds"
        tokenizer = load_tokenizer(begun.folder)
        model = load_classifier(begun.folder, classifier_config(begun.folder, labels, tokenizer, _LONGEST), 0)
        data = encode(split.train, labels, tokenizer, _LONGEST)
        importance = importance_of(
            plan, model, data, model.config.pad_token_id, recipe.seed, rows_at_a_time(plan, data)
        )
        constraint = SizeConstraint(model, head_of(model)[0], structure, place)
        allocation = constraint.allocate(importance)
        constraint.project()
        write_packed(place / "small", constraint.saved(), model.config, structure)
        tokenizer.save_pretrained(str(place / "small"))
        size_bytes = (place / "small" / "model.safetensors").stat().st_size
        accuracy = _accuracy(place / "small", _logits(load_packed(place / "small", "eager")))
    return {"bytes": size_bytes, "accuracy": accuracy, "with": "proxtune", "cost": allocation.cost}


def _model(run: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        str(run / "model"), dtype=dtype, attn_implementation="eager"
    ).eval()


def _logits(model: Any) -> Logits:
    def logits(ids: Any, mask: Any) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(model(input_ids=ids, attention_mask=mask)[0].float().numpy())

    return logits


def _accuracy(folder: Path, logits: Logits) -> float:
    """Share of the rows of test.csv that are right, with the tokenizer and the labels of a model folder."""
    tokenizer = load_tokenizer(folder)
    names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["label2id"]
    with movies_path("test").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: len(row["text"]))
    right = 0
    for begin in range(0, len(rows), _BATCH):
        few = rows[begin : begin + _BATCH]
        read = tokenizer(
            [row["text"] for row in few], padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
        )
        found = logits(read["input_ids"], read["attention_mask"]).argmax(1)
        right += sum(int(place) == names[row["label"]] for place, row in zip(found, few, strict=True))
    return right / len(rows)


def _named(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


WAYS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "torchao-int8": torchao_int8,
    "torchao-int8-all": torchao_int8_all,
    "torchao-int4": torchao_int4,
    "torchao-int4-int8": torchao_int4_int8,
    "onnxruntime-int8": onnx_int8,
    "at-the-end": ours_at_the_end,
    "uniform-at-the-end": uniform_at_the_end,
}

if __name__ == "__main__":
    main()
