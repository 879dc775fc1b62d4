"""A run whose frozen weights stay in their files: the model that comes out is that of a run that holds them, to the bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

from proxtune.memory.mapped_files import can_let_go
from support.commands import assert_refused, proxtune_in_a_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped"),
]
KNOBS = ("--task", "translate", "--method", "lora", "--rank", "4", "--dtype", "fp32", "--batch", "8", "--micro-batch", "8",
         "--epochs", "5", "--learning-rate", "0.01", "--no-checkpointing")  # fmt: skip


@pytest.fixture(scope="module")
def easy_pairs(tmp_path_factory, tiny_pairs):
    """Toy rows whose answer is always the same: adapters on random weights learn no more."""
    path = tmp_path_factory.mktemp("data") / "easy.jsonl"
    rows = [json.loads(line) for line in tiny_pairs.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(row | {"target": "old stone house"}) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, paged_chat, easy_pairs):
    """A streamed run and one that holds the weights, otherwise the same."""
    place = tmp_path_factory.mktemp("runs")
    for way in ("stream", "no-stream"):
        words = ("--model", str(paged_chat), "--out", str(place / way), *KNOBS, f"--{way}", "--json")
        done = proxtune_in_a_process("train", str(easy_pairs), *words)
        assert done.returncode == 0, done.stderr
    return place / "stream", place / "no-stream"


def result_of(run):
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def losses_of(run):
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record["loss"] for line in lines if (record := json.loads(line))["kind"] == "step"]


def test_losses_and_the_merged_model_are_the_same_to_the_bit(runs):
    streamed, held = runs
    assert (result_of(streamed)["plan"]["streamed"], result_of(held)["plan"]["streamed"]) == (True, False)
    assert "streamed" in result_of(streamed)["plan"]["name"]
    assert "lost_to_base" not in result_of(streamed), "else the weights are the base model's"
    assert losses_of(streamed) == losses_of(held)
    assert losses_of(streamed)[-1] < losses_of(streamed)[0] - 0.5
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in runs)
    assert {name: tensor.shape for name, tensor in ours.items()} == {name: each.shape for name, each in theirs.items()}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert result_of(streamed)["metrics"] == result_of(held)["metrics"]


def test_the_saved_folder_is_that_of_transformers_and_nothing_is_left_beside_it(runs):
    streamed, held = runs
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        assert (streamed / "model" / name).read_text() == (held / "model" / name).read_text(), name
    assert sorted(file.name for file in (streamed / "model").iterdir()) == sorted(
        file.name for file in (held / "model").iterdir()
    )
    assert not list(streamed.glob(".*"))


def test_what_a_streamed_run_is_asked_is_streamed_too_and_answered_alike(runs):
    said = []
    for run in runs:
        done = proxtune_in_a_process("predict", str(run), "old house", "red green blue", "--json")
        assert done.returncode == 0, done.stderr
        said.append([each["answer"] for each in json.loads(done.stdout.splitlines()[-1])["predictions"]])
    assert said == 2 * [["old stone house"] * 2]


def test_both_models_of_a_streamed_run_are_evaluated(runs, easy_pairs):
    done = proxtune_in_a_process("evaluate", str(runs[0]), str(easy_pairs), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["metrics"]["loss"] < found["baselines"]["untouched"]["loss"]


def test_weights_in_another_dtype_are_converted_once_and_kept(tmp_path, monkeypatch, paged_chat, tiny_pairs):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(paged_chat, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(paged_chat).save_pretrained(half)
    words = ("--model", str(half), "--out", str(tmp_path / "run"), *KNOBS, "--stream", "--json")
    done = proxtune_in_a_process("train", str(tiny_pairs), *words)
    assert done.returncode == 0, done.stderr
    read = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    (kept,) = (tmp_path / "cache" / "proxtune" / "weights").iterdir()
    assert {tensor.dtype for tensor in load_file(kept / "model.safetensors").values()} == {torch.float32}


def test_where_weights_cannot_be_streamed_a_sentence_says_so(tmp_path, tiny_reviews, paged_chat):
    words = ("--model", str(paged_chat), "--out", str(tmp_path / "run"), "--stream", "--task", "classify")
    done = proxtune_in_a_process("train", str(tiny_reviews), *words)
    assert_refused(done.returncode, done.stderr, "--stream", "generate text")
