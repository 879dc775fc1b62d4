"""The objective of text generation: the answers' tokens and no others, a part of the logits at a time."""

import numpy as np
import pytest
import torch

from proxtune.models.loading import load_generator
from proxtune.tasks.generation import objective
from support.generating import toy_data


def slow(model, data, row):
    """Σ −log P of one row's answer, by the model's own logits of a row that stands alone."""
    ids = torch.from_numpy(data.ids[data.starts[row] : data.starts[row + 1]].astype(np.int64))[None]
    if data.answers is None:
        begin = int(data.begins[row])
        chances = model(input_ids=ids).logits[0].float().log_softmax(-1)
        return -chances[torch.arange(begin - 1, ids.shape[1] - 1), ids[0, begin:]].sum()
    own = data.answers
    wanted = torch.from_numpy(own.ids[own.starts[row] : own.starts[row + 1]].astype(np.int64))[None]
    return model(input_ids=ids, labels=wanted).loss * wanted.numel()


@pytest.fixture
def case(tiny_generator, tiny_pairs):
    task = toy_data(tiny_generator, tiny_pairs)
    return task, load_generator(tiny_generator, task.config).eval()


@pytest.mark.parametrize("numbers", [1, 200, 2_000_000])
def test_what_is_said_of_rows_is_what_the_model_says_of_each_alone(case, monkeypatch, numbers):
    task, model = case
    monkeypatch.setattr(objective, "_CHUNK_NUMBERS", numbers)
    rows = np.array([3, 0, 17, 4, 9])
    with torch.no_grad():
        found = objective.outputs(model, task.train, rows, task.pad_id)
        wanted = torch.stack([slow(model, task.train, row) for row in rows])
    torch.testing.assert_close(found[:, 0], wanted, rtol=1e-4, atol=1e-4)
    assert found[:, 1].tolist() == task.train.answer_lengths[rows].tolist()


@pytest.mark.parametrize("numbers", [1, 200, 2_000_000])
def test_the_gradient_is_that_of_the_plain_loss(case, monkeypatch, numbers):
    task, model = case
    monkeypatch.setattr(objective, "_CHUNK_NUMBERS", numbers)
    rows = np.arange(6)
    loss = objective.loss(model, task.train, rows, task.pad_id, rows)
    loss.backward()
    fast = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    plain = sum(slow(model, task.train, row) for row in rows) / int(task.train.answer_lengths[rows].sum())
    plain.backward()
    torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(fast[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_a_batch_has_the_same_loss_however_it_is_cut(case):
    task, model = case
    whole = np.arange(8)
    with torch.no_grad():
        once = objective.loss(model, task.train, whole, task.pad_id, whole)
        pieces = [
            objective.loss(model, task.train, few, task.pad_id, whole) for few in (whole[:1], whole[1:4], whole[4:])
        ]
    torch.testing.assert_close(once, sum(pieces), rtol=1e-5, atol=1e-6)


def a_gemma(task, **more):
    """A tiny Gemma 2 for the rows of `task`, whose logits are capped."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(task.tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, intermediate_size=64, max_position_embeddings=64, final_logit_softcapping=0.2,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


def assert_the_gradient_is_plain(model, task):
    rows = np.arange(3)
    objective.loss(model, task.train, rows, task.pad_id, rows).backward()
    found = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    plain = sum(slow(model, task.train, row) for row in rows) / int(task.train.answer_lengths[rows].sum())
    plain.backward()
    torch.testing.assert_close(found, model.model.layers[0].mlp.up_proj.weight.grad, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        said = objective.outputs(model, task.train, rows, task.pad_id)
        wanted = torch.stack([slow(model, task.train, row) for row in rows])
    torch.testing.assert_close(said[:, 0], wanted, rtol=1e-4, atol=1e-4)


def test_a_capped_head_is_followed(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = a_gemma(task)
    assert_the_gradient_is_plain(model, task)
    assert objective._WAYS[model] == "head"


def test_logits_that_are_changed_in_an_unknown_way_are_left_to_the_model(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = a_gemma(task)
    model.config.final_logit_softcapping = None
    own = torch.linspace(-1, 1, len(task.tokenizer))  # as the biases of BART and Marian are
    model.lm_head.register_forward_hook(lambda layer, given, made: made * 3 + own)
    assert_the_gradient_is_plain(model, task)
    assert objective._WAYS[model] == "own"


def test_where_the_head_sees_something_else_than_the_rows_all_logits_are_taken(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    model = a_gemma(task)
    own = model.forward

    def forward(input_ids, attention_mask=None, use_cache=None):  # two passes through the head
        model.lm_head(model.get_input_embeddings()(input_ids))
        return own(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)

    model.forward = forward
    assert_the_gradient_is_plain(model, task)
    assert objective._WAYS[model] == "whole"


def test_scores_are_means_over_tokens_and_rank_by_likelihood(case):
    task, _ = case
    assert task.train.objective is objective.ANSWERS
    found = objective.score(np.array([[2.0, 4], [1.0, 2]]), task.train)
    assert found["loss"] == pytest.approx(0.5)
    assert found["perplexity"] == pytest.approx(np.exp(0.5))
    assert objective.rank({"loss": 0.5}) > objective.rank({"loss": 0.6})
