"""How a model is asked: the instruction by task and columns, the chat template, and what ends an answer."""

from types import SimpleNamespace

import pytest

from proxtune.data.examples import Message, Pairs
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.tasks.generation.prompting import (
    PromptFormat,
    answer_label,
    instruction_for,
    prompt_format_for,
    prompt_of,
    turns_of,
)

TALK = (Message("system", "Be brief."), Message("user", "red"), Message("assistant", "green"), Message("user", "blue"))


def format_of(
    folder, stop_ids=(), task="translate", instruction="Translate:", is_encoder_decoder=False
) -> PromptFormat:
    config = SimpleNamespace(is_encoder_decoder=is_encoder_decoder)
    return prompt_format_for(task, instruction, load_tokenizer(folder), config, stop_ids)


@pytest.mark.parametrize(
    ("task", "columns", "source", "answers", "kind", "words"),
    [
        ("translate", ("en", "fr"), "x.csv", ["a"], "llama", "Translate from English to French:"),
        (
            "translate",
            ("source", "target"),
            "data/en-fr/train.jsonl",
            ["a"],
            "llama",
            "Translate from English to French:",
        ),
        ("translate", ("source", "target"), "data/be-my/train.jsonl", ["a"], "llama", "Translate:"),
        ("translate", ("source", "target"), "de_en.csv", ["a"], "t5", "translate German to English:"),
        ("summarize", ("text", "summary"), "x", ["one two"], "llama", "Summarize in a few words:"),
        ("summarize", ("text", "summary"), "x", ["word " * 50], "llama", "Summarize in a few sentences:"),
        ("summarize", ("text", "summary"), "x", ["one two"], "t5", "summarize:"),
        ("translate", ("en", "fr"), "x", ["a"], "switch_transformers", "translate English to French:"),
        ("translate", ("en", "fr"), "x", ["a"], "marian", ""),
        ("translate", ("en", "fr"), "x", ["a"], "m2m_100", ""),
        ("summarize", ("text", "summary"), "x", ["one two"], "bart", ""),
        ("instruct", ("prompt", "completion"), "x", ["a"], "llama", ""),
    ],
)
def test_the_instruction_follows_from_task_columns_path_answers_and_model(task, columns, source, answers, kind, words):
    pairs = Pairs([(Message("user", "a"),)] * len(answers), answers, source, [1] * len(answers), columns)
    config = SimpleNamespace(model_type=kind, is_encoder_decoder=kind != "llama")
    assert instruction_for(task, pairs, config) == words


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("data/EN_fr.jsonl", "Translate from English to French:"),
        ("den-frx.jsonl", "Translate:"),
        ("en-en.jsonl", "Translate:"),
        ("xx-yy/de-en/rows.csv", "Translate from German to English:"),
    ],
)
def test_languages_in_a_path_stand_between_other_characters(source, words):
    pairs = Pairs([(Message("user", "a"),)], ["a"], source, [1], ("source", "target"))
    assert instruction_for("translate", pairs, SimpleNamespace(model_type="llama", is_encoder_decoder=False)) == words


def test_the_instruction_stands_before_the_last_turn_alone(tiny_chat):
    asked = format_of(tiny_chat)
    assert [turn["content"] for turn in turns_of(TALK, asked)] == ["Be brief.", "red", "green", "Translate:\n\nblue"]
    assert [turn["role"] for turn in turns_of(TALK, asked)] == ["system", "user", "assistant", "user"]
    assert turns_of(TALK, format_of(tiny_chat, instruction=""))[-1]["content"] == "blue"


def test_a_chat_template_asks_and_says_what_ends_an_answer(tiny_chat):
    tokenizer, asked = load_tokenizer(tiny_chat), format_of(tiny_chat)
    assert asked.form == "messages"
    end = tokenizer.convert_tokens_to_ids("</s>")
    assert (asked.stop_ids, asked.closing) == ((end,), (end,))
    assert prompt_of(TALK[1:2], asked, tokenizer).endswith("Translate:\n\nred </s> <s> assistant ")


def test_without_a_template_an_instruction_and_a_label_stand_around_the_text(tiny_decoder):
    tokenizer, asked = load_tokenizer(tiny_decoder), format_of(tiny_decoder, stop_ids=[7, 5])
    assert asked.form == "prompt"
    assert prompt_of((Message("user", "a b"),), asked, tokenizer) == "Translate:\n\na b\n\nTranslation:"
    assert (asked.stop_ids, asked.closing) == ((7, 5), (5,))


def test_an_encoder_decoder_reads_the_text_as_it_stands(tiny_t5):
    asked = format_of(tiny_t5, instruction="translate:", is_encoder_decoder=True)
    assert asked.form == "source"
    assert prompt_of(TALK[1:2], asked, load_tokenizer(tiny_t5)) == "translate: red"
    unasked = format_of(tiny_t5, instruction="", is_encoder_decoder=True)
    assert prompt_of(TALK[1:2], unasked, load_tokenizer(tiny_t5)) == "red"


def test_a_template_that_ends_no_answer_leaves_it_to_the_tokenizer(tiny_chat, monkeypatch):
    tokenizer = load_tokenizer(tiny_chat)
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"
    asked = prompt_format_for("instruct", "", tokenizer, SimpleNamespace(is_encoder_decoder=False), [])
    assert asked.closing == (tokenizer.eos_token_id,)


def test_a_task_of_another_package_has_answers():
    assert [answer_label(task) for task in ("summarize", "translate", "instruct", "poems")] == [
        "Summary", "Translation", "Answer", "Answer",
    ]  # fmt: skip
