"""The sections: each under its own anchor, and the one of results by the run's task."""

from pathlib import Path

import pytest

from proxtune.report import sections
from proxtune.report.sections.registry import RESULT_SECTIONS, SECTIONS, result_section
from proxtune.tasks.registry import TASKS, find_task


def test_every_file_of_a_section_is_registered():
    (folder,) = sections.__path__
    files = {file.stem for file in Path(folder).glob("*.py")} - {"__init__", "base", "registry"}
    assert {section.name for section in (*RESULT_SECTIONS.values(), *SECTIONS)} == files


def test_no_two_sections_of_a_page_share_an_anchor():
    for result in RESULT_SECTIONS.values():
        anchors = [section.anchor for section in (result, *SECTIONS)]
        assert len(set(anchors)) == len(anchors)


@pytest.mark.parametrize("task", TASKS.built_in)
def test_each_task_has_its_section(task):
    assert result_section({"task": task}).name == find_task(task).report_section


@pytest.mark.parametrize("result", [{}, {"task": None}, {"task": "gone"}, {"task": ["classify"]}])
def test_an_unknown_task_is_shown_as_classification(result):
    assert result_section(result).name == "classification"
