"""Scores in words, and whether the model beats the baselines."""

import math

import pytest

from proxtune.report.scores import (
    baseline_name,
    beats_baselines,
    best_baseline,
    half_width,
    main_of,
    score_table,
    score_words,
)
from support.reports import ANSWERS, LABELS


def test_the_table_has_every_score_of_the_model_the_base_model_and_the_baselines():
    found = score_table(ANSWERS)
    assert found.main == "ROUGE-L"
    assert found.columns == ("ROUGE-L", "ROUGE-1", "ROUGE-2", "loss", "perplexity")
    assert {row.name: row.cells for row in found.rows} == {
        "this model": ("31.3", "38.1", "15.2", "2.411", "11.1"),
        "the base model": ("18.4", "25.1", "6.3", "3.107", "22.4"),
        "the first sentence": ("19.1", "22.9", "7.1", "–", "–"),
    }
    assert [row.width for row in found.rows] == pytest.approx([100, 58.91, 60.98], abs=0.01)
    assert [row.own for row in found.rows] == [True, False, False]
    assert score_table({}) is None


@pytest.mark.parametrize(
    ("main", "row", "cells"),
    [
        ("chrf", {"bleu": 12.345, "chrf": 41.5, "loss": 1.5, "perplexity": 4.48}, "41.5 12.3 1.500 4.5"),
        ("rougeL", {"rouge1": 0.5, "rougeL": 0.5, "exact": 0.125, "perplexity": 9e6}, "50.0 50.0 12.5 9e+06"),
    ],
)
def test_points_are_those_of_the_main_score(main, row, cells):
    (own,) = score_table({"main_metric": main, "metrics": row}).rows
    assert own.cells == tuple(cells.split())


def test_the_main_score_is_the_runs_the_evaluations_or_accuracy():
    assert main_of({"main_metric": "chrf"}) == main_of({"main": "chrf"}) == "chrf"
    assert main_of({}) == main_of({"main_metric": "odd"}) == main_of({"main_metric": 3}) == "accuracy"


def test_a_score_that_is_not_finite_is_a_dash():
    assert score_words("rougeL", math.nan) == score_words("loss", None) == "–"


def test_the_best_baseline_is_that_of_the_main_score():
    assert best_baseline(LABELS) == ("tfidf", 0.7674)
    assert best_baseline(ANSWERS) == ("first_sentence", 0.1907)
    assert best_baseline({"baselines": {"tfidf": {"accuracy": None}}}) is None


def test_whether_it_won_is_what_the_run_says_or_what_its_scores_say():
    assert beats_baselines(LABELS | {"beats_baselines": False}) is False
    assert beats_baselines(LABELS | {"beats_baselines": None}) is True
    assert beats_baselines({"metrics": {"accuracy": 0.9}}) is None


def test_the_interval_of_an_accuracy_shrinks_with_rows_and_is_never_nothing():
    assert half_width(0.5, 100) == pytest.approx(0.0962, abs=1e-3)  # Wilson, by hand
    assert half_width(0.5, 10_000) < half_width(0.5, 100)
    assert half_width(1.0, 100) > 0


def test_a_baseline_has_a_name_and_a_strange_one_its_own():
    assert baseline_name("untouched") == "the base model"
    assert baseline_name("mine") == "mine"
