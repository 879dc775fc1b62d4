"""The curves: drawn from what there is, in the page's colours, and nothing where there is nothing to draw."""

import re

import pytest

from proxtune.report.charts import curves_chart, loss_chart, memory_chart
from proxtune.storage.event_log import read_events
from support.reports import LABELS, LABELS_RUN

RECORDS = read_events(LABELS_RUN)


def test_memory_has_the_limit_the_promise_and_the_phases():
    svg = memory_chart(RECORDS, 700e6, LABELS["predicted"]["memory_bytes"])
    for words in ("limit", "promised", "measured", "train", "MB", "step-down"):
        assert words in svg
    assert "limit" not in memory_chart(RECORDS, 64e9, {})  # far above, it would flatten the curve


def test_the_loss_has_training_validation_and_the_base_model():
    assert "before training" in loss_chart(RECORDS, 0.7)
    svg = loss_chart(RECORDS)
    assert "before training" not in svg
    assert "training" in svg
    assert "validation" in svg


def test_accuracy_has_its_best_point_and_the_baselines():
    svg = curves_chart(RECORDS, LABELS["baselines"])
    for words in ("accuracy", "macro F1", "best", "word counts (TF-IDF)", "always the most common label"):
        assert words in svg


def test_nothing_is_drawn_from_nothing():
    assert memory_chart([], None, {}) == loss_chart([]) == curves_chart([], {}) == ""


@pytest.mark.parametrize("svg", [loss_chart(RECORDS), curves_chart(RECORDS, LABELS["baselines"])])
def test_a_drawing_takes_its_colours_from_the_page_and_loads_nothing(svg):
    assert svg.startswith('<svg class="chart" role="img"')
    assert not re.search(r"#0[ab]000\d", svg)
    assert "var(--main)" in svg
    assert "http" not in svg
