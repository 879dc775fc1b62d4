"""Where a model is: a word becomes a safe model folder, or a sentence that says why not."""

import json
import shutil
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.models.source import count_parameters, find_model, weight_bytes, weight_files


def refusal(name) -> str:
    with pytest.raises(UserError) as caught:
        find_model(str(name))
    words = str(caught.value)
    assert "\n" not in words
    return words


def test_a_model_folder_is_found(tiny_folder):
    source = find_model(str(tiny_folder))
    assert source.folder == tiny_folder.resolve()
    assert source.name == source.origin == str(tiny_folder)


@pytest.mark.parametrize("name", ["./none", "/none/at/all", "~/none", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused(name):
    assert "not a folder" in refusal(name)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    assert "not a folder" in refusal(tmp_path / "model.bin")


def test_a_folder_without_a_config_is_refused(tmp_path):
    assert "no config.json" in refusal(tmp_path)


def test_pickled_weights_are_never_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert "pickled weights are never loaded" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tf_model.h5", "are for TensorFlow"),
        ("flax_model.msgpack", "are for Flax"),
        ("onnx/model.onnx", "are for ONNX"),
        ("openvino_model.xml", "are for OpenVINO"),
        ("model-q4_k_m.gguf", "are for llama.cpp (GGUF)"),
        ("tokenizer.json", "has no weights that can be read"),
    ],
)
def test_weights_of_other_frameworks_are_called_what_they_are(tmp_path, file, words):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"{}")
    assert words in refusal(tmp_path)


@pytest.mark.parametrize(
    ("config", "words"),
    [(b"{", "unreadable"), (b"\xff\xfe{}", "unreadable"), (b"[]", "not a JSON object"), (b"{}", "no model_type")],
)
def test_a_config_that_says_nothing_is_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert words in refusal(tmp_path)


@pytest.mark.parametrize("name", ["nobody", "nobody/nothing-at-all"])
def test_an_unknown_name_is_refused_when_the_hub_is_out_of_reach(name, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    words = refusal(name)
    assert name in words
    assert "minilm" in words


def test_parameters_are_counted_from_the_files_headers(tiny_model):
    from safetensors.numpy import load_file

    numbers = sum(tensor.size for tensor in load_file(str(tiny_model / "model.safetensors")).values())
    assert count_parameters(tiny_model) == numbers > 0


QUANTIZED = {
    "bnb": ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes", "made from"),
    "old-bnb": ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes, 8-bit", "made from"),
    "gptq": ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq", "made from"),
    "awq": ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "awq", "made from"),
    "fp8": ({"quantization_config": {"quant_method": "fp8"}}, "fp8", "FineGrainedFP8Config(dequantize=True)"),
    "mxfp4": ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4", "Mxfp4Config(dequantize=True)"),
    "ct": (
        {"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors",
        "CompressedTensorsConfig(dequantize=True)",
    ),
    "mlx": ({"quantization": {"group_size": 64, "bits": 4}}, "4-bit", "made from"),
    "inner": ({"text_config": {"quantization_config": {"quant_method": "fbgemm_fp8"}}}, "fbgemm_fp8", "made from"),
}  # fmt: skip


@pytest.mark.parametrize(("more", "how", "advice"), QUANTIZED.values(), ids=QUANTIZED)
def test_quantized_weights_are_refused_from_the_config_alone(tmp_path, more, how, advice):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **more}))
    words = refusal(tmp_path)
    assert f"is quantized ({how})" in words
    assert advice in words


def test_the_advice_on_dequantizing_names_classes_that_transformers_has():
    import inspect

    import transformers

    for name in ("Mxfp4Config", "FineGrainedFP8Config", "CompressedTensorsConfig"):
        assert "dequantize" in inspect.signature(getattr(transformers, name)).parameters


@pytest.mark.parametrize("file", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_weights_that_a_file_beside_them_calls_quantized_are_refused(tiny_model, tmp_path, file):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / file).write_text('{"bits": 4}')
    assert f"is quantized ({file})" in refusal(folder)


@pytest.mark.parametrize("nothing", [{}, None])
def test_a_config_that_names_no_quantization_is_taken(tiny_model, tmp_path, nothing):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": nothing}
    (folder / "config.json").write_text(json.dumps(config))
    assert find_model(str(folder)).folder == folder


