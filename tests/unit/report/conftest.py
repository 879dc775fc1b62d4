"""Copies of the runs that are kept, which a test may change."""

import shutil
from pathlib import Path

import pytest

from support.reports import ANSWERS_RUN, LABELS_RUN


@pytest.fixture
def run_dir(tmp_path):
    """A run that classifies."""
    folder = Path(shutil.copytree(LABELS_RUN, tmp_path / "run"))
    (folder / "model").mkdir()
    return folder


@pytest.fixture
def answers_dir(tmp_path):
    """A run that generates text."""
    folder = Path(shutil.copytree(ANSWERS_RUN, tmp_path / "answers"))
    (folder / "model").mkdir()
    return folder


@pytest.fixture
def no_charts(monkeypatch):
    """Charts take a second each; test_charts looks at them."""
    monkeypatch.setattr("proxtune.report.sections.memory.memory_chart", lambda *_: "")
    monkeypatch.setattr("proxtune.report.sections.learning.loss_chart", lambda *_: "")
    monkeypatch.setattr("proxtune.report.sections.learning.curves_chart", lambda *_: "")
