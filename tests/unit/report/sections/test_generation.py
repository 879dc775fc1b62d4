"""The results of a generation: scores in points beside the base model and the baselines."""

import pytest

from proxtune.report.sections.generation import SECTION, evaluations, headline, lead, notes, tiles
from support.reports import ANSWERS, page_with, run_of, words_of


def test_the_head_has_the_main_score_beside_the_base_model_and_the_baselines():
    assert headline(ANSWERS) == "ROUGE-L 31.3 on 100 validation rows"
    assert headline({}) == "No validation result yet"
    assert lead(ANSWERS) == "Baselines: 18.4 for the base model, 19.1 for the first sentence."
    assert [(t.name, t.value, t.detail) for t in tiles(ANSWERS)] == [
        ("ROUGE-L", "31.3", "18.4 before training"),
        ("Perplexity", "11.1", "22.4 before training"),
    ]


@pytest.mark.parametrize(
    ("task", "main", "words"), [("translate", "chrf", "chrF 41.5"), ("instruct", "rougeL", "ROUGE-L 50.0")]
)
def test_points_are_those_of_the_task(task, main, words):
    result = {"task": task, "main_metric": main, "metrics": {"chrf": 41.5, "rougeL": 0.5}}
    assert headline(result) == words


@pytest.mark.usefixtures("no_charts")
def test_other_files_have_their_scores_and_answers(answers_dir):
    (file,) = evaluations(ANSWERS)
    assert (file["source"], file["rows"], file["cut"], file["main"]) == ("test.jsonl", "250", "7", "ROUGE-L")
    assert [row["line"] for row in file["samples"]] == ["3", "8"]
    page = words_of(page_with(answers_dir))
    assert "test.jsonl, 250 rows" in page
    assert "7 rows were longer than the model takes and were truncated" in page


def test_what_was_cut_or_left_out_or_is_uncertain_is_told():
    told = [note.text for note in notes(ANSWERS)]
    assert "41 of 3,200 rows were longer than 512 tokens and were truncated." in told
    assert any(text.startswith("Left out 3 of 3,203 rows: line 17 (the answer is empty)") for text in told)
    assert not any("only" in text for text in told)
    few = notes(ANSWERS | {"judged_answers": 20})
    assert any(note.text.startswith("The scores rest on only 20 answers") for note in few)


def test_a_model_that_does_not_win_is_told_plainly_and_once():
    verdict = "The model does not beat the baselines."
    found = notes(ANSWERS | {"beats_baselines": False, "verdict": verdict})
    assert [note.kind for note in found if note.text == verdict] == ["bad"]


def test_without_scores_there_is_no_section():
    assert SECTION.values(run_of({"task": "summarize", "metrics": {}})) is None
