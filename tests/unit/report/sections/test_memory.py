"""Memory over time, and what training was predicted to need."""

import pytest

from proxtune.report.sections.memory import SECTION, terms
from support.reports import LABELS, run_of


def test_the_terms_add_up_and_each_is_explained():
    found = terms(LABELS)
    assert found["total"] == "661 MB"
    assert sum(row["width"] for row in found["rows"]) == pytest.approx(100, abs=0.01)
    assert [row["name"] for row in found["rows"]][:3] == ["supervisor", "libraries", "weights"]
    assert all(row["why"] for row in found["rows"])


def test_a_term_that_is_new_comes_last_and_an_odd_one_is_passed_over():
    found = terms({"predicted": {"terms": {"mine": 5, "weights": 5, "odd": "x", "none": 0}}})
    assert [row["name"] for row in found["rows"]] == ["weights", "mine"]


def test_a_run_cut_short_takes_the_terms_of_its_plan():
    assert terms(LABELS | {"predicted": None}) == terms(LABELS)


def test_there_is_a_section_for_either_and_none_for_neither():
    assert SECTION.values(run_of({})) is None
    assert SECTION.values(run_of(LABELS))["chart"] == ""
    samples = [{"kind": "memory", "phase": "train", "seconds": s, "memory_bytes": 5e8 + s} for s in (1, 2, 3)]
    values = SECTION.values(run_of({}, records=samples))
    assert values["terms"] is None
    assert values["chart"].startswith("<svg")
