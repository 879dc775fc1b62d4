"""The size limit: which weight got how many bytes."""

import pytest

from proxtune.report.sections.size import SECTION, allocation
from support.reports import page_with, run_of

SIZE = {
    "size_bytes": 12_000_000, "bits": 4, "vocabulary": 9000, "blocks": 4, "multiplier": 2e-6, "gap": 0.5,
    "weights": {
        "small": {"bytes": 1000, "name": "fp16", "cost": 1.0}, "large": {"bytes": 3000, "name": "4 bits", "cost": 3.0},
        "odd": 3, "empty": {"bytes": 0},
    },
}  # fmt: skip


def test_the_largest_weight_comes_first_with_its_share():
    found = allocation({"size": SIZE, "artifact_bytes": 11_000_000})
    assert [(row["name"], row["format"], row["width"], row["cost"]) for row in found["weights"]] == [
        ("large", "4 bits", 75.0, "75.0 %"),
        ("small", "fp16", 25.0, "25.0 %"),
    ]
    assert (found["limit"], found["saved"], found["multiplier"]) == ("12 MB", "11 MB", "2")


def test_many_weights_are_summed_up():
    many = {f"w{i}": {"bytes": 100 + i, "name": "4 bits"} for i in range(100)}
    found = allocation({"size": SIZE | {"weights": many}})
    assert len(found["weights"]) == 80
    assert found["others"].startswith("20 smaller ones")


@pytest.mark.usefixtures("no_charts")
def test_the_page_shows_it(run_dir):
    page = page_with(run_dir, size=SIZE)
    assert 'id="size"' in page
    assert "The limit was 12 MB" in page


@pytest.mark.parametrize("size", [None, {}, {"weights": 3}, {"weights": {"a": {"bytes": "many"}}}])
def test_a_run_without_a_size_limit_has_no_section(size):
    assert SECTION.values(run_of({"size": size})) is None
