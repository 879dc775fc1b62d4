"""`proxtune check`: a model and its data are opened and one row is passed; what cannot be trained is one sentence."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from proxtune.runtime.check import _with_slope
from support.commands import assert_refused, proxtune_in_a_process

pytestmark = pytest.mark.slow


def checked(*words: str):
    done = proxtune_in_a_process("check", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_classifier_and_its_row_are_shown(tiny_model, tiny_reviews):
    found, said = checked(str(tiny_model), str(tiny_reviews))
    assert (found["status"], found["task"]) == ("ok", "classify")
    assert found["model"]["architecture"] == "BertForSequenceClassification"
    assert found["model"]["head"] == "classifier"
    assert found["model"]["parameters"] > 10_000
    assert found["row"]["learned"] in ("negative", "positive")
    assert re.match(r"\[CLS\] .* \[SEP\]$", found["row"]["input"])
    assert re.fullmatch(r".*reviews.csv line \d+", found["row"]["name"])
    assert "ok: this model can be trained with --task classify" in said


def test_what_a_decoder_learns_stands_apart_from_what_it_reads(tiny_chat, tiny_pairs):
    found, said = checked(str(tiny_chat), str(tiny_pairs))
    assert (found["task"], found["tokenizer"]["chat_template"]) == ("translate", True)
    assert found["row"]["input"].rstrip().endswith("assistant")
    assert found["row"]["learned"].rstrip().endswith("</s>"), "where an answer ends is learned too"
    assert "⟦" in said


def test_an_encoder_decoder_has_its_answer_apart(tiny_t5, tiny_pairs):
    found, _ = checked(str(tiny_t5), str(tiny_pairs))
    assert found["model"]["architecture"] == "T5ForConditionalGeneration"
    assert "</s>" in found["row"]["learned"]
    assert found["row"]["learned"] not in found["row"]["input"]


def test_without_data_a_bundled_sample_is_used(tiny_model):
    found, _ = checked(str(tiny_model))
    assert found["task"] == "classify"
    assert found["data"]["labels"] == ["negative", "positive"]


def test_a_model_that_no_library_can_build_is_refused_in_a_sentence(tmp_path, tiny_model, tiny_reviews):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    for words in (("check", str(folder), str(tiny_reviews)), ("plan", str(tiny_reviews), "--model", str(folder))):
        done = proxtune_in_a_process(*words)
        assert_refused(done.returncode, done.stderr, "cannot train model", "the traceback is in")
        log = Path(done.stderr.strip().rsplit(" ", 1)[1])
        assert "Traceback (most recent call last)" in log.read_text()
        log.unlink()


def test_layers_that_the_files_lack_are_told(tmp_path, tiny_model, tiny_reviews):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = {name: weight for name, weight in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    found, said = checked(str(folder), str(tiny_reviews))
    note = "the files lack layers before the classification layer (bert.pooler.dense): they begin at random"
    assert found["data"]["notes"][-1] == note
    assert note in re.sub(r"\s+", " ", said)


def test_a_row_whose_loss_is_not_a_number_is_named(tmp_path, tiny_model, tiny_reviews):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    done = proxtune_in_a_process("check", str(folder), str(tiny_reviews))
    assert_refused(done.returncode, done.stderr, "reviews.csv line", "damaged")


class _WritesIntoIts(torch.nn.Module):
    """A body that writes into what its embedding gives, as CTRL does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(4, 2)

    def forward(self, ids):
        hidden = self.table(ids)
        hidden *= 2.0
        return hidden


def test_a_model_that_writes_into_its_embeddings_can_be_checked():
    model = _WritesIntoIts().requires_grad_(False)
    model.table.register_forward_hook(_with_slope)
    model(torch.tensor([[0, 1]])).sum().backward()
    assert _with_slope(None, None, ("no", "tensor")) == ("no", "tensor")
