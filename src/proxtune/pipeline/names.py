"""Checks of a recipe that ask what tasks, methods and devices there are. Imports no torch: a mistake is told at once."""

from __future__ import annotations

from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.memory.devices.registry import check_device_name
from proxtune.methods.base import Method
from proxtune.methods.registry import AUTO, all_methods, methods_for
from proxtune.tasks.base import Task
from proxtune.tasks.registry import find_task


def check_names(recipe: Recipe) -> None:
    """Raises UserError for a task, method or device that is not there, and for what they cannot do together."""
    methods = methods_for(recipe.method)
    check_device_name(recipe.device)
    if recipe.task is not None:
        _check_task(find_task(recipe.task), recipe, methods)
    knobs = recipe.knobs
    option = "--base-dtype" if knobs.base_dtype is not None else "--stream" if knobs.stream else ""
    if option and not any(method.supports_codes for method in methods):
        others = [name for name, method in all_methods().items() if method.supports_codes]
        raise UserError(
            f"{option} is for weights under adapters; leave it out, or choose --method {' or '.join(others)} "
            f"instead of {recipe.method}"
        )
    if knobs.base_dtype is not None and knobs.stream:
        raise UserError("--stream reads weights as they are, not as --base-dtype codes; leave one of the two out")
    rows_count_once = not all(method.counts_points for method in methods)
    if rows_count_once and knobs.batch is not None and (knobs.micro_batch or 0) > knobs.batch:
        raise UserError(
            f"--micro-batch {knobs.micro_batch} is more than --batch {knobs.batch}; a micro-batch is a part of a batch"
        )


def _check_task(task: Task, recipe: Recipe, methods: list[Method]) -> None:
    if not any(method.can_learn(task.traits) for method in methods):
        able = [name for name, method in all_methods().items() if method.can_learn(task.traits)]
        raise UserError(
            f"--method {recipe.method} cannot learn --task {task.name} yet; choose one of {', '.join((AUTO, *able))}"
        )
    task.check(recipe)
