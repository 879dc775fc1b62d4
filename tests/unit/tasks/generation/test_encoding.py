"""Rows of text generation as the model sees them: prompts by its template, answers that end, texts cut to fit."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from proxtune.data.examples import Message, Pairs, Split
from proxtune.errors import UserError
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.saving import save_tokenizer
from proxtune.tasks.generation.encoding import encode_pairs, written_control_notes
from proxtune.tasks.generation.objective import ANSWERS
from proxtune.tasks.generation.prompting import prompt_format_for, prompt_of, ready_to_ask
from proxtune.tasks.registry import find_task
from support.generating import toy_data


def words_of(task, ids):
    return task.tokenizer.decode(ids)


def test_a_row_is_what_the_template_makes_of_the_turns_and_the_answer(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    pairs = task.split.train
    for row in (0, 5, 20):
        asked = f"Translate:\n\n{pairs.prompts[row][0].content}"
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": pairs.answers[row]}]
        wanted = task.tokenizer(task.tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        own = task.train.ids[task.train.starts[row] : task.train.starts[row + 1]]
        assert own.tolist() == wanted["input_ids"]
        answer = own[task.train.begins[row] :]
        assert words_of(task, answer) == f"{pairs.answers[row]} </s>"


def test_an_encoder_decoder_has_question_and_answer_apart(tiny_t5, tiny_pairs):
    task = toy_data(tiny_t5, tiny_pairs)
    pairs, rows = task.split.train, task.train
    assert words_of(task, rows.ids[: rows.starts[1]]) == f"translate : {pairs.prompts[0][0].content} </s>"
    assert words_of(task, rows.answers.ids[: rows.answers.starts[1]]) == f"{pairs.answers[0]} </s>"
    assert rows.lengths[0] == max(rows.starts[1], rows.answers.starts[1])


@pytest.mark.parametrize("length", [16, 24])
def test_what_is_too_long_is_cut_in_what_is_asked_and_counted(tiny_generator, tiny_pairs, length):
    task = toy_data(tiny_generator, tiny_pairs)
    long = " ".join(["tree river stone bird"] * 20)
    pairs = Pairs([(Message("user", long),), (Message("user", "red"),)], ["old house", "new"], "f", [1, 2], ("a", "b"))
    rows = encode_pairs(pairs, task.prompt_format, task.tokenizer, length)
    assert rows.truncated == 1
    assert rows.lengths.max() <= length
    whole = encode_pairs(pairs, task.prompt_format, task.tokenizer, 1024)
    assert rows.answer_lengths.tolist() == whole.answer_lengths.tolist(), "answers stay whole"
    if rows.answers is None:
        tail = rows.ids[: rows.begins[0]][-1]
        assert tail == whole.ids[whole.begins[0] - 1], "the template ends as it does"


def test_an_answer_that_fills_the_row_is_cut_and_does_not_end(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    pairs = Pairs([(Message("user", "red"),)], ["tree " * 40], "f", [1], ("a", "b"))
    rows = encode_pairs(pairs, task.prompt_format, task.tokenizer, 32)
    assert rows.truncated == 1
    assert rows.answer_lengths[0] == 16
    assert rows.ids[-1] not in task.prompt_format.stop_ids


def test_rows_without_answers_are_prompts(tiny_generator, tiny_pairs):
    task = toy_data(tiny_generator, tiny_pairs)
    rows = encode_pairs(Pairs([(Message("user", "red"),)], [], "f", [1], ()), task.prompt_format, task.tokenizer, 32)
    assert len(rows) == 1
    assert rows.answer_lengths.tolist() == [0]


def test_what_is_longer_than_the_rows_takes_is_bounded(tiny_chat, tiny_pairs):
    task = toy_data(tiny_chat, tiny_pairs)
    assert task.max_length >= task.train.lengths.max()
    assert task.max_length % 8 == 0
    assert 16 <= task.new_tokens <= 512
    assert np.all(task.train.begins > 0)


def encoded(tokenizer, pairs, task="instruct", **config):
    asked = prompt_format_for(task, "", tokenizer, SimpleNamespace(is_encoder_decoder=False, **config), [])
    rows = encode_pairs(pairs, asked, tokenizer, 64)
    begin = int(rows.begins[0])
    return asked, rows.ids[:begin].tolist(), rows.ids[begin : rows.starts[1]].tolist()


def one_row(asked, answer, before=()):
    return Pairs([(*before, Message("user", asked))], [answer], "rows.jsonl", [7], ("prompt", "answer"))


def test_only_the_template_closes_a_turn_and_only_the_end_ends_an_answer(tiny_chat):
    tokenizer = load_tokenizer(tiny_chat)
    begin, end = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    before = (Message("user", "red <s>"), Message("assistant", "blue </s> <s> user"))
    rows = one_row("red </s> <s> assistant blue", "green </s> old", before)
    asked, prompt, answer = encoded(tokenizer, rows)
    assert (prompt.count(begin), prompt.count(end)) == (4, 3)
    assert (answer.count(begin), answer.count(end), answer[-1]) == (0, 1, end)
    assert written_control_notes([rows], asked) == (
        "1 row has control tokens of the model in the text ('<s>', '</s>'); they are read as plain text",
    )
    assert written_control_notes([one_row("red", "blue")], asked) == ()


def test_marks_that_a_template_writes_are_text_in_texts_though_the_tokenizer_calls_them_ordinary(tiny_chat):
    from tokenizers import AddedToken

    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.add_tokens([AddedToken("<|turn|>", special=False), AddedToken("<|over|>", special=False)])
    turn, over = tokenizer.convert_tokens_to_ids(["<|turn|>", "<|over|>"])
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|> {{ m['role'] }} {{ m['content'] }} <|over|> {% endfor %}"
        "{% if add_generation_prompt %}<|turn|> assistant {% endif %}"
    )
    asked, prompt, answer = encoded(tokenizer, one_row("red <|over|> <|turn|> assistant blue", "green <|over|> old"))
    assert asked.closing == (over,)
    assert (prompt.count(turn), prompt.count(over)) == (2, 1)
    assert (answer.count(over), answer[-1]) == (1, over)


def test_without_a_template_texts_have_no_control_tokens_either(tiny_chat):
    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template = None
    asked, prompt, answer = encoded(tokenizer, one_row("red </s> blue", "green </s>"))
    assert tokenizer.eos_token_id not in prompt
    assert answer.count(tokenizer.eos_token_id) == 1
    assert not asked.uses_chat_template


def test_what_a_tokenizer_puts_behind_a_text_does_not_stand_before_an_answer(tiny_chat):
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template = None
    begin, end = both = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    special = list(zip(("<s>", "</s>"), both, strict=True))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s> </s>", special_tokens=special)
    _, prompt, answer = encoded(tokenizer, one_row("red", "green"))
    assert prompt[0] == begin
    assert end not in prompt
    assert (answer.count(begin), answer.count(end)) == (0, 1)


def test_a_space_that_the_template_puts_before_an_answer_is_learned_with_it(tiny_chat):
    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ ' ' if m['role'] == 'assistant' }}{{ m['content'] }}{% endfor %}</s>"
    )
    assert prompt_format_for("instruct", "", tokenizer, SimpleNamespace(is_encoder_decoder=False), []).space == ""
    tokenizer.chat_template = (
        "{% for m in messages %}{{ ' ' if m['role'] == 'assistant' }}{{ m['content'] }}{% endfor %}"
    )
    assert prompt_format_for("instruct", "", tokenizer, SimpleNamespace(is_encoder_decoder=False), []).space == " "


def test_an_answer_that_thinks_goes_on_from_a_thought_that_is_begun(tiny_chat):
    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    asked, prompt, answer = encoded(tokenizer, one_row("red", "<think>\nblue\n</think>\n\ngreen"))
    assert asked.thought == "<think>"
    assert prompt[-3:] == tokenizer("<think>", add_special_tokens=False)["input_ids"]
    wanted = tokenizer("blue\n</think>\n\ngreen", add_special_tokens=False)["input_ids"]
    assert answer == [*wanted, tokenizer.eos_token_id]


def test_turns_that_the_template_refuses_are_named(tiny_chat):
    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}" + (
        tokenizer.chat_template
    )
    with pytest.raises(UserError, match=r"rows\.jsonl line 7: the model's chat template .*: user first"):
        encoded(tokenizer, one_row("red", "green", (Message("assistant", "hello"),)))


def test_where_padding_is_the_end_of_a_text_answers_still_end(tiny_chat, tiny_pairs, tmp_path):
    folder = shutil.copytree(tiny_chat, tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(folder)
    data = toy_data(folder, tiny_pairs)
    import torch

    model = find_task("translate").load_model(folder, data, 0)
    end, places = tokenizer.eos_token_id, np.arange(4)
    model.requires_grad_(False)
    whole = ANSWERS.outputs(model, data.train, places, data.pad_id)
    assert data.pad_id == data.train.ids[data.train.starts[1:] - 1][0] == end
    assert whole[:, 1].tolist() == data.train.answer_lengths[:4].tolist(), "the end counts among what is learned"
    alone = torch.cat([ANSWERS.outputs(model, data.train, places[i : i + 1], data.pad_id) for i in range(4)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)


def test_a_tokenizer_with_no_end_of_text_ends_answers_with_its_padding_and_says_so(tiny_decoder, tiny_pairs, tmp_path):
    folder = shutil.copytree(tiny_decoder, tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text('{"source": "the film of a", "target": "a story of the"}\n' * 40)
    data = toy_data(folder, tmp_path / "rows.jsonl")
    assert data.prompt_format.closing == data.prompt_format.stop_ids == (data.tokenizer.pad_token_id,)
    assert "the tokenizer has no token that ends a text: '[PAD]' ends an answer" in data.notes


def bart(folder, put_around):
    """A tiny BART with the tokenizer of the tiny T5, that puts this around a text."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=put_around, special_tokens=special)
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0, bos_token_id=special[0][1],
        eos_token_id=special[1][1], decoder_start_token_id=special[1][1], forced_eos_token_id=None,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return special[0][1], special[1][1]


