"""Answers to validation rows: as many as the time allows."""

import math
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.models.loading import load_generator
from proxtune.tasks.base import ModelAtHand
from proxtune.tasks.generation import validation_answers
from proxtune.tasks.generation.objective import ANSWERS
from proxtune.tasks.generation.task import TRANSLATE
from proxtune.tasks.generation.validation_answers import VALIDATION_ANSWERS
from support.generating import toy_data


@pytest.mark.parametrize(
    ("left", "count"),
    [
        (float("inf"), VALIDATION_ANSWERS),
        (1500.0, VALIDATION_ANSWERS),
        (490.0, 22),  # 20.4 seconds, of which each row takes half a second and 0.02 for each of 20 tokens
        (60.0, 16),  # that takes longer, but fewer could not tell
    ],
)
def test_the_base_model_answers_in_a_share_of_the_time_that_is_left(monkeypatch, left, count):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def answers(at_hand, rows, settings):
        now[0] += 0.5 * len(rows) + (0.01 + 0.02 * len(rows)) * settings.new_tokens
        return dict.fromkeys(range(len(rows)), "an answer")

    monkeypatch.setattr(validation_answers, "_answers", answers)
    monkeypatch.setattr(validation_answers, "_settings", lambda data, rows: Settings(20))
    rows = Encoded(np.zeros(200, np.int32), np.arange(201), np.zeros(0, np.int64), 0, objective=ANSWERS)
    base = SimpleNamespace(data=SimpleNamespace(validation=rows))
    found = TRANSLATE.base_results(base, left, lambda rows: np.full((len(rows), 2), 3.0))
    assert found["metrics"]["loss"] == 1.0
    assert len(found["answers"]) == count
    assert found["seconds"] == pytest.approx(0.5 * count + 20 * (0.01 + 0.02 * count))


@dataclass(frozen=True)
class Settings:
    new_tokens: int


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(4, 64), st.integers(1, 300))
def test_what_answering_takes_follows_from_few_rows_and_tokens(reading, token, each, rows, tokens):
    def true(rows, tokens):
        return reading * rows + (token + each * rows) * tokens

    tried = {(count, of): true(count, of) for count in (4, 16) for of in (2, 10)}
    assert validation_answers.answering_seconds(tried, rows, tokens) == pytest.approx(true(rows, tokens), abs=1e-6)


def test_noise_makes_no_time_negative():
    tried = {(4, 2): 1.0, (4, 10): 0.9, (16, 2): 0.5, (16, 10): 0.4}
    assert validation_answers.answering_seconds(tried, 4, 100) >= 0


def test_answers_that_are_judged_end_a_little_after_the_longest_that_is_wanted(tiny_t5, tiny_pairs):
    from proxtune.config.recipe import Recipe
    from proxtune.data.batching import padded

    recipe = Recipe(data=str(tiny_pairs), out="", task="translate", model=str(tiny_t5))
    data = TRANSLATE.encode(recipe, TRANSLATE.read(recipe), tiny_t5)
    longest = int(data.validation.answer_lengths.max())
    settings = validation_answers._settings(replace(data, new_tokens=500), data.validation)
    assert settings.new_tokens == padded(math.ceil(1.25 * longest))
    assert validation_answers._settings(replace(data, new_tokens=3), data.validation).new_tokens == 3


def held_bytes(shape):
    return 2 * 4 * np.prod(shape)


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_the_largest_piece_and_what_is_still_to_come_are_what_answering_holds(
    tiny_chat, tiny_pairs, monkeypatch, micro_batch
):
    """The cache of the dry run and the bytes that it says will come are those of the real answers at their largest."""
    data = toy_data(tiny_chat, tiny_pairs)
    data = replace(data, new_tokens=200)
    monkeypatch.setattr(validation_answers, "_LONGER_THAN_WANTED", 1e3)
    plan = Plan("full", "fp32", 8, micro_batch, 40, False, "adamw", 1e-3, 1.0, 0, 0)
    model, seen = load_generator(tiny_chat, data.config).eval(), []
    own = model.forward

    def forward(**given):
        found = own(**given)
        seen.append(sum(held_bytes(layer.keys.shape) for layer in given["past_key_values"].layers))
        return found

    model.forward = forward
    at_hand = ModelAtHand(model=model, plan=plan, data=data, governor=Governor(None, ProcessMeter()), dtype="fp32")
    to_come = validation_answers.try_largest_piece(at_hand)
    begun, _ = max(seen), seen.clear()
    validation_answers.validation_answers(at_hand, VALIDATION_ANSWERS)
    assert begun < max(seen) <= begun + to_come
