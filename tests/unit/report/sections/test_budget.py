"""The budget, phase by phase on one scale."""

import pytest

from proxtune.report.sections.budget import SECTION, phase_bars, time_bar
from support.reports import LABELS, page_with, run_of


def test_the_limit_and_all_phases_share_a_scale():
    bars = phase_bars(LABELS)
    assert [row["name"] for row in bars["rows"]] == ["load", "prepare", "train", "evaluate", "save", "baselines"]
    assert bars["at"] == pytest.approx(100 / 1.06, abs=0.01)  # the limit is the largest
    train = bars["rows"][2]
    assert train["measured_width"] / train["promised_width"] == pytest.approx(642.8 / 661.2, abs=1e-3)
    assert not any(row["over"] for row in bars["rows"])


def test_a_phase_above_the_limit_is_marked():
    over = [row["name"] for row in phase_bars(LABELS | {"budget": {"memory": 600_000_000}})["rows"] if row["over"]]
    assert over == ["train"]


def test_without_a_limit_or_with_a_far_one_no_line_is_drawn():
    assert phase_bars(LABELS | {"budget": {}})["at"] is None
    far = phase_bars(LABELS | {"budget": {"memory": 64 * 10**9}})
    assert (far["at"], far["limit"]) == (None, "64 GB")


@pytest.mark.usefixtures("no_charts")
def test_the_page_draws_the_limit_where_it_is_near(run_dir):
    assert '<i class="rule">' in page_with(run_dir)
    assert '<span class="within">' in page_with(run_dir)
    page = page_with(run_dir, budget={"memory": 64 * 10**9})
    assert '<i class="rule">' not in page
    assert "is far beyond this scale" in page


def test_a_run_that_measured_nothing_has_no_section():
    assert SECTION.values(run_of({})) is None
    assert SECTION.values(run_of({"budget": {"time": 60}}))["phases"] is None


def test_the_time_bar_names_each_phase_with_its_share_of_the_whole():
    begun = [{"kind": "phase", "phase": name, "seconds": at} for name, at in (("read", 1), ("train", 10), ("odd", 90))]
    bar = time_bar(run_of({"measured": {"seconds": 100}}, records=begun))
    assert [(row["name"], row["share"], row["width"]) for row in bar] == [
        ("reading the data", "10.0 %", "10.00"), ("training", "80.0 %", "80.00"), ("odd", "10.0 %", "10.00"),
    ]  # fmt: skip
    assert time_bar(run_of({"measured": {}}, records=begun)) == []


@pytest.mark.usefixtures("no_charts")
def test_the_page_says_where_the_time_went(run_dir):
    assert "Where the time went" in page_with(run_dir)
