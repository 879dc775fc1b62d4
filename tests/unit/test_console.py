"""What a person reads on stderr: lines and tables that are right for labels and for texts."""

import pytest

from proxtune.config.budget import Budget
from proxtune.console import ProgressDisplay, show_evaluation

TEXTS = {
    "rows": 250, "truncated_rows": 7, "main": "rougeL",
    "metrics": {"loss": 2.5019, "perplexity": 12.21, "rouge1": 0.3702, "rouge2": 0.1401, "rougeL": 0.3011},
    "baselines": {
        "untouched": {"loss": 3.2, "perplexity": 24.5, "rouge1": 0.2433, "rouge2": 0.0601, "rougeL": 0.1788},
        "first_sentence": {"rouge1": 0.2201, "rouge2": 0.0702, "rougeL": 0.1875},
    },
}  # fmt: skip


def test_an_evaluation_of_texts_is_a_table_in_points(capsys):
    show_evaluation(TEXTS, "rows[red].jsonl")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert lines == [
        "rows[red].jsonl: 250 rows",
        "ROUGE-L ROUGE-1 ROUGE-2 loss perplexity",
        "this model 30.1 37.0 14.0 2.502 12.2",
        "the untouched model 17.9 24.3 6.0 3.200 24.5",
        "the first sentence 18.8 22.0 7.0 – –",
        "7 texts were longer than the model takes and were cut",
    ]


def test_an_evaluation_of_labels_is_a_line_for_each(capsys):
    found = {"rows": 10, "metrics": {"accuracy": 0.9, "loss": 0.25}, "baselines": {"tfidf": {"accuracy": 0.8}}}
    show_evaluation(found, "a.csv")
    assert capsys.readouterr().err.splitlines() == [
        "a.csv: 10 rows, accuracy 0.9000, loss 0.2500",
        "  tfidf: accuracy 0.8000",
    ]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"kind": "data", "train_rows": 9, "validation_rows": 1, "labels": [], "notes": ["cut"]},
         "9 rows to learn from, 1 to judge by\n          cut"),
        ({"kind": "data", "train_rows": 9, "validation_rows": 1, "labels": ["a", "b"], "notes": []},
         "9 rows to learn from, 1 to judge by; labels: a, b"),
        ({"kind": "validation", "step": 5, "seconds": 1.0, "loss": 2.5, "perplexity": 12.18, "best": True},
         "step 5: loss 2.500, perplexity 12.2  best so far"),
        ({"kind": "validation", "step": 5, "seconds": 1.0, "loss": 0.5, "accuracy": 0.75, "best": False},
         "step 5: accuracy 0.750, loss 0.500"),
        ({"kind": "phase", "phase": "untouched", "seconds": 1.0}, "asking the untouched model"),
    ],
)  # fmt: skip
def test_a_record_is_told(capsys, record, words):
    with ProgressDisplay(Budget()) as progress:
        progress.on_event(record)
    assert words in capsys.readouterr().err
