"""The model card: read by hubs, usable by a stranger, and without the person's rows or folders."""

import json
import shutil
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.report.model_card import write_model_card

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run"


@pytest.fixture
def run_dir(tmp_path):
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "run"))
    (folder / "model").mkdir()
    return folder


def card_of(run_dir, **changes):
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    result.update(changes)
    kept = {key: value for key, value in result.items() if value is not None}
    (run_dir / "result.json").write_text(json.dumps(kept), encoding="utf-8")
    path = write_model_card(run_dir, run_dir / "model")
    assert path == run_dir / "model" / "README.md"
    return path.read_text(encoding="utf-8")


def front_matter(card):
    """Its fields; each value is JSON, which YAML reads as it is."""
    _, head, _ = card.split("---\n", 2)
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in head.splitlines())}


def test_the_front_matter_is_what_a_hub_reads(run_dir):
    fields = front_matter(card_of(run_dir))
    assert fields["library_name"] == "transformers"
    assert fields["pipeline_tag"] == "text-classification"
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
    for words in ('pipeline("text-classification"', "max_length=128", "| this model, test.csv | 85.7 %",
                  "word counts (TF-IDF), validation rows | 76.7 %",
                  "| peak memory | 700 MB | 661 MB | 643 MB | +2.9 % |",
                  "8,000 rows to learn from"):  # fmt: skip
        assert words in card


def test_the_snippet_is_python(run_dir):
    code = card_of(run_dir).split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_no_row_and_no_folder_is_published(run_dir):
    data = {"source": "/home/someone/secret/reviews.csv", "train_rows": 5, "notes": ["/home/someone/secret/x"]}
    card = card_of(run_dir, data=data, model_source="/home/someone/models/mine", model="/home/someone/models/mine")
    assert "someone" not in card
    assert "from reviews.csv" in card
    assert "utterly charming mess" not in card


def test_a_persons_words_stay_words(run_dir):
    hostile = "<script>alert(1)</script>\n\n# big | `x` [a](http://b)"
    card = card_of(run_dir, model=hostile, data={"labels": [hostile], "source": hostile}, versions={"python": hostile})
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body
    assert "\n# big" not in body
    assert "[a](http" not in body
    front_matter(card)


def test_a_model_that_loses_says_so(run_dir):
    assert "does not beat the baselines" in card_of(run_dir, beats_baselines=False)
    assert "does not beat" not in card_of(run_dir, beats_baselines=True)


def test_an_interrupted_run_says_so(run_dir):
    assert "Training was interrupted" in card_of(run_dir, status="interrupted")


@pytest.mark.parametrize("key", sorted(json.loads((FIXTURE / "result.json").read_text(encoding="utf-8"))))
@pytest.mark.parametrize("value", [None, {}, [], "odd", 3], ids=["missing", "empty", "list", "text", "number"])
def test_a_key_may_be_missing_or_odd(run_dir, key, value):
    front_matter(card_of(run_dir, **{key: value}))


def test_a_number_that_is_none_is_not_published(run_dir):
    fields = front_matter(card_of(run_dir, metrics={"accuracy": float("nan")}))
    assert "model-index" not in fields


def test_the_same_run_makes_the_same_card(run_dir):
    assert card_of(run_dir) == card_of(run_dir)


def test_a_folder_without_a_result_is_the_persons_to_mend(tmp_path):
    with pytest.raises(UserError, match=r"result\.json"):
        write_model_card(tmp_path, tmp_path)
