"""Tasks by name."""

from proxtune.tasks.registry import find_task
from support.files import refusal


def test_a_task_is_found_by_its_name() -> None:
    assert find_task("translate").name == "translate"
    assert find_task("translate") is find_task("translate")


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    assert refusal(find_task, "poems") == (
        "unknown task 'poems'; choose one of classify, summarize, translate, instruct"
    )
