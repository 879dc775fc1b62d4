"""The tasks by name. A folder for each kind, a line here; other packages add theirs by the entry point `proxtune.tasks`."""

from __future__ import annotations

from proxtune.config.plugins import Registry
from proxtune.tasks.base import Task

TASKS: Registry[Task] = Registry(
    kind="task",
    group="proxtune.tasks",
    built_in={
        "classify": "proxtune.tasks.classification.task:CLASSIFY",
        "summarize": "proxtune.tasks.generation.task:SUMMARIZE",
        "translate": "proxtune.tasks.generation.task:TRANSLATE",
        "instruct": "proxtune.tasks.generation.task:INSTRUCT",
    },
)


def find_task(name: str) -> Task:
    """The task of that name. Raises UserError for one that is unknown or cannot be loaded."""
    return TASKS.find(name)
