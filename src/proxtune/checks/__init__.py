"""Contract checks for authors of extensions: what the rest of the program counts on each kind of extension to do.

    from proxtune.checks import check_device, check_export, check_method, check_task

    def test_my_method():
        check_method(METHOD, Path("a/small/model"))

    def test_my_task():
        check_task(TASK, "rows.csv", Path("a/small/model"))

    def test_my_export():
        check_export(FORMAT, Path("a/finished/run"))

    def test_my_device():
        check_device(DEVICE)

Each check raises AssertionError with a sentence that says what was expected. Any transformers model folder works;
a tiny one makes the checks quick.
"""

from proxtune.checks.device import check_calibration, check_computing, check_device, check_meter
from proxtune.checks.export import check_export
from proxtune.checks.method import (
    check_cost,
    check_finish,
    check_learning,
    check_method,
    check_method_values,
    check_preparation,
    check_prior,
)
from proxtune.checks.task import (
    check_objective,
    check_task,
    check_task_answers,
    check_task_reading,
    check_task_results,
    check_task_rows,
    check_task_values,
)

__all__ = [
    "check_calibration",
    "check_computing",
    "check_cost",
    "check_device",
    "check_export",
    "check_finish",
    "check_learning",
    "check_meter",
    "check_method",
    "check_method_values",
    "check_objective",
    "check_preparation",
    "check_prior",
    "check_task",
    "check_task_answers",
    "check_task_reading",
    "check_task_results",
    "check_task_rows",
    "check_task_values",
]
