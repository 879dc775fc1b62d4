"""The most confident mistakes."""

from proxtune.report.sections.mistakes import SECTION, mistakes
from support.reports import run_of


def wrong(confidence):
    return {"text": f"text {confidence}", "label": "a", "predicted": "b", "confidence": confidence, "line": 2}


def test_the_most_confident_comes_first():
    found = mistakes({"mistakes": [wrong(0.6), wrong(0.9), 3, {"confidence": "odd"}, wrong(0.7)]})
    assert [row["confidence"] for row in found] == ["90.0 %", "70.0 %", "60.0 %", "–"]
    assert found[-1]["line"] == found[-1]["label"] == "–"


def test_at_most_twenty_are_shown_and_long_texts_are_cut():
    found = mistakes({"mistakes": [wrong(0.5) | {"text": "word " * 5000}] * 99})
    assert len(found) == 20
    assert len(found[0]["text"]) <= 420


def test_a_run_without_mistakes_has_no_section():
    assert SECTION.values(run_of({"mistakes": []})) is None
