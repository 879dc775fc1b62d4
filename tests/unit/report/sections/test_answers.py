"""Answers to read, long ones folded."""

import pytest

from proxtune.report.sections.answers import SECTION, answer_rows
from support.reports import ANSWERS, page_with, run_of


def test_each_row_has_its_texts_and_its_score():
    first, second, third = answer_rows(ANSWERS, "samples")
    assert (first["line"], first["score"], first["after"]["begin"]) == ("12", "0.0", "(nothing)")
    assert second["before"]["begin"] == "–"
    assert third["reference"] == {"begin": "Slow & late <b>bold</b>", "whole": ""}


def test_a_long_text_is_folded_and_cut_where_it_is_very_long():
    first = answer_rows(ANSWERS, "samples")[0]
    assert first["asked"]["begin"].endswith("…")
    assert first["asked"]["whole"] == ANSWERS["samples"][0]["asked"].strip()
    (long,) = answer_rows({"samples": [{"after": "word " * 5000}]}, "samples")
    assert len(long["after"]["whole"]) == 1200


def test_at_most_twenty_are_shown_and_odd_rows_are_passed_over():
    assert len(answer_rows({"samples": [{}] * 99}, "samples")) == 20
    assert answer_rows({"samples": [3, None]}, "samples") == []


@pytest.mark.usefixtures("no_charts")
def test_the_page_escapes_and_folds(answers_dir):
    page = page_with(answers_dir)
    assert "Slow &amp; late &lt;b&gt;bold&lt;/b&gt;" in page
    assert page.count('<details class="fold">') == 8


def test_without_answers_there_is_no_section():
    assert SECTION.values(run_of(ANSWERS | {"samples": []})) is None
    assert SECTION.values(run_of(ANSWERS))["main"] == "ROUGE-L"
