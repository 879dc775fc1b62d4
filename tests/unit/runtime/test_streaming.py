"""Streamed weights: the same numbers as resident ones, and no more than a block of them in memory."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from proxtune.memory.lean_imports import import_peft
from proxtune.memory.mapped_files import can_let_go
from proxtune.memory.process import resident_bytes
from proxtune.models.introspection import enable_checkpointing
from proxtune.runtime.streaming import stream_weights

pytestmark = [
    pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`", "ignore:fan_in_fan_out"),  # peft's own
]
SIZES = {
    "vocab_size": 3000,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
IDS = torch.arange(48).reshape(2, 24) % 3000


@pytest.fixture(scope="module", params=["tied", "untied"])
def folder(request, tmp_path_factory):
    """A decoder of 4 blocks of 10 MB each, in two shards."""
    place = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=request.param == "tied")).save_pretrained(
        place, max_shard_size="25MB"
    )
    return place


def adapted(folder, streamed):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
    stream = stream_weights(model, folder) if streamed else None
    assert (stream is not None) == streamed
    torch.manual_seed(1)
    config = import_peft().LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    return import_peft().get_peft_model(model, config), stream


def steps(model, checkpointing=False, count=3):
    """Losses of a few steps, and the adapters after them."""
    if checkpointing:
        assert enable_checkpointing(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(count):
        loss = model.train()(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, [p.detach().clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_adapters_are_those_of_resident_weights_bit_for_bit(folder, checkpointing):
    resident, streamed = (steps(adapted(folder, way)[0], checkpointing) for way in (False, True))
    assert streamed[0] == resident[0]
    assert streamed[0][-1] < streamed[0][0]
    assert all(torch.equal(a, b) for a, b in zip(streamed[1], resident[1], strict=True))


def test_answers_are_the_same(folder):
    said = [
        adapted(folder, way)[0].generate(input_ids=IDS[:, :8], max_new_tokens=6, do_sample=False).tolist()
        for way in (False, True)
    ]
    assert said[0] == said[1]


def test_no_more_than_a_block_or_a_table_is_in_memory(folder):
    model, stream = adapted(folder, True)
    steps(model, count=1)
    seen = []
    for block in model.get_base_model().model.layers:
        block.register_forward_hook(lambda *_: seen.append(resident_bytes()))
    stream.leave()
    empty = resident_bytes()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    largest = max(part.bytes for part in stream.parts)
    whole = sum(p.nbytes for p in model.parameters())
    assert whole > 3 * largest
    assert max(seen) - empty < 2 * largest, "beside it a few activations"
    assert resident_bytes() - empty < 2 * largest


def test_weights_that_were_converted_when_they_were_loaded_are_not_streamed(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).requires_grad_(False)
    assert stream_weights(model, folder) is None
    trained = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert stream_weights(trained, folder) is None, "all of it learns"


def test_both_halves_of_an_encoder_decoder_are_streamed(tmp_path):
    torch.manual_seed(0)
    T5ForConditionalGeneration(
        T5Config(vocab_size=3000, d_model=256, d_kv=64, d_ff=1024, num_layers=2, num_heads=4, decoder_start_token_id=0)
    ).save_pretrained(tmp_path)
    said = []
    for streamed in (False, True):
        model = T5ForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).requires_grad_(False).eval()
        if streamed:
            assert len(stream_weights(model, tmp_path).parts) == 2 + 4
        said.append(model(input_ids=IDS, decoder_input_ids=IDS[:, :5]).logits)
    assert torch.equal(*said)
