"""What a tokenizer puts behind every text, whatever it puts around texts otherwise; and that it comes back so."""

import pytest
from transformers import AutoTokenizer

from proxtune.models.post_processor import end_texts_with, keeps_post_processor
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.saving import save_tokenizer

QUESTION = "Label (film or story):"


def worded(processor, names=("<s>", "</s>")):
    """A tokenizer of words with that post-processor."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *names, "a", "film", "Label", "(", "or", ")", ":", "story", "):"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer, backend.post_processor = Whitespace(), processor
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")


def processors():
    from tokenizers import processors as kinds

    both = [("<s>", 2), ("</s>", 3)]
    template = kinds.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=both
    )  # XLM's, Flaubert's, BART's
    return {
        "nothing": (None, [], []),
        "bytes": (kinds.ByteLevel(), [], []),
        "beginning": (
            kinds.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=both[:1]),
            [2],
            [2],
        ),
        "end": (kinds.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=both[1:]), [], [3]),
        "both": (template, [2], [3]),
        "BERT": (kinds.BertProcessing(("</s>", 3), ("<s>", 2)), [2], [3]),
        "RoBERTa": (kinds.RobertaProcessing(("</s>", 3), ("<s>", 2)), [2], [3, 3]),
        "a chain": (kinds.Sequence([kinds.ByteLevel(), template]), [2], [3]),
    }


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("kind", processors())
def test_whatever_is_put_around_texts_the_question_or_nothing_comes_last(kind, asks, tmp_path):
    processor, begins, between = processors()[kind]
    tokenizer = worded(processor)
    ending, film = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (QUESTION if asks else "", "a film")
    )
    end_texts_with(tokenizer, ending)
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    for own in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        single = own("a film", return_token_type_ids=True)
        assert single["input_ids"] == [*begins, *film, *ending]
        assert set(single["token_type_ids"]) == {0}
        pair = own("a film", "a story", return_token_type_ids=True)
        assert pair["input_ids"] == [
            *begins,
            *film,
            *between,
            *own("a story", add_special_tokens=False)["input_ids"],
            *ending,
        ]
        assert pair["token_type_ids"] == sorted(pair["token_type_ids"])


def test_a_token_may_be_spelled_like_a_part_of_a_template():
    from tokenizers.processors import TemplateProcessing

    odd = TemplateProcessing(
        single=["x", "$A"], pair=["x", "$A", "$B"], special_tokens=[{"id": "x", "ids": [2], "tokens": ["$:1"]}]
    )
    tokenizer = worded(odd, names=("$:1", "</s>"))
    end_texts_with(tokenizer, [6])
    assert tokenizer("film")["input_ids"] == [2, 5, 6]


@pytest.mark.parametrize(
    "model_type", ["gpt_neox", "llama", "mpt", "olmo", "gpt2", "gemma", "phi3", "nemotron", "rwkv", "bloom"]
)
def test_the_question_comes_back_whatever_class_the_model_s_tokenizers_have(tiny_decoder, tmp_path, model_type):
    """GPT-NeoX's builds anew at each load what is put around a text."""
    tokenizer = load_tokenizer(tiny_decoder)
    end_texts_with(tokenizer, tokenizer("the story of")["input_ids"])
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    assert AutoTokenizer.from_pretrained(tmp_path)("the film")["input_ids"] == tokenizer("the film")["input_ids"]


def test_a_tokenizer_written_in_python_holds_no_question(tiny_decoder):
    from transformers import ByT5Tokenizer

    assert keeps_post_processor(load_tokenizer(tiny_decoder))
    assert not keeps_post_processor(ByT5Tokenizer())
