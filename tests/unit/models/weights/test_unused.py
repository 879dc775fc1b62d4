"""Weights that a model has no place for: heads of other tasks are of no matter, layers of the body are."""

import pytest

from proxtune.models.weights.unused import listed, sort_unused

BERT = {"vocab_size": 60, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture(scope="module")
def bert():
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**BERT))


@pytest.mark.parametrize(
    "name",
    [
        "cls.predictions.transform.dense.weight",  # heads of other tasks
        "qa_outputs.weight",
        "classifier.dense.weight",
        "classifier.out_proj.bias",
        "bert.embeddings.position_ids",  # buffers of older versions
        "bert.encoder.layer.0.attention.self.masked_bias",
        "embeddings.position_ids",
    ],
)
def test_heads_of_other_tasks_and_buffers_are_of_no_matter(bert, name):
    unused = sort_unused(bert, {name})
    assert (unused.dropped, unused.notes) == ((), ())


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_layers_of_the_body_are_dropped_each_named_once_in_order(bert, prefix):
    names = {f"{prefix}encoder.layer.{number}.output.{name}" for number in (2, 10) for name in ("dense.weight", "bias")}
    assert sort_unused(bert, names).dropped == (f"{prefix}encoder.layer.2", f"{prefix}encoder.layer.10")


def test_a_weight_of_a_layer_that_is_there_without_it_is_dropped():
    from transformers import LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(LlamaConfig(**BERT))
    unused = sort_unused(llama, {"model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.bias"})
    assert unused.dropped == ("model.layers.0.self_attn.q_proj.bias",)


def test_a_pooler_that_the_class_does_without_is_of_no_matter():
    from transformers import RobertaConfig, RobertaForSequenceClassification

    unused = sort_unused(RobertaForSequenceClassification(RobertaConfig(**BERT)), {"roberta.pooler.dense.weight"})
    assert (unused.dropped, unused.notes) == ((), ())


def test_a_part_of_the_checkpoint_that_no_body_has_is_told(bert):
    unused = sort_unused(bert, {"bert.vision.proj.weight", "tower.layers.0.weight", "tower.layers.1.weight"})
    assert unused.dropped == ()
    assert unused.notes == ("weights of the files that this model has no use for: bert.vision, tower",)


def test_an_encoder_decoder_is_its_own_body():
    from transformers import T5Config, T5ForConditionalGeneration

    t5 = T5ForConditionalGeneration(T5Config(vocab_size=60, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    unused = sort_unused(t5, {"encoder.block.1.layer.0.SelfAttention.q.weight", "classification_head.dense.weight"})
    assert unused.dropped == ("encoder.block.1",)


@pytest.mark.parametrize(("part", "dropped"), [("eh_proj", ()), ("mlp", ("model.layers.2",))])
def test_a_block_that_predicts_further_ahead_is_told_and_a_plain_one_is_not_taken_for_it(part, dropped):
    from transformers import LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(LlamaConfig(**BERT, num_nextn_predict_layers=1))
    unused = sort_unused(llama, {"model.layers.2.mlp.up_proj.weight", f"model.layers.2.{part}.weight"})
    assert unused.dropped == dropped
    assert (unused.beside == ("model.layers.2",)) == (not dropped)


def test_of_many_names_the_first_are_listed():
    assert listed("abcd") == "a, b, c and 1 more"
    assert listed("a") == "a"
