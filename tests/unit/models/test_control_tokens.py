"""Control tokens that people wrote are read as text; those of templates and tokenizers are what they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.models import control_tokens as module
from proxtune.models.control_tokens import control_tokens, written_notes


def text_ids(*args, **more) -> list[list[int]]:
    return [ids.tolist() for ids in module.text_ids(*args, **more)]


def prompt_ids(*args) -> list[list[int]]:
    return [ids.tolist() for ids in module.prompt_ids(*args)]


def tokenizer_of(kind: str):
    """One of each kind, with <s>, </s> and a mark that is added without being called special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special, texts = ["<unk>", "<s>", "</s>"], ["a good film </s> and <s> a bad one <|turn|> / |"] * 3
    if kind == "unigram":  # whose pieces have the mark among them
        pieces = (
            [(piece, 0.0) for piece in special]
            + [("▁", -2.0)]
            + [(c, -3.0) for c in sorted(set("".join(texts)) - {" "})]
        )
        backend = Tokenizer(models.Unigram(pieces, unk_id=0))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator(texts, trainer)
    around = [(name, backend.token_to_id(name)) for name in ("<s>", "</s>")]
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    made.add_tokens([AddedToken("<|turn|>", special=False)])
    return made


@pytest.fixture(params=["bytes", "unigram"])
def tokenizer(request):
    return tokenizer_of(request.param)


def test_special_tokens_are_control_tokens_and_others_where_asked_for(tokenizer):
    own = control_tokens(tokenizer)
    assert set(own.names) == {"<s>", "</s>"}, "what is unknown steers nothing"
    tokenizer.unk_token = "</s>"
    assert "</s>" in control_tokens(tokenizer).names, "unless it ends a text too, as GPT-2's"
    turn = tokenizer.convert_tokens_to_ids("<|turn|>")
    assert control_tokens(tokenizer, [turn]).ids["<|turn|>"] == turn


def test_a_control_token_in_a_text_is_text_and_the_tokenizer_s_own_stay(tokenizer):
    control = control_tokens(tokenizer)
    plain, marked = text_ids(["a good film", "a good </s> film <s>"], tokenizer, control, add_special_tokens=True)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert plain == tokenizer("a good film")["input_ids"]
    assert (marked[0], marked[-1]) == (bos, eos)
    assert not {bos, eos} & set(marked[1:-1])
    assert tokenizer.decode(marked[1:-1]).replace(" ", "") == "agood</s>film<s>"


def test_a_mark_that_is_only_added_is_text_where_it_steers(tokenizer):
    turn = tokenizer.convert_tokens_to_ids("<|turn|>")
    assert turn in text_ids(["a <|turn|>"], tokenizer, control_tokens(tokenizer), add_special_tokens=False)[0]
    control = control_tokens(tokenizer, [turn])
    (ids,) = text_ids(["a <|turn|>"], tokenizer, control, add_special_tokens=False)
    assert turn not in ids
    assert tokenizer.decode(ids).replace(" ", "") == "a<|turn|>"


def test_in_a_filled_template_only_its_own_marks_steer(tokenizer):
    control = control_tokens(tokenizer, [tokenizer.convert_tokens_to_ids("<|turn|>")])
    prompt = f"<s>{control.hidden('good </s> film <|turn|> <s>')}</s>"
    (ids,) = prompt_ids([prompt], tokenizer, control)
    steering = [token for token in ids if token in control.ids.values()]
    assert steering == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert tokenizer.decode(ids).replace(" ", "") == "<s>good</s>film<|turn|><s></s>"


def test_rows_without_marks_are_encoded_as_ever(tokenizer):
    prompts = ["<s> a good film </s>", "a bad one"]
    assert (
        prompt_ids(prompts, tokenizer, control_tokens(tokenizer))
        == tokenizer(prompts, add_special_tokens=False)["input_ids"]
    )


@given(st.lists(st.sampled_from(["</s>", "<s>", "<|turn|>", "a", " ", "<", "/s>", "good", "s>", "<|"]), max_size=12))
def test_no_text_makes_a_control_token(parts):
    tokenizer = _BYTES
    control = control_tokens(tokenizer, [tokenizer.convert_tokens_to_ids("<|turn|>")])
    text = "".join(parts)
    (ids,) = text_ids([text], tokenizer, control, add_special_tokens=False)
    assert not set(ids) & set(control.ids.values())
    assert tokenizer.decode(ids) == text
    assert prompt_ids([control.hidden(text)], tokenizer, control)[0] == [] or not (
        set(prompt_ids([control.hidden(text)], tokenizer, control)[0]) & set(control.ids.values())
    )


_BYTES = tokenizer_of("bytes")


def test_how_many_rows_have_some_is_said():
    control = control_tokens(_BYTES)
    assert written_notes(map(control.found_in, ["good film"])) == ()
    (note,) = written_notes(map(control.found_in, ["a </s> b", "c", "d <s> </s>"]))
    assert note == "2 rows have control tokens of the model in the text ('</s>', '<s>'); they are read as plain text"
