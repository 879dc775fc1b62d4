"""Generation as a task: as many answers after training as before it, and rows cut as they were learned."""

from types import SimpleNamespace

import numpy as np
import pytest

from proxtune.data.dataset import Encoded, evenly_spaced_rows
from proxtune.data.examples import Message, Pairs
from proxtune.tasks.generation import validation_answers
from proxtune.tasks.generation.objective import ANSWERS, HEAD_BYTES
from proxtune.tasks.generation.task import SUMMARIZE, TRAITS, TRANSLATE
from proxtune.tasks.generation.validation_answers import VALIDATION_ANSWERS


@pytest.mark.parametrize(("base", "count"), [(None, VALIDATION_ANSWERS), ({"answers": ["one", "other"]}, 2)])
def test_the_final_model_answers_as_many_rows_as_the_base_model_did(monkeypatch, base, count):
    monkeypatch.setattr(validation_answers, "validation_answers", lambda at_hand, rows: ["an answer"] * rows)
    rows = Encoded(np.zeros(200, np.int32), np.arange(201), np.zeros(0, np.int64), 0, objective=ANSWERS)
    final = SimpleNamespace(model=None, data=SimpleNamespace(validation=rows))
    outputs = np.stack([np.arange(200.0), np.ones(200)], axis=1)  # (rows, loss and tokens)
    found = SUMMARIZE.results(final, outputs, base)
    assert len(found["answers"]) == count
    assert found["judged_metrics"]["loss"] == pytest.approx(evenly_spaced_rows(200, count).mean())


@pytest.mark.parametrize(
    ("answers", "loss", "lost"),
    [(["the red house"] * 2, 9.0, None), (["blue"] * 2, 1.0, "-100.0 ± 0.0 ROUGE-L on 2 answers")],
)  # fmt: skip
def test_what_was_learned_is_compared_with_the_base_model_on_the_same_rows(answers, loss, lost):
    asked = [(Message("user", "a text"),)] * 3
    wanted = ["the red house", "not asked", "the red house"]
    validation = Pairs(prompts=asked, answers=wanted, source="", lines=[1, 2, 3], columns=())
    data = SimpleNamespace(split=SimpleNamespace(validation=validation))
    other = ["the red house" if lost else "blue"] * 2
    base = {"answers": other, "metrics": {"loss": 2.0}}
    assert SUMMARIZE.lost_to_base(data, {"answers": answers, "judged_metrics": {"loss": loss}}, base) == lost


def test_the_saved_generation_settings_are_those_of_the_scored_answers(tiny_t5, tiny_pairs):
    from proxtune.config.recipe import Recipe

    recipe = Recipe(data=str(tiny_pairs), out="", task="translate", model=str(tiny_t5))
    data = TRANSLATE.encode(recipe, TRANSLATE.read(recipe), tiny_t5)
    model = TRANSLATE.load_model(tiny_t5, data, 0)
    TRANSLATE.set_defaults(model, data)
    config = model.generation_config
    assert (config.do_sample, config.max_new_tokens, config.pad_token_id) == (False, data.new_tokens, data.pad_id)
    assert config.eos_token_id == list(data.prompt_format.stop_ids)


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
