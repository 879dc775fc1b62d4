"""Steps by gradients: the plain gradient however a batch is cut, and smaller steps where memory is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from proxtune.memory.allocator import c_library
from proxtune.models.introspection import enable_checkpointing
from proxtune.training.gradient_step import gradient_of, step_down
from proxtune.training.memory_retry import micro_batch_label
from support.trainings import PLAN, NoCheckpoints, even_words, gradients, prepared_model, training_of, words_of


@pytest.mark.parametrize("micro_batch", [1, 3, 24])
def test_the_gradient_is_the_plain_one_however_the_batch_is_cut(tiny_folder, tiny_texts, micro_batch):
    data, model = words_of(tiny_texts, tiny_folder), prepared_model(tiny_folder, PLAN)
    loss = gradient_of(model, data, np.arange(24), replace(PLAN, micro_batch=micro_batch), model.config.pad_token_id)
    found = gradients(model)

    # the obvious way: row by row, no padding, the mean of the rows' losses
    model.zero_grad()
    losses = []
    for row in range(24):
        ids = torch.tensor(data.ids[None, data.starts[row] : data.starts[row + 1]], dtype=torch.long)
        logits = model(input_ids=ids).logits
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(data.labels[row : row + 1])))
    mean = torch.stack(losses).mean()
    mean.backward()
    assert loss == pytest.approx(mean.item(), rel=1e-5)
    np.testing.assert_allclose(found, gradients(model), rtol=1e-3, atol=1e-6)


def test_gradients_of_two_batches_add_up(tiny_model, tiny_texts):
    data, model = words_of(tiny_texts, tiny_model), prepared_model(tiny_model, PLAN)
    pad = model.config.pad_token_id
    gradient_of(model, data, np.arange(24), PLAN, pad)
    once = gradients(model)
    gradient_of(model, data, np.arange(24), PLAN, pad)
    np.testing.assert_allclose(gradients(model), 2 * once, rtol=1e-3, atol=1e-6)


def test_checkpointing_changes_no_gradient(tiny_folder, tiny_texts):
    data, found = words_of(tiny_texts, tiny_folder), []
    for checkpointing in (False, True):
        model = prepared_model(tiny_folder, PLAN).train()
        assert not checkpointing or enable_checkpointing(model)
        gradient_of(model, data, np.arange(8), PLAN, model.config.pad_token_id)
        found.append(gradients(model))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("streams", [False, True])
def test_steps_go_down_to_one_row_to_checkpointing_to_streamed_weights_to_a_heap_without_holes(tiny_folder, streams):
    model, plan, seen = prepared_model(tiny_folder, PLAN), replace(PLAN, micro_batch=8), []
    training = training_of(model, even_words(), PLAN, NoCheckpoints(), stream_weights=lambda: streams)
    while (smaller := step_down(plan, training)) is not None:
        plan = smaller
        seen.append(micro_batch_label(plan).removeprefix("micro-batch "))
    more = " with checkpointing" + (" with streamed weights" if streams else "")
    assert seen[:4] == ["4", "2", "1", "1 with checkpointing"]
    assert seen[4:] == [f"1{more}"] * streams + ([f"1{more} with the tight allocator"] if c_library() else [])
    assert plan.batch == PLAN.batch


def test_something_may_be_done_before_each_micro_batch(tiny_model):
    plan, seen = replace(PLAN, micro_batch=2), []
    gradient_of(
        prepared_model(tiny_model, PLAN), even_words(), np.arange(8), plan, 0, before_each=lambda: seen.append(1)
    )
    assert len(seen) == 4
