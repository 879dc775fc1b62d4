"""Datasets by name, with a library that stands in for `datasets`: no test reaches the hub."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from proxtune.data.readers.hub import read_hub, read_hub_split
from support.files import refusal


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library with "someone/reviews", whose rows name the split that they are of, and an empty "nobody"."""

    class ClassLabel:
        names = ("bad", "good")

    class Dataset(dict[str, list[object]]):
        column_names = ("text", "label")
        features: ClassVar = {"text": SimpleNamespace(), "label": ClassLabel()}

    def load_dataset(name: str, split: str) -> Dataset:
        if name == "someone/gone":
            raise ConnectionError("no network\nsecond line")
        if name == "someone/odd":
            raise RuntimeError
        return Dataset(text=[f"{split} 1", f"{split} 2"] * (name != "nobody"), label=[0, 1] * (name != "nobody"))

    def get_dataset_split_names(name: str) -> list[str]:
        if name == "someone/gone":
            raise ConnectionError
        return ["train", "dev"]

    module = ModuleType("datasets")
    vars(module).update(load_dataset=load_dataset, get_dataset_split_names=get_dataset_split_names)
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.usefixtures("datasets")
def test_a_split_with_its_classes_named() -> None:
    table = read_hub("someone/reviews")
    assert table.columns == {"text": ["train 1", "train 2"], "label": ["bad", "good"]}
    assert (table.lines, table.unit, table.notes) == ([1, 2], "row", ["read the 'train' split of someone/reviews"])
    assert read_hub("someone/reviews", max_rows=200).columns["text"][0] == "train[:200] 1", "what `datasets` slices by"


@pytest.mark.usefixtures("datasets")
def test_the_first_split_that_has_one_of_the_names() -> None:
    found = read_hub_split("someone/reviews", ("validation", "dev"))
    assert found is not None
    assert found.columns["text"] == ["dev 1", "dev 2"]
    assert read_hub_split("someone/reviews", ("test",)) is None
    assert read_hub_split("someone/gone", ("test",)) is None, "the train split says what is wrong"


@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("someone/gone", "not loaded (no network); check the name and the network"),
        ("someone/odd", "not loaded (RuntimeError)"),
        ("nobody", "the split 'train' has no rows"),
    ],
)
def test_what_is_wrong_is_said(name: str, says: str) -> None:
    assert says in refusal(read_hub, name)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'proxtune[hub]'" in refusal(read_hub, "someone/reviews")
    assert read_hub_split("someone/reviews", ("validation",)) is None
