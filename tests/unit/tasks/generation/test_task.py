"""Generation as a task: as many answers as the time allows, and as many again after training."""

import time
from types import SimpleNamespace

import pytest

from proxtune.tasks.generation import task as generation
from proxtune.tasks.generation.objective import HEAD_BYTES
from proxtune.tasks.generation.task import SUMMARIZE, TRAITS, TRANSLATE, VALIDATION_ANSWERS


@pytest.mark.parametrize(
    ("left", "each", "count"),
    [
        (float("inf"), 9.0, VALIDATION_ANSWERS),
        (1000.0, 0.5, VALIDATION_ANSWERS),
        (240.0, 2.0, 10),  # 20 seconds of 240
        (160.0, 100.0, 4),
    ],
)
def test_the_base_model_answers_in_a_twelfth_of_the_time_that_is_left(monkeypatch, left, each, count):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def answers(at_hand, rows):
        now[0] += each * rows
        return ["an answer"] * rows

    monkeypatch.setattr(generation, "_validation_answers", answers)
    found = TRANSLATE.base_results(None, left)
    assert len(found["answers"]) == count
    assert found["seconds"] == each * count


@pytest.mark.parametrize(("base", "count"), [(None, VALIDATION_ANSWERS), ({"answers": ["one", "other"]}, 2)])
def test_the_final_model_answers_as_many_rows_as_the_base_model_did(monkeypatch, base, count):
    monkeypatch.setattr(generation, "_validation_answers", lambda at_hand, rows: ["an answer"] * rows)
    monkeypatch.setattr(generation, "_set_generation_defaults", lambda model, data: None)
    monkeypatch.setattr(generation, "_own", lambda data: data)
    final = SimpleNamespace(model=None, data=None)
    assert len(SUMMARIZE.results(final, None, base)["answers"]) == count


def test_the_heads_bytes_are_those_of_the_objective():
    assert TRAITS.head_bytes == HEAD_BYTES


@pytest.mark.parametrize("cut", [0, 3])
def test_new_rows_are_cut_where_those_were_that_were_learned_and_only_then(tiny_t5, tiny_pairs, cut):
    from proxtune.config.recipe import Recipe

    recipe = Recipe(data=str(tiny_pairs), out="", task="translate", model=str(tiny_t5))
    rows = TRANSLATE.read_inputs(recipe, ["red green blue " * 9], None)
    told = {"instruction": "", "new_tokens": 4, "truncated_rows": cut, "max_length": 16}
    trained = TRANSLATE.load_trained(tiny_t5, recipe, rows, result={"data": told}, model=SimpleNamespace())
    assert (int(trained.rows.lengths[0]) <= 16) is (cut > 0)
