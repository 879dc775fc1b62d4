"""The whole way of text generation, by the command line: a run and its folder, what is done with it, and how it is stopped."""

import json
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from support.commands import assert_refused, proxtune_in_a_process, proxtune_under_way, said_by
from support.run_folders import assert_same_training

pytestmark = pytest.mark.slow

CHAT = ("--method", "full", "--dtype", "fp32", "--micro-batch", "16", "--batch", "16", "--epochs", "14",
        "--learning-rate", "0.01", "--seed", "3")  # fmt: skip
T5 = ("--method", "lora", "--keep-adapter", "--dtype", "fp32", "--micro-batch", "16", "--batch", "16", "--epochs", "20",
      "--learning-rate", "0.01", "--memory", "3GB", "--time", "5min", "--task", "translate")  # fmt: skip
ASKED = ["old house", "red green blue", "stone bird tree fish"]


def trained(data: Path, model: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return proxtune_in_a_process("train", str(data), "--model", str(model), "--out", str(folder), *words, "--json")


@pytest.fixture(scope="module")
def chat(tmp_path_factory, wide_chat, tiny_pairs) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run of the tiny decoder, no task named and no budget."""
    folder = tmp_path_factory.mktemp("runs") / "chat"
    done = trained(tiny_pairs, wide_chat, folder, *CHAT)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def t5(tmp_path_factory, wide_t5, tiny_pairs) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run of the tiny encoder-decoder, within a budget."""
    folder = tmp_path_factory.mktemp("runs") / "t5"
    done = trained(tiny_pairs, wide_t5, folder, *T5)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(params=["chat", "t5"])
def finished(request) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Each of them in turn."""
    return request.getfixturevalue(request.param)


@cache
def answers_of(folder: Path, *words: str) -> list[dict]:
    """What `predict` says; asked once for all tests."""
    done = proxtune_in_a_process("predict", str(folder), *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["predictions"]


def test_a_run_learns_and_leaves_what_the_contract_says(finished):
    folder, done = finished
    result = json.loads((folder / "result.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == result
    assert (result["status"], result["task"], result["main_metric"]) == ("done", "translate", "chrf")
    assert "confusion" not in result
    assert result["metrics"].keys() == {"loss", "perplexity", "bleu", "chrf"}
    assert result["baselines"].keys() == {"untouched", "copy_source"}
    assert result["metrics"]["loss"] < result["baselines"]["untouched"]["loss"] - 0.7
    assert result["metrics"]["chrf"] > result["baselines"]["untouched"]["chrf"]
    assert result["judged_answers"] == result["data"]["validation_rows"] == 20
    assert result["data"]["asked_as"] == ("source" if "t5" in folder.name else "messages")
    for row in [*result["samples"], *result["worst"]]:
        assert row.keys() == {"line", "asked", "reference", "before", "after", "score"}
        assert row["asked"].split() == row["reference"].split()[::-1]
    assert result["worst"][0]["score"] == min(row["score"] for row in result["samples"])
    for figures in (result["predicted"], result["measured"]):
        assert set(figures["memory_bytes"]) >= {"load", "prepare", "train", "evaluate", "save"}
        assert 0 < max(figures["memory_bytes"].values()) <= 3_000_000_000
    assert result["artifact_bytes"] == sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
    assert not [file.name for file in folder.rglob("*.part")]


def test_the_report_and_the_card_speak_of_answers(finished):
    folder, _ = finished
    page = (folder / "report.html").read_text()
    for words in ("chrF", "the base model", "the source as it is", 'id="answers"', 'id="worst"', "Translate"):
        assert words.lower() in page.lower()
    for words in ("accuracy", "Confusion matrix", "TF-IDF"):
        assert words not in page
    assert "pipeline_tag: " in (folder / "model" / "README.md").read_text()


def test_the_task_is_guessed_and_said_and_what_is_said_reads_well(chat):
    _, done = chat
    assert "assuming --task translate: columns 'source' and 'target'" in done.stderr
    assert "scoring the base model" in done.stderr
    assert re.search(r"The model answers with chrF \d+\.\d on the validation rows \(the base model", done.stderr)
    assert "accuracy" not in done.stderr


def test_the_code_of_the_card_answers_as_predict_does_without_proxtune(finished):
    folder, _ = finished
    code = (folder / "model" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/this/folder", str(folder / "model")).replace(
        "text = 'Good morning.'", "text = ASKED.pop(0)"
    )
    script = f"import sys\nASKED = {ASKED!r}\n" + code * len(ASKED) + (
        "assert not ASKED and not any(name.startswith('proxtune') for name in sys.modules)\n"
    )  # fmt: skip
    plain = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert plain.returncode == 0, plain.stderr
    found = answers_of(folder, *ASKED)
    assert [row["text"] for row in found] == ASKED
    assert [row["answer"] for row in found] == plain.stdout.splitlines()
    assert any(row["answer"] for row in found)


def test_a_single_answer_comes_in_pieces_that_are_the_answer(finished):
    from proxtune.pipeline.queries import predictions
    from proxtune.storage.events import AnswerPiece, Prediction

    folder, _ = finished
    heard = []
    [row] = predictions(folder, texts=ASKED[:1], listen=heard.append)
    assert [type(event) for event in heard[-2:]] == [AnswerPiece, Prediction]
    assert len(heard) - 1 >= len(row.answer.split()), "each word comes by itself"
    assert "".join(piece.text for piece in heard[:-1]) == row.answer
    done = proxtune_in_a_process("predict", str(folder), ASKED[0])
    assert done.stdout == row.answer + "\n"


def test_predict_reads_a_file_that_has_no_answers_and_prints_a_line_a_row(chat, tmp_path):
    folder, _ = chat
    (tmp_path / "new.csv").write_text("source\n" + "".join(f"{text}\n" for text in ASKED))
    done = proxtune_in_a_process("predict", str(folder), "--file", str(tmp_path / "new.csv"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [row["answer"] for row in answers_of(folder, *ASKED)]


def test_evaluate_has_the_base_model_and_the_baselines_beside(finished, tiny_pairs, tmp_path):
    folder, _ = finished
    (tmp_path / "test.jsonl").write_text("".join(tiny_pairs.read_text().splitlines(keepends=True)[:30]))
    done = proxtune_in_a_process("evaluate", str(folder), str(tmp_path / "test.jsonl"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == found["judged_answers"] == 30
    assert found["metrics"]["loss"] < found["baselines"]["untouched"]["loss"]
    assert set(found["baselines"]) == {"untouched", "copy_source"}
    assert json.loads((folder / "result.json").read_text())["evaluations"]["test.jsonl"] == found
    assert re.search(r"the base model +\d+\.\d", done.stderr)
    assert "test.jsonl, 30 rows" in (folder / "report.html").read_text()
    assert "| this model, test.jsonl |" in (folder / "model" / "README.md").read_text()


def test_the_adapter_alone_is_exported_and_peft_puts_it_on(t5, wide_t5, tmp_path):
    folder, _ = t5
    done = proxtune_in_a_process("export", str(folder), "--format", "adapter", "--out", str(tmp_path / "adapter"))
    assert done.returncode == 0, done.stderr
    script = """
import sys, torch, peft
from transformers import AutoModelForSeq2SeqLM
base, adapter, merged = sys.argv[1:]
one = peft.PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), adapter).merge_and_unload().state_dict()
other = AutoModelForSeq2SeqLM.from_pretrained(merged).state_dict()
print(max(float((one[name] - other[name]).abs().max()) for name in other))
"""
    command = [sys.executable, "-c", script, str(wide_t5), str(tmp_path / "adapter"), str(folder / "model")]
    compared = subprocess.run(command, capture_output=True, text=True)
    assert compared.returncode == 0, compared.stderr
    assert float(compared.stdout) < 0.02  # weights may have been held in bf16


def test_bad_rows_are_refused_with_their_lines_or_left_out_and_said(tmp_path, wide_chat, tiny_pairs):
    lines = tiny_pairs.read_text().splitlines(keepends=True)[:60]
    lines[4:4] = ['{"source": "red house", "target": ""}\n', '{"source": null, "target": "tree"}\n']
    (tmp_path / "odd.jsonl").write_text("".join(lines))
    words = ("--method", "lora", "--epochs", "2", "--memory", "3GB", "--task", "translate")
    refused = trained(tmp_path / "odd.jsonl", wide_chat, tmp_path / "run", *words)
    assert_refused(refused.returncode, refused.stderr, "2 of 62 rows", "line 5", "line 6", "--bad-rows skip")
    assert not (tmp_path / "run").exists()
    done = trained(tmp_path / "odd.jsonl", wide_chat, tmp_path / "run", *words, "--bad-rows", "skip")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["data"]["train_rows"] + result["data"]["validation_rows"] == 60
    assert result["metrics"]["loss"] < result["baselines"]["untouched"]["loss"]
    assert "left out 2 of 62 rows" in done.stderr
    assert "Left out 2 of 62 rows: line 5" in (tmp_path / "run" / "report.html").read_text()


def test_adapters_on_codes_learn_and_leave_an_ordinary_model(tmp_path, wide_chat, tiny_pairs):
    words = (
        "--method",
        "lora",
        "--base-dtype",
        "int4",
        "--epochs",
        "8",
        "--learning-rate",
        "0.02",
        "--dtype",
        "fp32",
    )
    done = trained(tiny_pairs, wide_chat, tmp_path / "run", *words, "--memory", "3GB")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert "on int4" in done.stderr
    assert result["metrics"]["loss"] < result["baselines"]["untouched"]["loss"] - 0.1
    assert max(result["measured"]["memory_bytes"].values()) < 3_000_000_000
    from transformers import AutoModelForCausalLM

    dense = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert not list(dense.buffers()) or all("codes" not in name for name, _ in dense.named_buffers())


def test_a_run_that_is_stopped_answers_and_goes_on_to_the_same_weights(tmp_path, chat, wide_chat, tiny_pairs):
    straight, folder = chat[0], tmp_path / "run"
    with proxtune_under_way(
        "train", str(tiny_pairs), "--model", str(wide_chat), "--out", str(folder), *CHAT
    ) as process:
        until = time.monotonic() + 600
        while '"step": 40,' not in (
            (folder / "metrics.jsonl").read_text() if (folder / "metrics.jsonl").exists() else ""
        ):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = said_by(process)
    assert process.returncode == 130, said
    assert "proxtune resume" in said
    stopped = json.loads((folder / "result.json").read_text())
    assert stopped["status"] == "interrupted"
    assert 40 <= stopped["steps"] < stopped["plan"]["steps"]
    assert len(stopped["samples"]) == 12
    assert "This run was interrupted" in (folder / "report.html").read_text()
    done = proxtune_in_a_process("resume", str(folder), "--exact", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["steps"]) == ("done", result["plan"]["steps"])
    assert "scoring the base model" not in done.stderr, "it was scored before"
    assert_same_training(straight, folder)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "nno"], ["--method nno", "auto, lora, layers, full"]),
        (["--method", "probe"], ["--method probe", "auto, lora, layers, full"]),
        (["--size", "60KB"], ["--size", "leave it out"]),
    ],
)
def test_what_is_not_there_for_texts_is_refused(tmp_path, wide_chat, tiny_pairs, words, told):
    done = trained(tiny_pairs, wide_chat, tmp_path / "run", *words)
    assert_refused(done.returncode, done.stderr, *told)
    assert list(tmp_path.iterdir()) == []
