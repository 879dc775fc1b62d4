"""Rows have slots in the cache, with room for more: tokens go where they are told, and all of a row comes back."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MistralConfig

from proxtune.tasks.generation.greedy.cache import Slots, copy_slots, has_usual_cache, resize, slot_cache


def a_llama():
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2))


def test_tokens_go_where_they_are_told_and_all_of_a_row_comes_back():
    slots = Slots(rows=3, room=6)
    layer = slot_cache(a_llama(), slots).layers[0]
    read = torch.randn(2, 2, 4, 8)
    slots.first, slots.last = 1, 3
    keys, values = layer.update(read, -read)
    assert torch.equal(keys, read)
    assert torch.equal(values, -read)
    assert layer.keys.shape == (3, 2, 6, 8)
    slots.first, slots.last, slots.begin, slots.places = 0, 3, 5, torch.tensor([0, 5, 2])
    assert (layer.get_seq_length(), layer.get_mask_sizes(1)) == (5, (6, 0))
    slots.each, new = torch.arange(3), torch.randn(3, 2, 1, 8)
    keys, _ = layer.update(new, new)
    assert keys.shape == (3, 2, 6, 8)
    for row, place in enumerate([0, 5, 2]):
        assert torch.equal(keys[row, :, place], new[row, :, 0])
    assert torch.equal(keys[1, :, :4], read[0])
    assert not keys[0, :, 1:].any(), "nothing was written there"


def test_slots_are_copied_to_others():
    slots = Slots(rows=4, room=3, last=4)
    cache = slot_cache(a_llama(), slots)
    rows = torch.arange(4.0)[:, None, None, None].expand(4, 2, 3, 8)
    for layer in cache.layers:
        layer.update(rows, rows)
    copy_slots(cache, torch.tensor([3, 2]), torch.tensor([0, 1]), 2)
    assert cache.layers[1].values[:, 0, 0, 0].tolist() == [3, 2, 2, 3]
    assert cache.layers[1].values[:, 0, 2, 0].tolist() == [0, 1, 2, 3]
    copy_slots(cache, 1, slice(2, None), 3)
    assert cache.layers[0].keys[:, 0, 0, 0].tolist() == [3, 2, 2, 2]


def test_a_window_and_a_state_are_not_usual():
    class Stub:
        def __init__(self, config):
            self.config = config

    assert has_usual_cache(a_llama())
    assert not has_usual_cache(Stub(MistralConfig(sliding_window=8)))
    assert not has_usual_cache(Stub(MambaConfig(num_hidden_layers=2)))


def test_another_count_of_slots_keeps_the_rows_and_what_all_begin_with():
    slots = Slots(rows=2, room=4, last=2)
    cache = slot_cache(a_llama(), slots)
    resize(cache, slots, 3, 5, 0, 0)
    assert cache.layers[0].keys is None, "no memory before the first pass"
    slots.last, read = 3, torch.randn(3, 2, 4, 8)
    for layer in cache.layers:
        layer.update(read, read)
    resize(cache, slots, 4, 6, 2, 1)
    held = cache.layers[1].values
    assert (tuple(held.shape), slots.rows, slots.room) == ((4, 2, 6, 8), 4, 6)
    assert torch.equal(held[:2, :, :4], read[:2])
    assert torch.equal(held[2:, :, :1], read[:1, :, :1].expand(2, -1, -1, -1))
    assert not held[2:, :, 1:].any()
    assert not held[:, :, 4:].any()
