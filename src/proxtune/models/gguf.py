"""GGUF files: a quantized model becomes a plain transformers folder, once, and is kept.

    python -m proxtune.models.gguf FILE FOLDER

transformers reads GGUF with the `gguf` package, all weights at once and in float32; so it happens in a process of its own,
before and outside of any budget. The weights are kept in bfloat16, the type in which such models are published.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from proxtune.errors import UserError
from proxtune.storage.cache import add_to_cache, find_cached


def dequantized(*parts: Path) -> Path:
    """The folder with the model in a file, or in the parts of one, made at the first call.

    Raises UserError when it cannot be made.
    """
    file_name = parts[0].name.partition(".gguf")[0] + ".gguf"
    size = sum(part.stat().st_size for part in parts)
    name = f"{file_name.removesuffix('.gguf')}-{size:x}"
    found = find_cached("models", name)
    if found is not None:
        return found
    if find_spec("gguf") is None:
        raise UserError(f"{file_name} is a GGUF file, which needs the package gguf: pip install 'proxtune[gguf]'")
    return add_to_cache("models", name, str(parts[0]), lambda folder: _make(parts, file_name, folder))


def _make(parts: Sequence[Path], file_name: str, folder: Path) -> None:
    """Dequantize the file of these parts, in a process of its own. Raises UserError with that process's last words."""
    file = parts[0] if len(parts) == 1 else _joined(parts, folder.with_name(file_name))
    command = [sys.executable, "-P", "-m", "proxtune.models.gguf", str(file), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{file_name} cannot be dequantized: {words}")


def _joined(parts: Sequence[Path], file: Path) -> Path:
    with file.open("wb") as whole:
        for part in parts:
            with part.open("rb") as own:
                shutil.copyfileobj(own, whole)
    return file


def dequantize(file: Path, folder: Path) -> None:
    """Write the model in `file` to `folder`: config, tokenizer, and bfloat16 weights in safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # both say "quantized" still, and saving refuses what is quantized so
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(**where).save_pretrained(str(folder))


if __name__ == "__main__":
    dequantize(Path(sys.argv[1]), Path(sys.argv[2]))
