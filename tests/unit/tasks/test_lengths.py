"""How long rows may be: what is asked for within what the model takes, in multiples of eight."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.config.recipe import Knobs, Recipe
from proxtune.data.dataset import Encoded
from proxtune.errors import UserError
from proxtune.tasks.classification.objective import LABELS
from proxtune.tasks.lengths import length_allowed, longest_row, useful_length


def recipe(max_length: int | None) -> Recipe:
    return Recipe(data="a.csv", out="", knobs=Knobs(max_length=max_length))


def model(tokens: int) -> Any:
    from transformers import BertConfig

    return BertConfig(max_position_embeddings=tokens, num_hidden_layers=1, hidden_size=4, num_attention_heads=1)


@pytest.mark.parametrize(
    ("asked", "most", "takes", "allowed"),
    [
        (None, None, 512, 512),
        (None, None, 514, 512),
        (None, 1024, 512, 512),
        (None, 100, 512, 104),
        (30, None, 512, 32),
        (30, 1024, 512, 32),
        (9999, None, 512, 512),
        (1, None, 512, 8),
    ],
)
def test_what_is_asked_for_within_what_the_model_takes(
    asked: int | None, most: int | None, takes: int, allowed: int
) -> None:
    assert length_allowed(recipe(asked), None, model(takes), most) == allowed


@given(st.none() | st.integers(1, 5000), st.none() | st.integers(1, 5000), st.integers(8, 5000))
def test_it_is_a_multiple_of_eight_that_the_model_takes(asked: int | None, most: int | None, takes: int) -> None:
    allowed = length_allowed(recipe(asked), None, model(takes), most)
    assert 8 <= allowed <= takes
    assert allowed % 8 == 0


def test_the_longest_row_of_all_parts_with_its_padding() -> None:
    def part(*lengths: int) -> Encoded:
        starts = np.cumsum([0, *lengths])
        return Encoded(
            ids=np.ones(starts[-1], np.int32), starts=starts, labels=np.zeros(0, int), truncated=0, objective=LABELS
        )

    assert longest_row(part(3, 9), part(5)) == 16
    assert longest_row(part(8)) == 8


def test_a_few_rows_that_are_far_longer_are_cut_and_others_not() -> None:
    usual = np.full(1000, 100)
    assert useful_length(np.append(usual, [140, 140]), 1024) == 140
    assert useful_length(np.append(usual, [900]), 1024) == 100
    assert useful_length(np.append(usual, np.full(100, 900)), 1024) == 900
    assert useful_length(np.append(usual, np.full(100, 900)), 512) == 512


@pytest.mark.parametrize("rows", [3, 20, 99, 201])
def test_one_of_few_rows_is_cut_as_well(rows: int) -> None:
    assert useful_length(np.append(np.full(rows - 1, 10), 8000), 8192) == 10


def test_a_model_that_takes_next_to_nothing_is_refused() -> None:
    from types import SimpleNamespace

    tokenizer = SimpleNamespace(model_max_length=4)
    with pytest.raises(UserError, match="rows of 4 tokens at most"):
        length_allowed(recipe(None), tokenizer, model(512))
