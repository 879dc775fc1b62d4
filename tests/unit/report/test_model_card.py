"""The model card: read by hubs, usable by a stranger, and without the user's rows or folders."""

import json

import pytest

from proxtune.errors import UserError
from proxtune.report.model_card import write_model_card
from support.reports import LABELS, front_matter, result_with


def card_of(run_dir, **changes):
    result_with(run_dir, changes)
    path = write_model_card(run_dir, run_dir / "model")
    assert path == run_dir / "model" / "README.md"
    return path.read_text(encoding="utf-8")


def test_the_front_matter_is_what_a_hub_reads(run_dir):
    fields = front_matter(card_of(run_dir))
    assert fields["library_name"] == "transformers"
    assert fields["pipeline_tag"] == "text-classification"
    assert fields["tags"] == ["proxtune", "text-classification"]
    assert fields["base_model"] == "nreimers/MiniLM-L6-H384-uncased"
    found = fields["model-index"][0]["results"][0]["metrics"]
    assert {metric["name"]: metric["value"] for metric in found} == {"accuracy": 0.8612, "macro F1": 0.8611}


@pytest.mark.parametrize("source", ["/data/models/mine", "mine", "./a/b", "a/b/c", 'x/y"\n- z', None, 7])
def test_only_a_hub_id_is_a_base_model(run_dir, source):
    assert "base_model" not in front_matter(card_of(run_dir, model_source=source))


def test_the_card_has_use_results_budget_data_and_limits(run_dir):
    card = card_of(run_dir)
    for heading in ("## Use", "## Results", "## Budget", "## Data", "## Training", "## Limits"):
        assert f"\n{heading}\n" in card
    for words in ("| peak memory | 700 MB | 661 MB | 643 MB | +2.9 % |", "8,000 training rows, 1,600 validation rows",
                  "3 rows were truncated to 128 tokens", "- time: 7 min 35 s"):  # fmt: skip
        assert words in card


def test_a_model_that_loses_and_one_that_was_interrupted_say_so(run_dir):
    assert "does not beat the baselines" in card_of(run_dir, beats_baselines=False)
    card = card_of(run_dir, status="interrupted", beats_baselines=True)
    assert "Training was interrupted" in card
    assert "does not beat" not in card


def test_no_row_and_no_folder_is_published(run_dir):
    data = {"source": "/home/someone/secret/reviews.csv", "train_rows": 5, "notes": ["/home/someone/secret/x"]}
    card = card_of(run_dir, data=data, model_source="/home/someone/models/mine", model="/home/someone/models/mine")
    assert "someone" not in card
    assert "from reviews.csv" in card
    assert "utterly charming mess" not in card


def test_a_users_words_stay_words(run_dir):
    hostile = "<script>alert(1)</script>\n\n# big | `x` [a](http://b)"
    card = card_of(run_dir, model=hostile, data={"labels": [hostile], "source": hostile}, versions={"python": hostile})
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body
    assert "\n# big" not in body
    assert "[a](http" not in body


@pytest.mark.parametrize("key", sorted(LABELS))
def test_a_key_may_be_missing_or_odd(run_dir, key):
    for value in (None, {}, [], "odd", 3):
        (run_dir / "result.json").write_text(json.dumps(LABELS))
        front_matter(card_of(run_dir, **{key: value}))


def test_a_number_that_is_none_is_not_published(run_dir):
    assert "model-index" not in front_matter(card_of(run_dir, metrics={"accuracy": float("nan")}))


def test_the_same_run_makes_the_same_card(run_dir):
    assert card_of(run_dir) == card_of(run_dir)


def test_a_folder_without_a_result_is_the_users_to_fix(tmp_path):
    with pytest.raises(UserError, match=r"result\.json"):
        write_model_card(tmp_path, tmp_path)
