"""Answers of the own loop are those of `model.generate`, whatever leaves, waits or ends when; other models are left to it."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.tasks.generation.greedy.loop import can_decode, greedy_tokens

WORDS, PAD = 60, 0
_SIZES = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 256, "initializer_range": 0.3, "pad_token_id": PAD,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
USUAL = {
    "Llama": {},
    "Qwen2": {"use_sliding_window": False},
    "Qwen3": {"head_dim": 8},
    "Qwen3Moe": {"head_dim": 8, **_EXPERTS},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "Mistral": {"sliding_window": None},
    "Gemma": {"head_dim": 8},
    "Olmo2": {},
    "Granite": {},
    "SmolLM3": {"use_sliding_window": False, "layer_types": ["full_attention"] * 2, "no_rope_layers": [1, 0]},
}
OTHERS = {
    "Mistral": {"sliding_window": 8},  # a window
    "Gemma2": {"head_dim": 8},  # a cap on the logits, and windows
    "GptOss": {"head_dim": 8, "num_local_experts": 4},  # sinks
    "GPT2": {},  # an attention of its own
    "Phi3": {"sliding_window": None},  # steps of its own
    "Bloom": {},  # no positions
    "Mamba": {"state_size": 4},  # a state
    "Jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4},
}


def tiny(family, **more):
    torch.manual_seed(0)
    kind = getattr(transformers, "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")
    return kind(getattr(transformers, f"{family}Config")(**{**_SIZES, **more})).eval()


def prompts_of(lengths, begin=(), seed=0):
    random = np.random.default_rng(seed)
    return [np.array([*begin, *random.integers(3, WORDS, length)], dtype=np.int32) for length in lengths]


@torch.inference_mode()
def twin(model, prompts, new_tokens, stop_ids, streamer=None):
    """What `generate` says to each prompt alone."""
    said = []
    for ids in prompts:
        asked = torch.from_numpy(ids.astype(np.int64))[None]
        made = model.generate(
            input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=new_tokens, do_sample=False,
            pad_token_id=PAD, eos_token_id=list(stop_ids), streamer=streamer,
        )  # fmt: skip
        said.append(made[0, len(ids) :].tolist())
    return said


@torch.inference_mode()
def ours(model, prompts, new_tokens, stop_ids, most_tokens, streamer=None):
    return greedy_tokens(model, prompts, new_tokens, stop_ids, most_tokens, streamer)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", USUAL)
def test_the_answers_are_those_of_generate(family, attention):
    model = tiny(family, **USUAL[family])
    model.config._attn_implementation = attention
    assert can_decode(model)
    prompts, stops = prompts_of([1, 2, 5, 9, 14, 14, 20], begin=[5, 6, 7]), (8, 9, 10)
    for most_tokens in (100, 1000):
        assert ours(model, prompts, 24, stops, most_tokens) == twin(model, prompts, 24, stops)
    assert model.config._attn_implementation == attention, "the model is as it was"


@pytest.mark.parametrize("family", OTHERS)
def test_a_model_with_ways_of_its_own_is_left_to_generate(family):
    assert not can_decode(tiny(family, **OTHERS[family]))


def test_a_model_that_is_set_to_shape_its_answers_is_left_to_generate(tiny_t5):
    model = tiny("Llama")
    model.generation_config.repetition_penalty = 1.5
    assert not can_decode(model)
    assert not can_decode(transformers.AutoModelForSeq2SeqLM.from_pretrained(tiny_t5))


_MODEL: list = []


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    shared=st.integers(0, 4),
    most_tokens=st.integers(1, 400),
    new_tokens=st.integers(1, 50),
    stops=st.sets(st.integers(0, WORDS - 1), max_size=12),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_whatever_the_rows_and_the_room_are(lengths, shared, most_tokens, new_tokens, stops, seed):
    model = _MODEL[0] if _MODEL else _MODEL.append(tiny("Llama")) or _MODEL[0]
    prompts = prompts_of(lengths, begin=range(3, 3 + shared), seed=seed)
    stops = stops or {WORDS}
    assert ours(model, prompts, new_tokens, stops, most_tokens) == twin(model, prompts, new_tokens, stops)


def test_prompts_may_be_the_same_or_begin_one_another():
    model, ids = tiny("Llama"), np.arange(3, 12)
    for prompts in ([ids] * 5, [ids[:4], ids[:6], ids], [ids[:1], ids]):
        assert ours(model, prompts, 6, (1,), 25) == twin(model, prompts, 6, (1,))


def test_all_may_end_at_once():
    model, prompts = tiny("Llama"), prompts_of([4, 4, 6])
    assert [len(said) for said in ours(model, prompts, 9, range(WORDS), 50)] == [1, 1, 1]
    assert [len(said) for said in ours(model, prompts, 1, (WORDS,), 12)] == [1, 1, 1]


def test_rows_that_are_done_leave_the_batch_and_others_take_their_slots():
    model, rows = tiny("Llama"), []
    own = model.forward
    prompts = prompts_of([5] * 40, begin=[5, 6])
    said = twin(model, prompts, 30, (8, 9, 10, 11))
    model.forward = lambda **given: rows.append(tuple(given["input_ids"].shape)) or own(**given)
    assert ours(model, prompts, 30, (8, 9, 10, 11), 16 * 37) == said
    steps = [count for count, tokens in rows if tokens == 1]
    assert max(count for count, _ in rows) == 16
    assert sum(steps) < 1.5 * sum(map(len, said)), "few passes for rows that are done"
    assert set(steps[-3:]) < {1, 2, 4, 8}


class Heard:
    """A streamer: what it was given, in words."""

    def __init__(self):
        self.said = []

    def put(self, ids):
        self.said.append(ids.flatten().tolist())

    def end(self):
        self.said.append("end")


def test_rows_that_need_more_room_take_it_from_others():
    model, prompts = tiny("Llama"), prompts_of([5] * 12, begin=[5, 6])
    sizes, own = [], model.forward

    def forward(**given):
        found = own(**given)
        sizes.append(tuple(given["past_key_values"].layers[0].keys.shape))
        return found

    model.forward = forward
    said = ours(model, prompts, 100, (8, 9), 12 * 40)
    model.forward = own
    assert said == twin(model, prompts, 100, (8, 9))
    assert sizes[0][0] == 12
    assert max(room for _, _, room, _ in sizes) == 107
    assert max(rows * room for rows, _, room, _ in sizes) <= 12 * 40
    assert any(rows < 6 for rows, *_ in sizes)


def test_a_streamer_hears_what_generate_tells_it():
    model, prompts, heard, theirs = tiny("Llama"), prompts_of([5]), Heard(), Heard()
    ours(model, prompts, 6, (1,), 40, heard)
    twin(model, prompts, 6, (1,), theirs)
    assert heard.said == theirs.said


def test_the_model_is_as_it_was_after_an_error():
    model, own = tiny("Llama"), LookupError("for a test")

    def failing(**given):
        raise own

    model.forward = failing
    with pytest.raises(LookupError):
        ours(model, prompts_of([3]), 2, (1,), 1)
    assert model.config._attn_implementation in ("sdpa", "eager")


def test_weights_in_bf16_say_nearly_the_same():
    model, prompts = tiny("Llama").to(torch.bfloat16), prompts_of([3, 4, 5, 6, 7, 8, 9, 10], begin=[5, 6, 7])
    said, known = ours(model, prompts, 8, (1,), 60), twin(model, prompts, 8, (1,))
    assert sum(one == other for one, other in zip(said, known, strict=True)) >= 6
