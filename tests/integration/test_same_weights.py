"""The same weights for the same seed, to the last bit: what `proxtune train` came to when `fixtures/digests.json` was recorded.

Record again, from the proxtune that is imported, after a change that is meant to change what is learned:

    RECORD=1 python -m pytest tests/integration/test_same_weights.py

Every run is one process tree that computes in one thread with the plainest kernels that its libraries have, from models whose
numbers are exact, so that neither the processor nor the number of cores decides what comes out. No budget of time is
given, and there are too few steps for validation to depend on speed (`cost.evaluations`). Where digests differ on a machine
other than the one that recorded them, the weights must still agree as numbers.
"""

import csv
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parents[1] / "fixtures" / "digests.json"
RECORDING = os.environ.get("RECORD") == "1"
PLAIN_KERNELS = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F", "HF_HUB_OFFLINE": "1",
}  # fmt: skip
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "peft", "safetensors")
COMMON = ("--seed", "3", "--memory", "3GB", "--dtype", "fp32", "--json")
RUNS = {
    "classify-full": ("encoder", "reviews", "--method", "full", "--epochs", "2"),
    "classify-lora": ("encoder", "reviews", "--method", "lora", "--epochs", "2"),
    "classify-layers": ("encoder", "reviews", "--method", "layers", "--epochs", "2"),
    "classify-probe": ("encoder", "reviews", "--method", "probe"),
    # few rows to learn from and many to validate on: the best point is then one that was searched for
    "classify-nno": ("encoder", "few", "--method", "nno", "--epochs", "3", "--batch", "12", "--validation", "reviews"),
    "classify-decoder-full": ("decoder", "reviews", "--method", "full", "--epochs", "2"),
    "classify-size": ("encoder", "reviews", "--method", "full", "--epochs", "2", "--size", "60KB"),
    "summarize-full": ("chat", "pairs", "--task", "summarize", "--method", "full", "--epochs", "1"),
    "summarize-lora": ("chat", "pairs", "--task", "summarize", "--method", "lora", "--epochs", "1"),
    "translate-full": ("t5", "pairs", "--task", "translate", "--method", "full", "--epochs", "1"),
}
# Another processor's rounding: 1e-5 of a number was seen, and some 1e-3 in heads that are fitted until it is enough, and in what
# learns from there.
CLOSE, FITTED_CLOSE = {"rtol": 1e-4, "atol": 1e-6}, {"rtol": 2e-2, "atol": 1e-3}
FITTED = tuple(name for name in RUNS if name.startswith("classify-"))


