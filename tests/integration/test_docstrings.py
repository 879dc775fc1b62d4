"""The examples in the docstrings of public names are run, where a small model, some reviews and a finished run are at hand."""

import doctest
import shutil

import pytest

import proxtune

pytestmark = pytest.mark.slow

SECTIONS = {"tune": ("Parameters", "Returns", "Raises", "Examples"), "Budget": ("Parameters", "Raises", "Examples")}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model, tiny_reviews):
    """The working folder that the examples are written for."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(tiny_model, folder / "tiny-bert")
    shutil.copy(tiny_reviews, folder / "reviews.csv")
    proxtune.tune(
        str(folder / "reviews.csv"), model=str(folder / "tiny-bert"), out=folder / "runs" / "reviews", method="full"
    )
    return folder


@pytest.mark.parametrize("name", [name for name in proxtune.__all__ if name != "__version__"])
def test_the_examples_of_a_public_name_run(name, place, monkeypatch):
    monkeypatch.chdir(place)
    runner, found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), 0
    for test in doctest.DocTestFinder().find(getattr(proxtune, name), name, globs=vars(proxtune).copy()):
        test.globs.update(open_run=proxtune.open_run)
        runner.run(test)
        found += len(test.examples)
    assert found, f"{name} has no example"
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", [name for name in proxtune.__all__ if name not in ("__version__", "UserError")])
def test_a_public_name_says_what_it_takes_and_gives(name):
    sections = SECTIONS.get(name, ("Parameters", "Examples"))
    missing = [section for section in sections if f"{section}\n    ---" not in getattr(proxtune, name).__doc__]
    assert not missing
