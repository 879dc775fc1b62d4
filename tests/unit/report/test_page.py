"""The head of the page, and which sections are on it."""

from proxtune.report.page import page_of
from proxtune.report.run_files import read_run
from support.reports import ANSWERS, LABELS, run_of


def test_the_head_is_that_of_the_task(run_dir):
    page = page_of(read_run(run_dir))
    assert page.title == "minilm · lora"
    assert page.status == "done"
    assert page.headline == "86.1 % accuracy on 1,600 validation rows"
    assert [tile.name for tile in page.tiles] == ["Accuracy", "Macro F1", "Peak memory", "Time", "Model"]
    assert page_of(run_of(ANSWERS)).headline.startswith("ROUGE-L 31.3")


def test_a_tile_says_what_was_allowed():
    of = {tile.name: tile.detail for tile in page_of(run_of(LABELS)).tiles}
    assert (of["Peak memory"], of["Time"], of["Model"]) == ("of 700 MB", "of 8 min", "no limit set")


def test_a_section_with_nothing_to_say_is_left_out():
    of_labels = [section.name for section, _ in page_of(run_of(LABELS)).sections]
    assert {"classification", "confusion"} <= set(of_labels)
    assert {"size", "answers", "learning"}.isdisjoint(of_labels)
    assert [section.name for section, _ in page_of(run_of()).sections] == ["step_downs", "data", "recipe"]
