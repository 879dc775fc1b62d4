"""A model in another dtype: the same numbers as torch's, in a folder that is made once, or not at all."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from proxtune.errors import UserError
from proxtune.models import converted
from proxtune.models.converted import stored_dtypes, weights_in
from proxtune.models.source import find_model
from proxtune.storage.cache import cache_folder, cached_models
from proxtune.storage.safetensors_header import read_header

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder("weights")


@pytest.fixture
def tensors():
    """Of each dtype that is converted, and of some that are not; the sizes of few are multiples of 64 bytes."""
    generator = torch.Generator().manual_seed(0)
    return {
        "odd": torch.randn(7, 5, generator=generator), "large": torch.randn(48, 32, generator=generator),
        "half": torch.randn(33, generator=generator).half(), "double": torch.randn(16, 16, generator=generator).double(),
        "brain": torch.randn(64, generator=generator).bfloat16(), "scalar": torch.tensor(1.00390625),
        "none": torch.zeros(0, 4), "limits": torch.tensor([3.4e38, -1e-40, float("inf"), 0.0, -0.0, 65504.0]),
        "ids": torch.arange(9), "bytes": torch.arange(3, dtype=torch.uint8), "mask": torch.tensor([True, False]),
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path, tensors):
    place = tmp_path / "small"
    place.mkdir()
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    (place / "config.json").write_text('{"model_type": "llama"}')
    (place / "tokenizer.json").write_text("{}")
    (place / "chat_template.jinja").write_text("{{ messages }}")
    (place / "additional_chat_templates").mkdir()
    (place / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    for name in (
        "pytorch_model.bin",
        "model.pt",
        "model.onnx",
        "consolidated.safetensors",
        "pytorch_model.bin.index.json",
    ):
        (place / name).write_bytes(b"other weights")
    return place


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("piece_bytes", [16 << 20, 64])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_numbers_are_those_of_torch(folder, tensors, dtype, piece_bytes, monkeypatch):
    monkeypatch.setattr(converted, "_PIECE_BYTES", piece_bytes)
    got = load_file(weights_in(folder, dtype) / "model.safetensors")
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        wanted = tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor
        assert bits(got[name]) == bits(wanted), name
    assert stored_dtypes(weights_in(folder, dtype)) == {{"fp32": "F32", "bf16": "BF16"}[dtype]}


def test_a_tensor_is_read_in_pieces(folder, monkeypatch):
    from proxtune.storage import safetensors_file

    lengths = []
    read_all = safetensors_file.read_all
    monkeypatch.setattr(
        safetensors_file, "read_all", lambda file, into: lengths.append(len(into)) or read_all(file, into)
    )
    monkeypatch.setattr(converted, "_PIECE_BYTES", 256)
    weights_in(folder, "bf16")
    assert max(lengths) == 256
    assert sum(lengths) == sum(
        entry.end - entry.begin for entry in read_header(folder / "model.safetensors").entries.values()
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_tensors_begin_where_a_cache_line_does(folder, dtype):
    file = weights_in(folder, dtype) / "model.safetensors"
    begins = {name: entry.begin for name, entry in read_header(file).entries.items()}
    assert min(begins.values()) % 64 == 0
    assert {name for name in ("large", "double", "brain") if begins[name] % 64} == set()
    for name, entry in read_header(file).entries.items():
        size = entry.end - entry.begin
        assert entry.begin % min(64, size & -size or 64) == 0, name


def test_what_the_file_says_of_itself_stays(folder):
    assert read_header(weights_in(folder, "bf16") / "model.safetensors").metadata == {"format": "pt"}


def test_the_files_beside_the_weights_are_copied_and_other_weights_are_not(folder):
    made = weights_in(folder, "bf16")
    assert {str(file.relative_to(made)) for file in made.rglob("*") if file.is_file()} == {
        ".source", "model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
    }  # fmt: skip
    assert (made / "chat_template.jinja").read_text() == "{{ messages }}"


def test_a_folder_that_has_the_dtype_is_used_as_it_is(tmp_path, folder, tensors, weights):
    floats = {name: tensor.bfloat16() for name, tensor in tensors.items() if tensor.is_floating_point()}
    save_file({**floats, "ids": tensors["ids"]}, folder / "model.safetensors")
    assert stored_dtypes(folder) == {"BF16"}
    assert weights_in(folder, "bf16") == folder
    assert not weights.exists()


def test_it_is_made_once_and_counts_as_used_again(folder, weights, monkeypatch):
    made = weights_in(folder, "bf16")
    os.utime(made, (1_000, 1_000))
    monkeypatch.setattr(converted, "_convert", None)
    assert weights_in(folder, "bf16") == made
    assert made.parent == weights
    assert made.name.startswith("small-bf16-")
    (listed,) = cached_models()
    assert listed.last_used_seconds > 1_000
    assert listed.source == f"{folder} in bf16"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_that_has_changed_is_made_anew(folder, file):
    before = weights_in(folder, "bf16")
    os.utime(folder / file, (1_000, 1_000))
    assert weights_in(folder, "bf16") != before
    assert weights_in(folder, "bf16") != weights_in(folder, "fp32")


def test_files_that_are_links_are_followed(tmp_path, folder):
    """As the hub keeps them: a snapshot's files lead to blobs."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in ("model.safetensors", "config.json"):
        (snapshot / name).symlink_to(folder / name)
    made = weights_in(snapshot, "bf16")
    assert not any(file.is_symlink() for file in made.iterdir())
    assert (made / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_shards_stay_shards(folder, tensors):
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {
        "metadata": {"total_size": 1, "total_parameters": 5},
        "weight_map": {name: file for file, held in shards.items() for name in held},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    made = weights_in(folder, "bf16")
    assert sorted(file.name for file in made.glob("*.safetensors")) == sorted(shards)
    for file, held in shards.items():
        assert load_file(made / file).keys() == set(held)
    told = json.loads((made / "model.safetensors.index.json").read_text())
    total = sum(
        tensor.numel() * (2 if tensor.is_floating_point() else tensor.element_size()) for tensor in tensors.values()
    )
    assert told == {"metadata": {"total_size": total, "total_parameters": 5}, "weight_map": index["weight_map"]}


def test_a_failure_in_the_middle_leaves_nothing(folder, weights, monkeypatch):
    writes = []
    write_all = converted.write_all

    def fail(descriptor, data):
        writes.append(len(data))
        if len(writes) == 4:
            raise OSError(28, "No space left on device")
        write_all(descriptor, data)

    monkeypatch.setattr(converted, "write_all", fail)
    with pytest.raises(OSError, match="No space left"):
        weights_in(folder, "bf16")
    assert list(weights.iterdir()) == []


@pytest.mark.parametrize(("free_bytes", "most_bytes"), [(10**15, 40 * 10**9), (10**10, 5 * 10**9)])
def test_the_cache_is_bounded_once_a_model_is_made(folder, tmp_path, monkeypatch, free_bytes, most_bytes):
    bounds = []
    usage = shutil.disk_usage(tmp_path)._replace(free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    monkeypatch.setattr(converted, "bound_cache", lambda most_bytes, keep: bounds.append((most_bytes, keep)))
    made = weights_in(folder, "bf16")
    assert weights_in(folder, "bf16") == made
    assert bounds == [(most_bytes, made)]


def test_of_a_full_disk_the_cache_takes_one_model(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=20)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    weights_in(folder, "bf16")
    second = weights_in(folder, "fp32")
    assert [model.path for model in cached_models()] == [second]


def test_without_safetensors_it_is_said_what_to_do(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"small has no safetensors weights; save it again in them"):
        weights_in(folder, "bf16")


def test_weights_in_codes_are_refused(folder, weights):
    save_file({"codes": torch.zeros(4).to(torch.float8_e4m3fn), "a": torch.zeros(4)}, folder / "model.safetensors")
    assert stored_dtypes(folder) == {"F8_E4M3", "F32"}
    with pytest.raises(UserError, match=r"small has weights in F8_E4M3, which cannot be converted; give its bfloat16"):
        weights_in(folder, "bf16")
    assert not weights.exists()


def test_transformers_reads_what_was_made(tiny_decoder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = find_model(str(weights_in(tiny_decoder, "bf16"))).folder
    kept = AutoModelForCausalLM.from_pretrained(tiny_decoder, dtype=torch.bfloat16).state_dict()
    got = AutoModelForCausalLM.from_pretrained(made, dtype=torch.bfloat16).state_dict()
    assert got.keys() == kept.keys()
    assert all(torch.equal(got[name], kept[name]) for name in kept)
    assert AutoTokenizer.from_pretrained(made)("red bird") == AutoTokenizer.from_pretrained(tiny_decoder)("red bird")
