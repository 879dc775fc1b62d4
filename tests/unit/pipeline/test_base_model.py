"""The base model's results are written down once, and what cannot be read counts as none."""

from types import SimpleNamespace

from proxtune.pipeline.base_model import BASE_RESULTS, evaluate_base_model, read_base_results
from proxtune.storage.atomic import write_json
from proxtune.tasks.registry import find_task

RESULTS = {"answers": ["one", "other"], "metrics": {"loss": 1.0}, "seconds": 3.0}


def test_what_cannot_be_read_counts_as_none(tmp_path):
    assert read_base_results(tmp_path) is None
    (tmp_path / BASE_RESULTS).write_text('{"answers": []')
    assert read_base_results(tmp_path) is None
    (tmp_path / BASE_RESULTS).write_text('["answers"]')
    assert read_base_results(tmp_path) is None


def test_a_base_model_that_was_scored_before_is_not_scored_again(tmp_path):
    write_json(tmp_path / BASE_RESULTS, RESULTS)
    assert read_base_results(tmp_path) == RESULTS
    task = find_task("translate")
    session = SimpleNamespace(task=task, traits=task.traits, folder=tmp_path)  # anything else asked of it would raise
    assert evaluate_base_model(session, plan=None) == 3.0


def test_a_task_with_a_new_head_compares_no_base_model(tmp_path):
    task = find_task("classify")
    session = SimpleNamespace(task=task, traits=task.traits, folder=tmp_path)
    assert evaluate_base_model(session, plan=None) == 0.0
    assert not (tmp_path / BASE_RESULTS).exists()
