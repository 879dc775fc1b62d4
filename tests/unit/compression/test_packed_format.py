"""The weight file: what is saved is what was evaluated, here and in plain transformers, and a damaged one is refused."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from proxtune.compression.architecture import Structure, file_bytes
from proxtune.compression.packed_format import CodedLinear, PackedEmbedding, is_packed, load_packed, write_packed
from proxtune.compression.shrink import shapes_of
from proxtune.compression.size_constraint import SizeConstraint
from proxtune.config.plan import Plan
from proxtune.errors import UserError
from proxtune.models.introspection import head_of
from support.trainings import prepared_model

PLAN = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 2.0, 6, 0)
IDS = torch.arange(10, 40).reshape(3, 10)


FOUR = (4, 32, 58_000)


@pytest.fixture(params=[FOUR, (3, 0, 50_000), (6, 32, 76_000), (16, 32, 200_000)], ids=lambda param: f"{param[0]} bits")
def packed(request, tiny_model, tmp_path):
    """A folder and the logits of the model that was written into it."""
    bits, group, size = request.param
    model = prepared_model(tiny_model, PLAN).eval()
    structure = Structure(size, bits, group, 1000, 3)
    constraint = SizeConstraint(model, head_of(model)[0], structure, tmp_path)
    constraint.project()
    write_packed(tmp_path / "model", constraint.saved(), model.config, structure)
    assert (tmp_path / "model" / "model.safetensors").stat().st_size <= size
    names = load_file(tmp_path / "model" / "model.safetensors")
    assert any(name.endswith("weight_packed") for name in names) == (bits < 16)
    with torch.no_grad():
        return tmp_path / "model", model(input_ids=IDS).logits


def test_what_is_loaded_here_says_the_same(packed):
    folder, logits = packed
    if not is_packed(folder):
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    else:
        model = load_packed(folder, "eager")
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, logits)


@pytest.mark.parametrize("source", ["tiny_model", "tiny_decoder"])
def test_token_embeddings_stay_packed_and_give_the_same_rows(source, request, tmp_path):
    model = prepared_model(request.getfixturevalue(source), PLAN).eval()
    structure = Structure(0, 4, 32, model.config.vocab_size, model.config.num_hidden_layers)
    structure = replace(structure, size_bytes=file_bytes(shapes_of(model.config), structure))
    constraint = SizeConstraint(model, head_of(model)[0], structure, tmp_path)
    constraint.project()
    write_packed(tmp_path / "model", constraint.saved(), model.config, structure)
    loaded = load_packed(tmp_path / "model", "eager")
    table = loaded.get_input_embeddings()
    assert isinstance(table, PackedEmbedding)
    assert any(isinstance(layer, CodedLinear) for layer in loaded.modules())
    assert (
        sum(part.numel() * part.element_size() for part in table.buffers())
        < model.get_input_embeddings().weight.numel()
    )
    assert torch.equal(table(IDS), model.get_input_embeddings()(IDS))
    with torch.no_grad():
        # One pass keeps a cache and one does not: on some processors the last bit differs.
        torch.testing.assert_close(loaded(input_ids=IDS).logits, model(input_ids=IDS).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("bert.pooler.dense.bias"), "lacks the weights bert.pooler.dense.bias"),
        (lambda tensors: tensors.update(other=torch.zeros(2)), "does not have: other"),
        (lambda tensors: tensors.update({"bert.pooler.dense.bias": torch.zeros(5)}), "wrong shape"),
    ],
)
@pytest.mark.parametrize("packed", [FOUR], indirect=True)
def test_weights_that_its_model_has_not_are_refused(packed, change, words):
    path = packed[0] / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(UserError, match=words):
        load_packed(packed[0], "eager")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("compressed_tensors") is None, reason="compressed-tensors is not installed"
)
def test_plain_transformers_says_the_same_and_so_does_what_it_saves_again(packed, tmp_path):
    folder, logits = packed
    script = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification
for folder, again in (sys.argv[1:3], (sys.argv[2], None)):
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        print(json.dumps(model(input_ids=torch.arange(10, 40).reshape(3, 10)).logits.tolist()))
    if again:
        model.save_pretrained(again)
assert not any(name.startswith("proxtune") for name in sys.modules)
"""
    command = [sys.executable, "-c", script, str(folder), str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        torch.testing.assert_close(torch.tensor(json.loads(line)), logits, rtol=1e-6, atol=1e-6)


def harm_config(folder, change):
    path = folder / "config.json"
    told = json.loads(path.read_text())
    change(told["quantization_config"])
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("config_groups"),
        lambda told: told.update(format="other"),
        lambda told: told["config_groups"]["group_0"]["weights"].update(num_bits=64),
        lambda told: told["config_groups"]["group_0"]["weights"].update(group_size=-4),
        lambda told: told["config_groups"]["group_0"]["weights"].update(num_bits="x"),
    ],
)
@pytest.mark.parametrize("packed", [FOUR], indirect=True)
def test_codes_of_an_unknown_kind_are_refused(packed, change):
    harm_config(packed[0], change)
    with pytest.raises(UserError, match="unknown kind"):
        load_packed(packed[0], "eager")


@pytest.mark.parametrize("shape", [[10**9, 10**9], [-1, 4], [4], [32, 64]])
@pytest.mark.parametrize("packed", [FOUR], indirect=True)
def test_a_shape_that_codes_do_not_have_is_refused_before_memory_is_taken(packed, shape):
    path = packed[0] / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("weight_shape"))
    tensors[name] = torch.tensor(shape)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(UserError, match="wrong shape"):
        load_packed(packed[0], "eager")
