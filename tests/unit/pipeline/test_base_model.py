"""The base model's results are written down once, and what cannot be read counts as none."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from proxtune.config.recipe import Recipe
from proxtune.pipeline import base_model as module
from proxtune.pipeline.base_model import BASE_RESULTS, BaseModelSeconds, evaluate_base_model, read_base_results
from proxtune.storage.atomic import write_json
from proxtune.tasks.registry import find_task
from support.stages import session_of
from support.trainings import PLAN

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
    assert evaluate_base_model(session, plan=None) == BaseModelSeconds(answers_seconds=3.0)
    write_json(tmp_path / BASE_RESULTS, RESULTS | {"validation_seconds": 7.5})
    assert evaluate_base_model(session, plan=None) == BaseModelSeconds(answers_seconds=3.0, validation_seconds=7.5)


def test_a_task_with_a_new_head_compares_no_base_model(tmp_path):
    task = find_task("classify")
    session = SimpleNamespace(task=task, traits=task.traits, folder=tmp_path)
    assert evaluate_base_model(session, plan=None) == BaseModelSeconds()
    assert not (tmp_path / BASE_RESULTS).exists()


@pytest.mark.parametrize("weight_dtype", ["fp32", "bf16"])
def test_a_pass_over_all_validation_rows_is_timed_where_the_last_one_is_of_the_same_type(
    tmp_path, tiny_t5, tiny_pairs, weight_dtype, monkeypatch
):
    monkeypatch.setattr(module, "in_child_process", lambda session, work: work())
    session = session_of(Recipe(data=str(tiny_pairs), out=str(tmp_path), model=str(tiny_t5), task="translate"))
    plan = replace(PLAN, max_length=session.data.max_length, dtype="bf16", base_dtype=weight_dtype)
    found = evaluate_base_model(session, plan)
    assert found == evaluate_base_model(session, plan), "it is written down"
    assert found.answers_seconds > 0
    assert (found.validation_seconds > 0) == (plan.loaded_dtype == "bf16")
