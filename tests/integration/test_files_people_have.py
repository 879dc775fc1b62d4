"""Files as people have them, by the command line: pairs of texts, blank rows, other columns and spellings in other files."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from support.commands import assert_refused, proxtune_in_a_process

pytestmark = pytest.mark.slow


def write_rows(path: Path, header: list[str], rows: list[tuple[str, ...]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture(scope="module")
def pair_model(tmp_path_factory, tiny_model) -> Path:
    """The tiny model with a tokenizer that has a form for pairs, as BERT's own."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "pairs"
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, model_input_names=names)
    marks = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=marks
    )
    AutoModel.from_pretrained(tiny_model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def judged_pairs(texts: list[str]) -> list[tuple[str, ...]]:
    draw = random.Random(0)
    rows = [(text, text if place % 2 else draw.choice(texts)) for place, text in enumerate(texts)]
    return [(first, second, "same" if first == second else "other") for first, second in rows]


@pytest.mark.parametrize("method", ["full", "probe"])
def test_pairs_are_learned_and_predicted_as_plain_transformers_does(tmp_path, pair_model, tiny_texts, method):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = judged_pairs([text[:120] for text in tiny_texts[:80]])
    data = write_rows(tmp_path / "nli.csv", ["premise", "hypothesis", "label"], rows)
    folder = tmp_path / "run"
    done = proxtune_in_a_process(
        "train", data, "--model", str(pair_model), "--method", method, "--epochs", "1", "--memory", "3GB", "--out",
        str(folder), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["data"]["text_columns"] == ["premise", "hypothesis"]
    new = write_rows(tmp_path / "new.csv", ["id", "hypothesis", "premise"], [("1", b, a) for a, b, _ in rows[:12]])
    told = proxtune_in_a_process("predict", str(folder), "--file", new, "--json")
    assert told.returncode == 0, told.stderr
    assert "text from columns 'premise' and 'hypothesis', as the run learned it" in told.stderr
    said = json.loads(told.stdout)["predictions"]

    model = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    inputs = tokenizer([row[0] for row in rows[:12]], [row[1] for row in rows[:12]], return_tensors="pt", padding=True)
    with torch.no_grad():
        chances = model(**inputs).logits.softmax(-1)
    assert "token_type_ids" in inputs
    assert [row["label"] for row in said] == [model.config.id2label[int(row.argmax())] for row in chances]
    for row, own in zip(said, chances.tolist(), strict=True):
        assert row["probabilities"] == pytest.approx(own, abs=2e-3)

    typed = proxtune_in_a_process("predict", str(folder), "one text alone")
    assert_refused(
        typed.returncode, typed.stderr, "is one text, and the run learned from pairs: write 'premise ||| hypothesis'"
    )


def test_new_rows_of_another_form(tmp_path, tiny_model, tiny_reviews):
    with tiny_reviews.open(encoding="utf-8") as file:
        reviews = [(row["label"], row["text"]) for row in csv.DictReader(file)]
    rows = [
        ("Positive " if label == "positive" and place % 5 == 0 else label, text)
        for place, (label, text) in enumerate(reviews)
    ]
    data = write_rows(tmp_path / "sms.csv", ["v1", "v2", "", ""], [(*row, "", "") for row in rows])
    folder = tmp_path / "run"
    done = proxtune_in_a_process(
        "train", data, "--model", str(tiny_model), "--method", "probe", "--out", str(folder), "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["data"]["labels"] == ["negative", "positive"]
    assert any("are one: 'Positive' (" in note for note in result["data"]["notes"])

    new = write_rows(
        tmp_path / "new.csv",
        ["v2", "notes"],
        [(reviews[0][1], "a longer remark " * 9), (" ", "x"), (reviews[1][1], "y")],
    )
    told = proxtune_in_a_process("predict", str(folder), "--file", new)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert [bool(line.split("\t")[0]) for line in lines] == [True, False, True]
    assert "text from column 'v2', as the run learned it" in told.stderr
    assert "1 of 3 rows have no text (line 3): their answers are left empty" in told.stderr

    texts = [reviews[0][1], *(text for _, text in reviews[1:4])]
    alone = tmp_path / "alone.csv"
    alone.write_text("".join(json.dumps(text.replace('"', "'")) + "\n" for text in texts), encoding="utf-8")
    told = proxtune_in_a_process("predict", str(folder), "--file", str(alone))
    assert told.returncode == 0, told.stderr
    assert [line.split("\t")[2][:20] for line in told.stdout.splitlines()] == [
        " ".join(text.replace('"', "'").split())[:20] for text in texts
    ]
    assert "names no column of texts, so it is a text; if it is a header, write 'v2' there" in told.stderr
    packed = tmp_path / "packed.csv"
    packed.write_bytes(gzip.compress(alone.read_bytes()))
    refused = proxtune_in_a_process("predict", str(folder), "--file", str(packed))
    assert_refused(refused.returncode, refused.stderr, "packed.csv: it is compressed with gzip; unpack it with `gunzip")

    scored = write_rows(
        tmp_path / "judge.csv", ["v2", "notes", "v1"], [(t, "x" * 99, label.upper()) for label, t in reviews[:40]]
    )
    evaluated = proxtune_in_a_process("evaluate", str(folder), scored, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(evaluated.stdout.splitlines()[-1])
    assert (found["rows"], found["labels"]) == (40, ["negative", "positive"])
    assert "tfidf" in found["baselines"]
    other = write_rows(tmp_path / "other.csv", ["text", "notes"], [("a", "b")])
    refused = proxtune_in_a_process("predict", str(folder), "--file", other)
    assert_refused(refused.returncode, refused.stderr, "no column 'v2', which the run learned from")
