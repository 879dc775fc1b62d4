"""Generated answers are the likeliest tokens one after another, however many rows are answered at a time."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from proxtune.data.dataset import select_rows
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.models.loading import load_generator
from proxtune.tasks.generation.dataset import settings_of
from proxtune.tasks.generation.decoding import (
    AnswerStreamer,
    GenerationSettings,
    cache_bytes,
    generate_answers,
    tokens_in_room,
)
from support.generating import toy_data


def slow(model, data, row, how):
    """The answer to one row, without a cache."""
    apart = data.answers is not None
    prompt = data.ids[data.starts[row] :][: data.begins[row] if not apart else data.starts[row + 1] - data.starts[row]]
    asked = torch.from_numpy(prompt.astype(np.int64))[None]
    said = torch.full((1, 1), model.config.decoder_start_token_id) if apart else asked
    new = []
    for _ in range(how.new_tokens):
        given = {"input_ids": asked, "decoder_input_ids": said} if apart else {"input_ids": said}
        token = int(model(**given).logits[0, -1].argmax())
        if token in how.stop_ids:
            break
        new.append(token)
        said = torch.cat([said, torch.tensor([[token]])], 1)
    return how.tokenizer.decode(new, skip_special_tokens=True).strip()


@pytest.mark.parametrize("tokens", [1, 200, 10_000])
def test_answers_are_those_of_one_row_alone_without_a_cache(tiny_generator, tiny_pairs, tokens):
    task = toy_data(tiny_generator, tiny_pairs)
    model = load_generator(tiny_generator, task.config).eval()
    rows, settings = select_rows(task.validation, np.arange(6)), settings_of(task)
    found = dict(generate_answers(model, rows, settings, "fp32", tokens, Governor(None, ProcessMeter())))
    with torch.no_grad():
        assert [found[row] for row in range(6)] == [slow(model, rows, row, settings) for row in range(6)]


def test_no_frozen_head_is_copied_for_each_row(tiny_chat, tiny_pairs):
    """torch multiplies a slice with frozen weights as a batch of products, each with a copy of the weights."""
    task = toy_data(tiny_chat, tiny_pairs)
    model, seen = load_generator(tiny_chat, task.config).eval().requires_grad_(False), []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda module, given, found: seen.append(given[0].is_contiguous()))
    rows = select_rows(task.validation, np.arange(6))
    list(generate_answers(model, rows, settings_of(task), "fp32", 10_000, Governor(None, ProcessMeter())))
    assert len(seen) > 1
    assert all(seen)
    assert not head._forward_pre_hooks, "the model is as it was"


def test_a_refusal_halves_the_rows_and_one_row_too_much_is_a_memory_error(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = load_generator(tiny_chat, task.config).eval()
    rows, settings = select_rows(task.validation, np.arange(8)), settings_of(task)
    governor = Governor(None, ProcessMeter())
    whole = dict(generate_answers(model, rows, settings, "fp32", 10_000, governor))
    asked, real = [], model.forward

    def refusing(most):
        def forward(**given):
            asked.append(len(given["input_ids"]))
            if len(given["input_ids"]) > most:
                raise RuntimeError("could not create a primitive")
            return real(**given)

        return forward

    model.forward = refusing(2)
    assert dict(generate_answers(model, rows, settings, "fp32", 10_000, governor)) == whole
    assert max(asked) == 8
    model.forward = refusing(0)
    with pytest.raises(MemoryError, match="one answer"):
        list(generate_answers(model, rows, settings, "fp32", 10_000, governor))


def test_the_cache_of_a_token_is_a_key_and_a_value_in_each_block(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = load_generator(tiny_chat, task.config).eval()
    with torch.no_grad():
        made = model(input_ids=torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in made.layers)
    assert cache_bytes(task.config, "fp32") == held / 5


def test_a_state_does_not_grow_and_heads_may_differ_by_layer():
    from transformers import MambaConfig

    assert cache_bytes(MambaConfig(hidden_size=16, num_hidden_layers=2), "fp32") == 0
    config = SimpleNamespace(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=[1, 2])
    config.get_text_config = lambda decoder=False: config
    assert cache_bytes(config, "bf16") == 2 * 2 * 2 * 4 * 2


def test_the_cache_of_layers_that_differ_is_counted_by_the_widest():
    from transformers import Gemma4TextConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Gemma4TextConfig(
        **sizes, head_dim=8, global_head_dim=16, layer_types=["sliding_attention", "full_attention"]
    )
    assert cache_bytes(config, "fp32") == 2 * 2 * 2 * 16 * 4


def test_rows_that_may_not_be_filled_up_are_answered_by_length(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model, governor = load_generator(tiny_chat, task.config).eval(), Governor(None, ProcessMeter(), 0)
    some = select_rows(task.train, np.arange(6))
    shapes, own = [], model.generate

    def generate(**asked):
        shapes.append(bool(asked["attention_mask"].all()))
        return own(**asked)

    model.generate = generate
    how = replace(settings_of(task), new_tokens=3)
    together = dict(generate_answers(model, some, how, "fp32", 10_000, governor))
    assert not shapes, "rows that may be filled up have slots of a cache of our own"
    alone = dict(generate_answers(model, some, replace(how, pads=False), "fp32", 10_000, governor))
    assert all(shapes), "no row has padding"
    assert alone == together


def test_rows_that_a_model_mixes_are_answered_one_at_a_time(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model, governor = load_generator(tiny_chat, task.config).eval(), Governor(None, ProcessMeter(), 0)
    some, counts, own = select_rows(task.train, np.arange(6)), [], model.forward

    def forward(**asked):
        counts.append(len(asked["input_ids"]))
        return own(**asked)

    model.forward = forward
    how = replace(settings_of(task), new_tokens=3)
    together = dict(generate_answers(model, some, how, "fp32", 10_000, governor))
    assert max(counts) > 1
    counts.clear()
    assert dict(generate_answers(model, some, replace(how, batches=False), "fp32", 10_000, governor)) == together
    assert set(counts) == {1}


def test_generating_leaves_the_model_training_as_it_was(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = load_generator(tiny_chat, task.config).train()
    settings = GenerationSettings(task.tokenizer, task.pad_id, task.prompt_format.stop_ids, 2)
    few, governor = select_rows(task.validation, np.arange(2)), Governor(None, ProcessMeter())
    list(generate_answers(model, few, settings, "fp32", 10_000, governor))
    assert model.training


class Letters:
    """A tokenizer whose tokens are bytes, of which a letter may have several."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return bytes(ids).decode("utf-8", errors="replace")


