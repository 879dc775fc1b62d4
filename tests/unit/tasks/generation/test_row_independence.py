"""Models whose answer to a row depends on padding or on other rows are found out; others are not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    DeepseekV4Config,
    DeepseekV4ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from proxtune.data.dataset import Encoded, flat
from proxtune.errors import UserError
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.models.loading import load_generator
from proxtune.tasks.generation import row_independence
from proxtune.tasks.generation.decoding import GenerationSettings, generate_answers
from proxtune.tasks.generation.objective import ANSWERS
from proxtune.tasks.generation.row_independence import batches, pads
from support.generating import toy_data

_PAD, _WORDS = 0, 60


def a_deepseek():
    """Its cache sums up windows of 128 tokens, and asks no mask."""
    config = DeepseekV4Config(
        vocab_size=_WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, head_dim=16, q_lora_rank=16,
        o_lora_rank=16, o_groups=2, moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2, sliding_window=8,
        max_position_embeddings=512, pad_token_id=_PAD, eos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    return made(DeepseekV4ForCausalLM, config)


def an_rwkv():
    """The step that reads its state mixes the rows."""
    sizes = {"vocab_size": _WORDS, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 512}
    return made(RwkvForCausalLM, RwkvConfig(**sizes, pad_token_id=_PAD, eos_token_id=None))


def a_mamba():
    """Its state leaves out what the mask does."""
    sizes = {"vocab_size": _WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    return made(MambaForCausalLM, MambaConfig(**sizes, pad_token_id=_PAD, eos_token_id=None))


def a_recurrent_gemma():
    """Its recurrent layers take padding for tokens; of a new one, which embeds it as zeros, nothing shows."""
    config = RecurrentGemmaConfig(
        vocab_size=_WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, lru_width=32,
        pad_token_id=_PAD, eos_token_id=None,
    )  # fmt: skip
    return made(RecurrentGemmaForCausalLM, config)


def made(kind, config):
    torch.manual_seed(0)
    return kind(config).eval()


def asked(*lengths, begin=()):
    """Rows of so many tokens, all but the last of which is asked."""
    random = np.random.default_rng(0)
    rows = [np.concatenate([begin, random.integers(3, _WORDS, length)]).astype(np.int32) for length in lengths]
    ids, starts = flat(rows)
    return Encoded(
        ids=ids, starts=starts, labels=np.zeros(0), truncated=0, objective=ANSWERS, begins=np.diff(starts) - 1
    )


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (a_deepseek, (False, True)),
        (an_rwkv, (False, False)),
        (a_mamba, (True, True)),
        (a_recurrent_gemma, (False, True)),
    ],
)
def test_what_a_model_takes_is_found_out(model, found):
    model, rows = model(), asked(12, 20, 30)
    assert (pads(model, rows, _PAD), batches(model, rows, _PAD)) == found


@pytest.mark.parametrize("model", [a_deepseek, an_rwkv, a_mamba])
def test_with_that_every_answer_is_the_one_that_the_row_gets_alone(model):
    model, rows = model(), asked(131, 140, 131, 150, 135, 131)
    words = SimpleNamespace(batch_decode=lambda ids, skip_special_tokens: [str(row.tolist()) for row in ids])
    found = {"pads": pads(model, rows, _PAD), "batches": batches(model, rows, _PAD)}
    settings = GenerationSettings(words, _PAD, (_WORDS,), 12, **found)
    governor = Governor(None, ProcessMeter(), 0)
    answers = dict(generate_answers(model, rows, settings, "fp32", 10_000, governor))
    alone = dict(generate_answers(model, rows, settings, "fp32", 1, governor))
    assert answers == alone


def test_an_answer_that_could_end_at_once_hides_nothing():
    model = an_rwkv()
    model.generation_config.eos_token_id = list(range(_WORDS - 1))
    assert not batches(model, asked(12, 20), _PAD)


def test_a_usual_model_takes_both(tiny_generator, tiny_pairs):
    task = toy_data(tiny_generator, tiny_pairs)
    model = load_generator(tiny_generator, task.config).eval()
    assert pads(model, task.train, task.pad_id)
    assert batches(model, task.train, task.pad_id)


def test_padding_within_a_row_is_a_token_like_others():
    """As the end of a turn is in SmolLM2's chats."""
    sizes = {
        "vocab_size": _WORDS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    model = made(LlamaForCausalLM, LlamaConfig(**sizes, initializer_range=0.3, pad_token_id=_PAD, eos_token_id=None))
    rows = asked(12, 20)
    rows.ids[[4, 9, 15]] = _PAD
    assert pads(model, rows, _PAD)


def test_a_model_that_looks_ahead_cannot_learn_to_generate(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = load_generator(tiny_chat, task.config).eval()
    own = model.forward
    model.forward = lambda input_ids, **more: own(input_ids=input_ids.flip(1), **more)
    with pytest.raises(UserError, match="looks at what comes after"):
        pads(model, task.train, task.pad_id)


@pytest.mark.parametrize(("dtype", "same"), [(torch.float32, False), (torch.bfloat16, True)])
def test_what_weights_in_bf16_round_otherwise_is_no_difference(dtype, same):
    """SmolLM2 in bf16 says up to 0.018 of its largest logit otherwise of a row of another length."""
    logits = torch.tensor([[-3.0, 0, 10]])
    assert row_independence._alike(SimpleNamespace(dtype=dtype), logits, logits + 0.18) is same


def test_rows_that_begin_alike_are_told_apart_by_their_ends():
    rows = row_independence._two_rows(asked(5, 9, begin=[7] * 40))
    assert rows.shape == (2, 32)
    assert not np.array_equal(rows[0], rows[1])


def test_where_all_rows_are_alike_one_is_turned():
    ids, starts = flat([np.array([5, 6, 7, 8], dtype=np.int32)] * 3)
    rows = Encoded(ids=ids, starts=starts, labels=np.zeros(0), truncated=0, objective=ANSWERS, begins=np.full(3, 3))
    assert row_independence._two_rows(rows).tolist() == [[5, 6, 7], [7, 6, 5]]
