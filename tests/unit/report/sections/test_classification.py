"""The results of a classification: beside the baselines, and plain where it does not beat them."""

import pytest

from proxtune.report.sections.classification import SECTION, evaluations, headline, lead, notes, scores, tiles
from support.reports import LABELS, run_of


def texts(**changes):
    return [note.text for note in notes(LABELS | changes)]


def test_the_head_has_the_accuracy_and_its_uncertainty():
    assert headline(LABELS) == "86.1 % accuracy on 1,600 validation rows"
    assert headline({}) == "No validation result yet"
    assert lead(LABELS) == "Baselines: 76.7 % for word counts (TF-IDF), 50.1 % for always the most common label."
    assert lead({}) == ""
    assert [(tile.name, tile.value) for tile in tiles(LABELS)] == [("Accuracy", "86.1 %"), ("Macro F1", "86.1 %")]
    assert tiles(LABELS)[0].detail == "± 1.7 points (95 %)"


@pytest.mark.parametrize("told", [False, None])
def test_a_model_that_loses_is_told_plainly_and_once(told):
    baselines = {"majority": {"accuracy": 0.5}, "tfidf": {"accuracy": 0.9}}
    verdict = "The language model does not beat the baselines: so it is."
    (note,) = notes(LABELS | {"baselines": baselines, "beats_baselines": told, "verdict": verdict})
    assert note.kind == "bad"
    assert note.text.startswith("The language model does not beat the baselines: 86.1 % against 90.0 % for word counts")


def test_a_small_lead_is_called_uncertain():
    assert any("points, but 1,600 rows" in text for text in texts(baselines={"tfidf": {"accuracy": 0.856}}))
    assert texts(baselines={"tfidf": {"accuracy": 0.7}}) == [LABELS["verdict"]]


def test_the_best_baseline_comes_first_below_the_model():
    assert [row["name"] for row in scores(LABELS)] == [
        "this model",
        "word counts (TF-IDF)",
        "always the most common label",
    ]
    assert scores({}) == []


def test_other_files_have_their_own_baseline():
    (row,) = evaluations(LABELS)
    assert (row["source"], row["rows"], row["accuracy"]) == ("test.csv", "1,000", "85.7 %")
    assert row["baseline"] == "75.9 % · word counts (TF-IDF)"


def test_without_scores_there_is_no_section():
    assert SECTION.values(run_of({"metrics": {}, "evaluations": {}})) is None
