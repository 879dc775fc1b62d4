"""The rows of text generation: how answers to them are generated."""

from dataclasses import replace

import pytest

from proxtune.tasks.base import TaskData
from proxtune.tasks.generation.dataset import own_data, settings_of
from support.generating import toy_data


def test_answers_are_generated_as_the_rows_say(tiny_t5, tiny_pairs):
    data = toy_data(tiny_t5, tiny_pairs)
    settings = settings_of(data)
    assert (settings.pad_id, settings.new_tokens) == (data.pad_id, data.new_tokens)
    assert settings.stop_ids == data.prompt_format.stop_ids
    assert (settings.pads, settings.batches) == (True, True)


@pytest.mark.parametrize("apart", ["pads", "batches"])
def test_what_a_model_does_not_take_is_left_out_of_how_it_is_asked(tiny_t5, tiny_pairs, apart):
    data = toy_data(tiny_t5, tiny_pairs)
    assert getattr(settings_of(replace(data, **{apart: False})), apart) is False


def test_rows_of_another_task_are_a_fault_of_ours():
    with pytest.raises(AssertionError, match="encoded by this task"):
        own_data(object.__new__(TaskData))
