"""The plans that were considered."""

import json

import pytest

from proxtune.report.sections.plans import SECTION, plans
from support.reports import LABELS, LABELS_RUN, page_with, run_of, words_of

PLANS = json.loads((LABELS_RUN / "plan.json").read_text())


def test_the_chosen_plan_comes_first_and_the_refused_say_why():
    found = plans(PLANS, LABELS)
    assert found["counts"] == "5 fit, 3 refused."
    assert [row["status"] for row in found["first"]] == ["chosen", *["fits"] * 4, *["refused"] * 3]
    assert all(row["reason"] for row in found["first"] if row["status"] == "refused")
    assert (found["first"][0]["memory"], found["first"][0]["seconds"]) == ("661 MB", "7 min 10 s")


@pytest.mark.usefixtures("no_charts")
def test_the_expected_quality_is_not_shown_as_an_accuracy(run_dir):
    assert plans(PLANS, LABELS)["first"][0]["expected"] == "0.862"
    page = words_of(page_with(run_dir))
    assert "expected quality (1 = best)" in page
    assert "86.2 %" not in page


def test_many_plans_are_folded_and_then_counted():
    found = plans({"table": PLANS["table"] * 100}, {})
    assert (len(found["first"]), len(found["rest"]), found["left_out"]) == (12, 48, 740)


def test_without_a_table_the_runs_own_plan_is_shown():
    found = plans({}, LABELS)
    assert [row["status"] for row in found["first"]] == ["chosen"]
    assert found["counts"] == ""


def test_a_run_without_any_plan_has_no_section():
    assert SECTION.values(run_of({})) is None
    assert plans({"table": [3]}, {}) is None
    assert plans({"table": [{}]}, {})["first"][0]["expected"] == "–"
