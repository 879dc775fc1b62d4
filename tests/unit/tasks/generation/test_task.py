"""Generation as a task: as many answers after training as before it, and rows cut as they were learned."""

from types import SimpleNamespace

import pytest

from proxtune.tasks.generation import task as generation
from proxtune.tasks.generation import validation_answers
from proxtune.tasks.generation.objective import HEAD_BYTES
from proxtune.tasks.generation.task import SUMMARIZE, TRAITS, TRANSLATE
from proxtune.tasks.generation.validation_answers import VALIDATION_ANSWERS


@pytest.mark.parametrize(("base", "count"), [(None, VALIDATION_ANSWERS), ({"answers": ["one", "other"]}, 2)])
def test_the_final_model_answers_as_many_rows_as_the_base_model_did(monkeypatch, base, count):
    monkeypatch.setattr(validation_answers, "validation_answers", lambda at_hand, rows: ["an answer"] * rows)
    monkeypatch.setattr(generation, "_set_generation_defaults", lambda model, data: None)
    monkeypatch.setattr(generation, "own_data", lambda data: data)
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


@pytest.mark.parametrize("told", [{}, {"pads": False}, {"batches": False}])
def test_new_rows_are_answered_together_where_those_of_the_run_were(tiny_t5, tiny_pairs, told):
    from proxtune.config.recipe import Recipe

    recipe = Recipe(data=str(tiny_pairs), out="", task="translate", model=str(tiny_t5))
    rows, facts = TRANSLATE.read_inputs(recipe, ["red green"], None), {"instruction": "", "new_tokens": 4, **told}
    trained = TRANSLATE.load_trained(tiny_t5, recipe, rows, result={"data": facts}, model=SimpleNamespace())
    found = {"pads": trained.settings.pads, "batches": trained.settings.batches}
    assert found == {"pads": True, "batches": True} | told
