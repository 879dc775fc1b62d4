"""The contract of tasks: each that is built in has all of it, and its values cost no import."""

import inspect

import pytest

from proxtune.tasks.base import Task, TaskData
from proxtune.tasks.registry import TASKS
from support.scripts import in_a_process_of_its_own

METHODS = [name for name, member in vars(Task).items() if inspect.isfunction(member) and not name.startswith("_")]


@pytest.mark.parametrize("name", TASKS.names())
def test_a_task_takes_what_the_contract_passes(name: str) -> None:
    task = TASKS.find(name)
    assert len(METHODS) > 10
    for method in METHODS:
        own, wanted = (inspect.signature(getattr(holder, method)) for holder in (task, Task))
        assert list(own.parameters) == list(wanted.parameters)[1:], method  # but for self


@pytest.mark.parametrize("name", TASKS.names())
def test_a_task_is_called_by_its_name_and_has_a_model(name: str) -> None:
    task = TASKS.find(name)
    assert task.name == name
    assert task.default_model
    assert task.report_section


def test_padding_is_what_the_config_says() -> None:
    config = type("Config", (), {"pad_token_id": 3})()
    data = TaskData(split=None, tokenizer=None, config=config, train=None, validation=None, max_length=8)
    assert data.pad_id == 3


def test_tasks_are_found_without_torch_and_numpy() -> None:
    found = in_a_process_of_its_own(
        """
import json, sys
from proxtune.tasks.registry import TASKS
traits = [task.traits for task in TASKS.all().values()]
print(json.dumps(sorted({"torch", "numpy", "transformers", "sklearn"} & set(sys.modules))))
"""
    )
    assert found == []
