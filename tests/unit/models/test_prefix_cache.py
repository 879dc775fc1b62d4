"""The shared prefix: a model that begins at a block answers as the whole one, and is whole again afterwards."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from proxtune.data.batching import collate
from proxtune.models.introspection import blocks_of
from proxtune.models.prefix_cache import hidden_at_block, starting_from_hidden


@pytest.fixture
def model_and_rows(tiny_folder, rows):
    model = AutoModelForSequenceClassification.from_pretrained(str(tiny_folder), use_safetensors=True).eval()
    model.config.pad_token_id = model.config.pad_token_id or 0
    ids, mask = collate(rows, torch.arange(6).numpy(), model.config.pad_token_id)
    return model, {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("first", [0, 1])
@torch.inference_mode()
def test_a_model_that_begins_at_a_block_answers_as_the_whole_one(model_and_rows, first):
    model, batch = model_and_rows
    blocks = blocks_of(model)[1]
    whole = model(**batch).logits
    hidden = hidden_at_block(blocks, first, lambda: model(**batch))
    assert hidden.shape == (*batch["input_ids"].shape, model.config.hidden_size)
    with starting_from_hidden(hidden, blocks, first):
        assert torch.equal(model(**batch).logits, whole)
        many = {name: tensor.repeat(3, 1) for name, tensor in batch.items()}
    with starting_from_hidden(hidden.repeat(3, 1, 1), blocks, first):
        torch.testing.assert_close(model(**many).logits, whole.repeat(3, 1))
    assert torch.equal(model(**batch).logits, whole)


@torch.inference_mode()
def test_blocks_before_it_compute_nothing_and_blocks_behind_it_are_not_come_to(model_and_rows):
    model, batch = model_and_rows
    blocks, passed = blocks_of(model)[1], []
    for number, block in enumerate(blocks):
        inner = next(module for module in block.modules() if isinstance(module, torch.nn.Linear))
        inner.register_forward_hook(lambda *_, number=number: passed.append(number))
    hidden = hidden_at_block(blocks, 1, lambda: model(**batch))
    assert set(passed) == {0}
    passed.clear()
    with starting_from_hidden(hidden, blocks, 1):
        model(**batch)
    assert set(passed) == set(range(1, len(blocks)))


@torch.inference_mode()
def test_blocks_that_hand_on_more_than_hidden_states_share_nothing(model_and_rows):
    model, batch = model_and_rows
    blocks = blocks_of(model)[1]
    whole = model(**batch).logits
    blocks[0].register_forward_hook(lambda block, inputs, output: (output, None))
    assert hidden_at_block(blocks, 1, lambda: model(**batch)) is None
    blocks[0]._forward_hooks.clear()
    with starting_from_hidden(None, blocks, 1):
        assert torch.equal(model(**batch).logits, whole)


@torch.inference_mode()
def test_a_pass_that_fails_leaves_the_model_whole(model_and_rows):
    model, batch = model_and_rows
    blocks = blocks_of(model)[1]
    whole = model(**batch).logits
    with pytest.raises(RuntimeError), starting_from_hidden(torch.zeros(1), blocks, 1):
        raise RuntimeError("refused")
    assert torch.equal(model(**batch).logits, whole)
    assert hidden_at_block(blocks, 1, lambda: None) is None, "the blocks were not called"