def test_an_adapter_is_called_one(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert "is an adapter" in refusal(tmp_path)


def test_copies_of_the_weights_do_not_count(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("consolidated.safetensors", "model.fp16.safetensors", "model-00001-of-00001.safetensors"):
        shutil.copy(folder / "model.safetensors", folder / name)
    assert find_model(str(folder)).folder == folder
    assert weight_files(folder) == [folder / "model.safetensors"]
    assert (weight_bytes(folder), count_parameters(folder)) == (weight_bytes(tiny_model), count_parameters(tiny_model))


def test_shards_count_each_once(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    shutil.copy(folder / "model-00001-of-00001.safetensors", folder / "consolidated.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors", "b": "model-00001-of-00001.safetensors"}})
    )
    assert find_model(str(folder)).folder == folder
    assert count_parameters(folder) == count_parameters(tiny_model)


@pytest.mark.parametrize("name", ["consolidated.safetensors", "model.fp16.safetensors"])
def test_weights_that_transformers_does_not_look_for_are_refused(tiny_model, tmp_path, name):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / name)
    assert f"does not look for ({name})" in refusal(folder)


ON_THE_HUB = {
    "as transformers 5 saves it": (
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"], [],
    ),
    "Marian": (["config.json", "model.safetensors", "source.spm", "target.spm", "vocab.json"], ["pytorch_model.bin"]),
    "PhoBERT": (["config.json", "model.safetensors", "vocab.txt", "bpe.codes"], ["README.md"]),
    "tiktoken": (["config.json", "model.safetensors", "qwen.tiktoken"], ["tokenization_qwen.py"]),
    "GPT-2": (["config.json", "model.safetensors", "vocab.json", "merges.txt"], ["tf_model.h5", "rust_model.ot"]),
    "T5": (["config.json", "model.safetensors", "spiece.model"], ["flax_model.msgpack"]),
    "Mistral": (
        ["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json", "tekken.json"],
        ["consolidated.safetensors", "params.json"],
    ),
    "Llama": (["config.json", "model.safetensors"], ["original/consolidated.00.pth", "original/tokenizer.model"]),
    "Qwen 3.5": (["model.safetensors-00001-of-00002.safetensors", "model.safetensors.index.json"], []),
    "variants": (["config.json", "model.safetensors"], ["model.fp16.safetensors", "onnx/config.json", "unet/a.safetensors"]),
    "both": (["model.safetensors"], ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "left"), ON_THE_HUB.values(), ids=ON_THE_HUB)
def test_of_a_hub_id_all_that_a_tokenizer_reads_is_fetched_and_no_weights_twice(
    tiny_model, tmp_path, monkeypatch, wanted, left
):
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    asked = {}

    def snapshot(hub_id, **patterns):
        asked.update(patterns)
        return str(tiny_model)

    def out_of_reach(*args, **more):
        raise OSError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", out_of_reach)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, hub_id: [*wanted, *left])
    find_model("me/tiny")
    assert set(filter_repo_objects([*wanted, *left], **asked)) == set(wanted)


def test_a_quantized_model_is_refused_before_its_weights_are_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **QUANTIZED["gptq"][0]}))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda hub_id, file: str(tmp_path / file))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **more: pytest.fail("weights were fetched"))
    assert "is quantized (gptq)" in refusal("me/tiny")


def test_a_chat_template_that_leads_out_of_the_folder_is_not_opened(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    Path(tmp_path / "secret").write_text("secret")
    (folder / "chat_template.jinja").symlink_to(tmp_path / "secret")
    assert "leads out of its folder" in refusal(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_called_one(tiny_model, tmp_path, file):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert f"{file} is a pointer of Git LFS, not the file; run git lfs pull in {folder}" in refusal(folder)


@pytest.mark.parametrize(("dtype", "name"), [("int8", "I8"), ("float8_e4m3fn", "F8_E4M3")])
def test_weights_in_codes_are_refused_though_no_config_names_them(tiny_model, tmp_path, dtype, name):
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if key.endswith("query.weight"))
    weights[key] = weights[key].to(getattr(torch, dtype))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert f"{key} in {name}, and quantized weights cannot be trained" in refusal(folder)


def test_a_folder_of_checkpoints_names_the_last_of_them(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "checkpoint-10")
    assert "give the model folder within it: checkpoint-10" in refusal(tmp_path)


def test_gguf_is_called_by_its_name(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "its weights are in GGUF, which cannot be trained" in refusal(tmp_path)
    assert "is a GGUF file, which cannot be trained" in refusal(tmp_path / "model.gguf")
