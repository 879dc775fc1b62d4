"""Rows of text generation as the model sees them: prompts by its template, answers that end, texts cut to fit."""

import numpy as np
import pytest

from proxtune.data.examples import Message, Pairs
from proxtune.tasks.generation.encoding import encode_pairs
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
