"""The whole way, by the command line: a run and its folder, and what can be done with it afterwards."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxtune.storage.journal import read_records as records_of
from support.commands import assert_refused, proxtune_in_a_process

CONTRACT = {
    "status", "task", "model", "method", "plan", "budget", "predicted", "measured", "artifact_bytes", "metrics",
    "steps", "examples_seen", "step_downs", "seed", "versions",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, wide_model, tiny_reviews) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run of the tiny model on the tiny csv."""
    folder = tmp_path_factory.mktemp("runs") / "reviews"
    done = proxtune_in_a_process(
        "train", str(tiny_reviews), "--model", str(wide_model), "--out", str(folder), "--memory", "3GB",
        "--time", "5min", "--method", "full", "--epochs", "2", "--seed", "3", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_a_run_leaves_what_the_contract_says(finished):
    folder, done = finished
    result = json.loads((folder / "result.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == result
    assert result.keys() >= CONTRACT
    assert (result["status"], result["method"], result["seed"]) == ("done", "full", 3)
    assert result["steps"] == result["plan"]["steps"] > 0
    assert result["examples_seen"] == 2 * result["data"]["train_rows"]
    for figures in (result["predicted"], result["measured"]):
        assert set(figures["memory_bytes"]) >= {"load", "prepare", "train", "evaluate", "save"}
        assert 0 < max(figures["memory_bytes"].values()) <= 3_000_000_000
        assert 0 < figures["seconds"] <= 300
    assert 0 <= result["metrics"]["accuracy"] <= 1
    for name in ("recipe.toml", "plan.json", "metrics.jsonl", "report.html", "model/README.md"):
        assert (folder / name).is_file(), name
    assert result["artifact_bytes"] == sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
    assert not [file.name for file in folder.rglob("*.part")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_nno_begins_with_what_is_known_and_never_ends_worse(tmp_path, wide_model, wide_decoder, tiny_reviews, kind):
    folder, model = tmp_path / "run", wide_model if kind == "encoder" else wide_decoder
    done = proxtune_in_a_process(
        "train", str(tiny_reviews), "--out", str(folder), "--model", str(model), "--method", "nno", "--memory", "3GB",
        "--batch", "32", "--epochs", "0.5", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["method"]) == ("done", "nno")
    assert result["steps"] == result["plan"]["steps"] > 1
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validated = [record for record in records if record["kind"] == "validation"]
    assert validated[0]["step"] == 0
    assert result["metrics"]["accuracy"] == max(record["accuracy"] for record in validated)
    journal = [data for _, data in records_of(folder / "journal.bin")]
    assert sum(data.startswith(b"s") for data in journal) == result["steps"]
    assert not list(folder.glob("*.npz"))
    assert [place.name for place in (folder / "snapshots").iterdir()] == ["best.safetensors"]
    told = proxtune_in_a_process("predict", str(folder), "a fine film")
    assert told.returncode == 0, told.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "probe", "nno"])
def test_a_model_of_a_size_takes_no_more_bytes_and_predicts(tmp_path, wide_model, tiny_reviews, method):
    folder = tmp_path / "run"
    done = proxtune_in_a_process(
        "train", str(tiny_reviews), "--out", str(folder), "--model", str(wide_model), "--method", method, "--memory", "3GB",
        "--size", "100KB", "--epochs", "1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["artifact_bytes"] == (folder / "model" / "model.safetensors").stat().st_size <= 100_000
    assert result["size"]["size_bytes"] == 100_000
    assert sum(weight["bytes"] for weight in result["size"]["weights"].values()) <= 100_000
    assert not (folder / "start").exists()
    assert not (folder / "held.safetensors").exists()
    assert "The limit was 100 kB" in (folder / "report.html").read_text()
    scores = proxtune_in_a_process("evaluate", str(folder), str(tiny_reviews), "--json")
    assert scores.returncode == 0, scores.stderr


@pytest.mark.slow
def test_what_a_size_would_cost_is_planned(tmp_path, wide_model, tiny_reviews):
    """Words are left out for it, by a parallel kernel; and then children find out what plans take."""
    done = proxtune_in_a_process(
        "plan", str(tiny_reviews), "--model", str(wide_model), "--size", "100KB", "--memory", "2GB", "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == "planned"
    rows = {row["plan"]["method"]: row for row in found["table"]}
    assert {"full", "nno", "probe"} <= rows.keys()
    words, width = 1000, 64
    assert rows["full"]["plan"]["trainable"] < words * width + 3 * 12 * width**2


@pytest.mark.slow
def test_a_size_that_no_model_has_is_refused_with_the_least(tmp_path, wide_model, tiny_reviews):
    done = proxtune_in_a_process(
        "train",
        str(tiny_reviews),
        "--out",
        str(tmp_path / "run"),
        "--model",
        str(wide_model),
        "--size",
        "1KB",
        "--json",
    )
    assert done.returncode == 2, done.stderr
    assert "the smallest that could work with this model is --size" in done.stderr


@pytest.mark.slow
def test_plain_transformers_predicts_what_predict_does(finished, tiny_texts):
    folder, _ = finished
    texts = tiny_texts[:5]
    script = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
with torch.no_grad():
    chances = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1)
labels = [model.config.id2label[i] for i in chances.argmax(-1).tolist()]
print(json.dumps([labels, chances.tolist(), any(name.startswith("proxtune") for name in sys.modules)]))
"""
    command = [sys.executable, "-c", script, str(folder / "model"), json.dumps(texts)]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert plain.returncode == 0, plain.stderr
    labels, chances, has_proxtune = json.loads(plain.stdout.splitlines()[-1])
    assert not has_proxtune

    done = proxtune_in_a_process("predict", str(folder), *texts, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["predictions"]
    assert [row["text"] for row in found] == texts
    assert [row["label"] for row in found] == labels
    for row, chance in zip(found, chances, strict=True):
        assert row["probabilities"] == pytest.approx(chance, abs=1e-4)


@pytest.mark.slow
def test_evaluate_adds_its_figures_to_the_result(finished, tiny_reviews):
    folder, _ = finished
    done = proxtune_in_a_process("evaluate", str(folder), str(tiny_reviews), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == 200
    assert 0 <= found["metrics"]["accuracy"] <= 1
    assert {"majority", "tfidf"} <= found["baselines"].keys()
    kept = json.loads((folder / "result.json").read_text())["evaluations"]
    assert kept[tiny_reviews.name] == found


@pytest.mark.slow
def test_evaluate_does_without_baselines_when_the_rows_they_learn_from_are_gone(finished, tiny_reviews, tmp_path):
    folder, _ = finished
    moved = tmp_path / "run"
    shutil.copytree(folder, moved)
    recipe = (moved / "recipe.toml").read_text(encoding="utf-8")
    (moved / "recipe.toml").write_text(
        "".join(
            f'data = "{tmp_path / "gone.csv"}"\n' if line.startswith("data = ") else line
            for line in recipe.splitlines(keepends=True)
        ),
        encoding="utf-8",
    )
    # a folder is evaluated by its own test split, not by the rows that are there to train on
    (tmp_path / "data").mkdir()
    rows = tiny_reviews.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "data" / "train.csv").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "data" / "test.csv").write_text("".join(rows[:31]), encoding="utf-8")
    done = proxtune_in_a_process("evaluate", str(moved), str(tmp_path / "data"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == 30
    assert found["baselines"] == {}
    assert "gone.csv" in found["note"]


@pytest.mark.slow
def test_evaluate_refuses_a_label_that_training_never_showed(finished, tiny_texts, tmp_path):
    folder, _ = finished
    place = tmp_path / "odd.csv"
    with place.open("w", encoding="utf-8", newline="") as file:
        rows = [[tiny_texts[0], "positive"], [tiny_texts[1], "lukewarm"]]
        csv.writer(file).writerows([["text", "label"], *rows])
    before = (folder / "result.json").read_bytes()
    done = proxtune_in_a_process("evaluate", str(folder), str(place))
    assert_refused(done.returncode, done.stderr, "odd.csv line 3", "lukewarm")
    assert (folder / "result.json").read_bytes() == before
