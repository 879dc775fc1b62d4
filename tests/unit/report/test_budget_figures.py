"""Promised, measured and allowed."""

from proxtune.report.budget_figures import budget_lines, measured_memory, peak_of, promised_memory
from support.reports import LABELS


def test_each_line_says_how_far_off_the_promise_was_and_whether_the_limit_held():
    lines = {line.name: line for line in budget_lines(LABELS)}
    assert list(lines) == ["peak memory", "time", "compute", "model size", "trainable parameters"]
    memory = lines["peak memory"]
    assert (memory.promised, memory.measured, memory.error, memory.limit) == ("661 MB", "643 MB", "+2.9 %", "700 MB")
    assert (memory.within, memory.over) == (True, False)
    size = lines["model size"]
    assert (size.promised, size.limit, size.within, size.over) == ("–", "–", False, False)


def test_a_limit_that_was_passed_is_over_and_not_within():
    (line, *_) = budget_lines(LABELS | {"budget": {"memory": 600_000_000}})
    assert (line.within, line.over) == (False, True)


def test_what_is_unknown_has_no_line():
    assert budget_lines({}) == []
    assert [line.name for line in budget_lines({"budget": {"time": 60}})] == ["time"]


def test_a_run_cut_short_keeps_the_promise_of_its_plan():
    assert peak_of(promised_memory(LABELS | {"predicted": None})) == 661_200_000


def test_the_baselines_count_as_memory_of_the_run():
    assert measured_memory({"measured": {"memory_bytes": {"train": 5}, "baselines_bytes": 7}}) == {
        "train": 5,
        "baselines": 7,
    }
    assert peak_of({}) is None