@pytest.mark.parametrize(
    ("put_around", "opening"), [("<s> $A </s>", True), ("$A </s>", False), ("</s> $A </s>", False), ("$A", False)]
)
def test_an_encoder_decoder_s_answers_begin_and_end_as_its_tokenizer_has_them(
    tiny_t5, tiny_pairs, tmp_path, put_around, opening
):
    folder = shutil.copytree(tiny_t5, tmp_path / "model")
    begin, end = bart(folder, put_around)
    data = toy_data(folder, tiny_pairs)
    answer = data.train.answers.ids[: data.train.answers.starts[1]].tolist()
    plain = data.tokenizer(data.split.train.answers[0], add_special_tokens=False)["input_ids"]
    assert answer == [*([begin] if opening else []), *plain, end]
    asked = data.train.ids[: data.train.starts[1]].tolist()
    assert asked.count(end) == put_around.count("</s>")


def test_a_saved_decoder_tokenizer_prompts_as_in_training(tiny_chat, tmp_path):
    """The tokenizer of BERT, say, ends every text; an answer is none that follows on an end."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template = None
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    rows = one_row("red </s>", "green")
    ready_to_ask(tokenizer, Split(rows, rows, ""), is_encoder_decoder=False)
    asked, prompt, _ = encoded(tokenizer, rows)
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(prompt_of(rows.prompts[0], asked, tokenizer))["input_ids"] == prompt
    assert plain.padding_side == "left"
