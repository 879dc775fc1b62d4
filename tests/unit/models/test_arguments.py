"""One way to call every model, whatever its class takes and whether it bears padding."""

import pytest

BERT = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def fnet():
    from transformers import FNetConfig, FNetForSequenceClassification

    return FNetForSequenceClassification(
        FNetConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, intermediate_size=24, tpu_short_seq_length=16)
    ).eval()


def padded_rows():
    """Rows of 5, 3 and 5 tokens, filled up to 8."""
    import torch

    ids = torch.randint(5, 60, (3, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros_like(ids)
    for row, length in enumerate((5, 3, 5)):
        mask[row, :length] = 1
    return ids * mask, mask


def test_a_class_without_a_mask_is_given_none():
    import torch

    from proxtune.models.arguments import with_plain_arguments

    class Unmasked(torch.nn.Module):
        def forward(self, input_ids):
            return input_ids + 1

    ids, mask = padded_rows()
    with pytest.raises(TypeError):
        Unmasked()(input_ids=ids, attention_mask=mask)
    assert torch.equal(with_plain_arguments(Unmasked())(input_ids=ids, attention_mask=mask), ids + 1)


def test_a_class_that_takes_all_stays_as_it_is():
    from transformers import BertConfig, BertForSequenceClassification

    from proxtune.models.arguments import with_plain_arguments

    model = with_plain_arguments(BertForSequenceClassification(BertConfig(**BERT)))
    assert "forward" not in vars(model)


def test_no_cache_is_kept_unless_it_is_asked_for():
    from transformers import LlamaConfig, LlamaForCausalLM

    from proxtune.models.arguments import with_plain_arguments

    model = with_plain_arguments(LlamaForCausalLM(LlamaConfig(**BERT, num_key_value_heads=1)))
    ids, mask = padded_rows()
    assert model(input_ids=ids, attention_mask=mask).past_key_values is None
    assert model(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values is not None


def test_rows_are_filled_up_to_whole_chunks_where_a_model_learns_only_from_those():
    from transformers import ReformerConfig, ReformerForSequenceClassification

    from proxtune.models.arguments import with_plain_arguments

    config = ReformerConfig(
        vocab_size=60, hidden_size=16, num_attention_heads=2, attention_head_size=8, feed_forward_size=16, axial_pos_embds=False,
        max_position_embeddings=32, attn_layers=["local", "local"], local_attn_chunk_length=16, is_decoder=False, pad_token_id=0,
    )  # fmt: skip
    ids, mask = padded_rows()
    model = with_plain_arguments(ReformerForSequenceClassification(config).train())
    assert model(input_ids=ids.repeat(1, 3), attention_mask=mask.repeat(1, 3)).logits.shape == (3, 2)


def test_without_padding_each_row_is_what_it_is_alone_and_slopes_are_kept():
    import torch

    from proxtune.models.arguments import with_plain_arguments, without_padding

    ids, mask = padded_rows()
    alone = fnet()
    torch.manual_seed(0)
    model = without_padding(with_plain_arguments(alone))
    found = model(input_ids=ids, attention_mask=mask).logits
    each = [
        alone.__class__.forward(alone, input_ids=ids[row : row + 1, : int(mask[row].sum())]).logits[0]
        for row in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(each))
    found.sum().backward()
    assert alone.classifier.weight.grad is not None