def test_pieces_are_whole_letters_said_once_however_often_an_answer_begins():

    heard = []
    pieces = AnswerStreamer(Letters(), heard.append)
    words = " où est né l’été ? "
    for until in (5, 11, len(words.encode())):
        pieces.reset()
        pieces.put(torch.tensor([[1, 2, 3]]))  # what was asked
        for byte in words.encode()[:until]:
            pieces.put(torch.tensor([byte]))
        pieces.end()
        assert "".join(heard) == words.encode()[:until].decode(errors="ignore").strip()
    assert all(piece and "\ufffd" not in piece for piece in heard)


@pytest.mark.parametrize(("places", "expected"), [(None, 100), (0, 100), (450, 150), (10**6, 8192)])
def test_a_trained_model_answers_in_the_room_that_is_left_under_the_limit(tiny_chat, tiny_pairs, places, expected):
    task = toy_data(tiny_chat, tiny_pairs)
    model, settings = load_generator(tiny_chat, task.config), settings_of(task)
    spare_bytes = None if places is None else places * cache_bytes(task.config, "fp32")
    governor = SimpleNamespace(meter=SimpleNamespace(spare=lambda: spare_bytes))
    assert tokens_in_room(model, task.validation, settings, 100, governor) == expected
    one_at_a_time = replace(settings, batches=False)
    assert tokens_in_room(model, task.validation, one_at_a_time, 100, governor) == 100, "generate is given what it was"
