"""The answers with the lowest scores."""

from proxtune.report.sections.worst_answers import SECTION
from support.reports import ANSWERS, run_of


def test_the_worst_are_shown_as_they_are_kept():
    values = SECTION.values(run_of(ANSWERS))
    assert [row["line"] for row in values["answers"]] == [str(row["line"]) for row in ANSWERS["worst"]]
    assert SECTION.values(run_of({})) is None
