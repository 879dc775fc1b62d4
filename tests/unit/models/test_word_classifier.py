"""Classification by the words of a language model."""

import pytest

from proxtune.errors import UserError
from proxtune.models.loading import classifier_config, generator_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.word_classifier import answers_by_words, first_answer_token, label_tokens, set_label_tokens


class Letters:
    """A tokenizer of single letters, of which one is special."""

    all_special_ids = (0,)

    def __len__(self) -> int:
        return 27

    def __call__(self, word: str, add_special_tokens: bool = True):
        return {"input_ids": [ord(letter) - 96 for letter in word]}


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        (["bad", "good"], ["b", "g"]),
        (["pa", "pb", "pc"], ["a", "b", "c"]),
        (["a", "ab", "abc"], ["z", "b", "c"]),
    ],
)
def test_labels_have_a_token_each(words, tokens):
    found = label_tokens(words, Letters())
    assert len(set(found)) == len(words)
    if words != ["a", "ab", "abc"]:
        assert [chr(token + 96) for token in found] == tokens


@pytest.fixture
def cohere(tmp_path, tiny_decoder):
    """A decoder that has no classifier class, with the words of `tiny_decoder`."""
    import torch
    from transformers import CohereConfig, CohereForCausalLM

    tokenizer = load_tokenizer(tiny_decoder)
    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=64, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    CohereForCausalLM(config).save_pretrained(tmp_path / "cohere")
    tokenizer.save_pretrained(tmp_path / "cohere")
    return tmp_path / "cohere"


def test_a_decoder_without_a_classifier_class_says_how_likely_each_label_is(cohere):
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(cohere)
    config = classifier_config(cohere, ["bad", "good"], tokenizer, 16)
    assert answers_by_words(config)
    set_label_tokens(config, ["bad", "good"], tokenizer)
    model = load_classifier(cohere, config, 0).eval()
    ids, mask = torch.randint(5, 60, (2, 8)), torch.ones(2, 8, dtype=torch.int64)
    mask[1, 5:] = 0
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask).logits
        plain = AutoModelForCausalLM.from_pretrained(cohere, attn_implementation="eager").eval()
        said = [plain(input_ids=ids[:1]).logits[0, -1], plain(input_ids=ids[1:, :5]).logits[0, -1]]
    wanted = torch.stack([row.log_softmax(-1)[config.label_token_ids] for row in said])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_what_is_saved_is_the_language_model_and_loads_as_such(cohere, tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = load_tokenizer(cohere)
    config = classifier_config(cohere, ["bad", "good"], tokenizer, 16)
    set_label_tokens(config, ["bad", "good"], tokenizer)
    model = load_classifier(cohere, config, 0)
    model.save_pretrained(tmp_path / "saved")
    again = AutoConfig.from_pretrained(tmp_path / "saved")
    assert again.label_token_ids == config.label_token_ids
    assert again.id2label == {0: "bad", 1: "good"}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(plain.model.norm.weight, model.model.norm.weight)
    assert answers_by_words(again)


def test_what_a_model_was_trained_for_before_is_forgotten(cohere):
    import json

    path = cohere / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"label_token_ids": [5, 6, 7]}))
    assert not hasattr(generator_config(cohere, load_tokenizer(cohere), 16), "label_token_ids")
    assert classifier_config(cohere, ["bad", "good"], load_tokenizer(cohere), 16).label_token_ids == []


@pytest.mark.parametrize("tokens", [[], [5], [5, 10**6], [5, "6"], 5, None])
def test_tokens_that_are_none_are_refused(cohere, tokens):
    config = classifier_config(cohere, ["bad", "good"], load_tokenizer(cohere), 16)
    config.label_token_ids = tokens
    with pytest.raises(UserError, match="no token for each label"):
        load_classifier(cohere, config, 0)


def test_a_size_is_refused_where_there_is_no_layer_of_classes(cohere, tmp_path):
    from proxtune.compression.shrink import shrink_model
    from proxtune.data.examples import Examples, Split
    from proxtune.models.source import ModelSource

    rows = Examples(["x", "y"], ["a", "b"], "a.csv", [2, 3], "text", "label")
    with pytest.raises(UserError, match="--size does not work with cohere"):
        shrink_model(ModelSource("cohere", cohere, "cohere"), Split(rows, rows, ""), 10_000, tmp_path)


def test_an_encoder_decoder_answers_with_its_first_token():
    from transformers import MarianConfig, MarianMTModel

    model = MarianMTModel(
        MarianConfig(
            vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=3, eos_token_id=2, decoder_start_token_id=3,
        )
    )  # fmt: skip
    assert first_answer_token(model) == 3
