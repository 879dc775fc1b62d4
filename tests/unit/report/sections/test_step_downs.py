"""Step-downs, and that there was none."""

import pytest

from proxtune.report.sections.step_downs import SECTION, step_downs
from support.reports import LABELS, page_with, run_of


def test_each_says_when_what_and_why():
    assert step_downs(LABELS | {"step_downs": [*LABELS["step_downs"], 3]}) == [
        {
            "step": "12", "when": "33 s", "before": "micro-batch 64", "after": "micro-batch 32", "why": "allocation refused",
        }
    ]  # fmt: skip


@pytest.mark.usefixtures("no_charts")
def test_that_there_was_none_is_said(run_dir):
    assert SECTION.values(run_of({})) == {"step_downs": []}
    assert "None: the plan fitted" in page_with(run_dir, step_downs=[])
    assert "None: the plan fitted" not in page_with(run_dir, step_downs=LABELS["step_downs"])
