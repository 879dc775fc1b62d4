"""The confusion matrix, or the worst pairs of many classes."""

import pytest

from proxtune.report.sections.confusion import SECTION, confusion
from support.reports import page_with, run_of


def test_each_row_has_its_recall_and_a_heat_for_each_cell():
    found = confusion({"confusion": [[8, 2], [0, 0]], "data": {"labels": ["good"]}})
    assert found["labels"] == ["good", "class 1"]
    first, second = found["matrix"]
    assert (first["total"], first["recall"]) == ("10", "80.0 %")
    assert [(cell["heat"], cell["right"]) for cell in first["cells"]] == [(0.8, True), (0.2, False)]
    assert second["recall"] == "–"


@pytest.mark.usefixtures("no_charts")
def test_many_classes_become_their_worst_pairs(run_dir):
    n = 30
    counts = [[50 if i == j else (7 if (i, j) == (3, 4) else 0) for j in range(n)] for i in range(n)]
    page = page_with(run_dir, confusion=counts, data={"labels": [f"intent {i}" for i in range(n)]})
    assert 'class="matrix"' not in page
    assert '<td>intent 3</td><td>intent 4</td><td class="n">7</td><td class="n">12.3 %</td>' in page


@pytest.mark.usefixtures("no_charts")
def test_many_classes_without_a_mistake_say_so(run_dir):
    counts = [[5 if i == j else 0 for j in range(13)] for i in range(13)]
    assert "None of the 13 classes was confused with another." in page_with(run_dir, confusion=counts)


@pytest.mark.parametrize("counts", [None, [], [[1, 2]], [[1], [2]], "odd"])
def test_what_is_no_square_has_no_section(counts):
    assert SECTION.values(run_of({"confusion": counts})) is None


def test_of_thousands_of_classes_the_commonest_mistakes_are_shown():
    labels = [f"intent {i}" for i in range(3000)]
    found = confusion({"confused": [[5, 7, 3], [7, 2999, 1], [1, 3000, 1], "x"], "data": {"labels": labels}})
    assert found is not None
    assert [(pair["label"], pair["predicted"], pair["count"]) for pair in found["pairs"]] == [
        ("intent 5", "intent 7", "3"),
        ("intent 7", "intent 2999", "1"),
    ]
    assert (found["classes"], found["matrix"]) == ("3,000", [])