def exact_copy(model: Path, place: Path) -> Path:
    """The model with numbers that no kernel has a part in: those that torch draws depend on the processor."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model, place)
    tensors = load_file(place / "model.safetensors")
    for number, name in enumerate(sorted(tensors)):
        if tensors[name].ndim == 2:
            drawn = np.random.default_rng(number).integers(-2048, 2049, tensors[name].shape)
            tensors[name] = (drawn / 65536).astype(np.float32)
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    return place


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_model, tiny_decoder, tiny_chat, tiny_t5, tiny_reviews, tiny_pairs) -> dict[str, Path]:
    """Models and data by the names that `RUNS` has for them."""
    place = tmp_path_factory.mktemp("inputs")
    models = {"encoder": tiny_model, "decoder": tiny_decoder, "chat": tiny_chat, "t5": tiny_t5}
    found = {name: exact_copy(folder, place / name) for name, folder in models.items()}
    with tiny_reviews.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[:61]
    with (place / "few.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return found | {"reviews": tiny_reviews, "few": place / "few.csv", "pairs": tiny_pairs}


def digest_of_inputs(inputs: dict[str, Path]) -> dict[str, str]:
    found = {}
    for name, path in inputs.items():
        digest = hashlib.sha256()
        for file in [path] if path.is_file() else [path / "model.safetensors", path / "tokenizer.json"]:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        found[name] = digest.hexdigest()
    return found


def trained(name: str, inputs: dict[str, Path], place: Path) -> dict[str, Any]:
    """What one run comes to."""
    model, data, *words = (str(inputs.get(word, word)) for word in RUNS[name])
    done = subprocess.run(
        [sys.executable, "-m", "proxtune", "train", data, "--model", model, "--out", str(place), *COMMON, *words],
        capture_output=True, text=True, env=os.environ | PLAIN_KERNELS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    return {"steps": result["steps"], **weights_of(place / "model")}


def weights_of(folder: Path) -> dict[str, Any]:
    """The digest of all tensors and of what they are called, and three numbers from each matrix."""
    shapes, digest, numbers = hashlib.sha256(), hashlib.sha256(), []
    tensors = {}
    for path in folder.glob("*.safetensors"):
        content = path.read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:begin]).items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], content[begin + first : begin + last])
    for name, (dtype, shape, data) in sorted(tensors.items()):
        shapes.update(f"{name} {dtype} {shape}\n".encode())
        digest.update(f"{name} {dtype} {shape}\n".encode() + data)
        if dtype in ("F32", "F16") and len(shape) == 2:
            values = np.frombuffer(data, np.float32 if dtype == "F32" else np.float16)
            numbers += [float(f"{values[len(values) * quarter // 4]:.6g}") for quarter in (1, 2, 3)]
    return {"digest": digest.hexdigest(), "shapes": shapes.hexdigest(), "numbers": numbers}


def machine() -> dict[str, str]:
    """What may round otherwise in spite of `PLAIN_KERNELS`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": processor, "libc": " ".join(platform.libc_ver()), "torch build": metadata.version("torch"),
    }  # fmt: skip


def library_versions() -> dict[str, str]:
    return {name: metadata.version(name).partition("+")[0] for name in LIBRARIES}


@pytest.fixture(scope="module")
def recorded(inputs) -> Iterator[dict[str, Any]]:
    """The fixture, where it is of the libraries that are installed; with RECORD=1 a new one, written at the end."""
    if RECORDING:
        new = {
            "commit": commit_of_proxtune(), "versions": library_versions(), "machine": machine(),
            "inputs": digest_of_inputs(inputs), "runs": {},
        }  # fmt: skip
        yield new
        FIXTURE.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    found = json.loads(FIXTURE.read_text(encoding="utf-8"))
    now = library_versions()
    changed = [f"{name} {then} → {now[name]}" for name, then in found["versions"].items() if now[name] != then]
    if changed:
        pytest.skip(f"digests.json was recorded with other versions: {', '.join(changed)}")
    yield found


@pytest.fixture(scope="module")
def runs(recorded, inputs, tmp_path_factory, request) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """The runs that the tests chosen ask for, two at a time."""
    place = tmp_path_factory.mktemp("runs")
    tests = [item.name for item in request.session.items]
    chosen = [name for name in RUNS if any(test.endswith(f"[{name}]") for test in tests)]
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        yield {name: pool.submit(trained, name, inputs, place / name) for name in chosen}


@pytest.mark.parametrize("name", RUNS)
def test_a_seed_leads_to_the_weights_recorded(recorded, inputs, runs, tmp_path, name):
    found = runs[name].result()
    if RECORDING:
        assert trained(name, inputs, tmp_path / "again") == found, f"{name} does not come to the same twice"
        recorded["runs"][name] = found
        return
    assert digest_of_inputs(inputs) == recorded["inputs"], "the tiny models or their data are others than recorded"
    expected = recorded["runs"][name]
    assert (found["steps"], found["shapes"]) == (expected["steps"], expected["shapes"])
    if found["digest"] != expected["digest"]:
        assert machine() != recorded["machine"], f"{name}: other weights than at commit {recorded['commit'][:9]}"
        np.testing.assert_allclose(found["numbers"], expected["numbers"], **(FITTED_CLOSE if name in FITTED else CLOSE))


def commit_of_proxtune() -> str:
    """That of the tree which the proxtune that is imported lies in."""
    source = Path(str(util.find_spec("proxtune").origin)).parent
    command = ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
