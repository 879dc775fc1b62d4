"""The model card of a model that generates text: its code prompts the model in the very words that it was trained on."""

import ast
import json

import pytest

from proxtune.data.examples import Message
from proxtune.report.model_card import write_model_card
from proxtune.tasks.generation.prompting import PromptFormat, answer_label, prompt_format_for, prompt_of
from support.generating import toy_data
from support.reports import ANSWERS as RESULT
from support.reports import code_of, front_matter

INSTRUCTIONS = ["", "Summarize:", "say \"it\" in 'two'\nlines ```\n# and {text} \\n", "\u00e9\u2028 ```"]


def card_of(answers_dir, **changes):
    kept = {key: value for key, value in {**RESULT, **changes}.items() if value is not None}
    (answers_dir / "result.json").write_text(json.dumps(kept), encoding="utf-8")
    return write_model_card(answers_dir, answers_dir / "model").read_text(encoding="utf-8")


def what_is_asked(card, name, text):
    """The value that the card's code gives to `name` where the text is `text`."""
    for line in ast.parse(code_of(card)).body:
        if isinstance(line, ast.Assign) and line.targets[0].id == name:
            return eval(compile(ast.Expression(line.value), "card", "eval"), {"text": text})
    raise AssertionError(f"no {name} in the card's code")


def asked_as(form, instruction):
    return RESULT["data"] | {"asked_as": form, "instruction": instruction}


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@pytest.mark.parametrize("task", ["summarize", "translate", "instruct"])
@pytest.mark.parametrize("form", ["prompt", "source"])
def test_the_prompt_is_that_of_training(answers_dir, task, form, instruction):
    card = card_of(answers_dir, task=task, data=asked_as(form, instruction))
    text = "One line.\n\nAnother `one`."
    prompt_format = PromptFormat(
        task, instruction, (), (), answer_label(task), uses_chat_template=False, is_encoder_decoder=form == "source"
    )
    wanted = prompt_of((Message("user", text),), prompt_format, None)
    assert what_is_asked(card, "prompt", text) == wanted
    assert ("AutoModelForSeq2SeqLM" if form == "source" else 'pipeline("text-generation"') in code_of(card)


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_the_messages_are_those_of_training(answers_dir, tiny_chat, tiny_pairs, instruction):
    task = toy_data(tiny_chat, tiny_pairs)
    prompt_format = prompt_format_for(
        "translate", instruction, task.tokenizer, task.config, task.prompt_format.stop_ids
    )
    card = card_of(answers_dir, task="translate", data=asked_as("messages", instruction))
    assert ("keep them" in card) == bool(instruction)
    made = task.tokenizer.apply_chat_template(
        what_is_asked(card, "messages", "old house"), tokenize=False, add_generation_prompt=True
    )
    assert made == prompt_of((Message("user", "old house"),), prompt_format, task.tokenizer)


@pytest.mark.parametrize(
    ("task", "form", "tag", "own"),
    [
        ("summarize", "messages", "text-generation", "summarization"),
        ("summarize", "source", "summarization", "summarization"),
        ("translate", "prompt", "text-generation", "translation"),
        ("translate", "source", "translation", "translation"),
        ("instruct", "messages", "text-generation", "text-generation"),
        ("instruct", "source", "text2text-generation", "text-generation"),
    ],
)
def test_a_hub_knows_what_it_is_for(answers_dir, task, form, tag, own):
    fields = front_matter(card_of(answers_dir, task=task, data=asked_as(form, "")))
    assert fields["pipeline_tag"] == tag
    assert {"proxtune", tag, own} == set(fields["tags"])
    assert fields["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    (index,) = fields["model-index"]
    assert index["results"][0]["task"] == {"type": own}
    assert {m["name"]: m["value"] for m in index["results"][0]["metrics"]} == {
        "ROUGE-L": 31.27, "ROUGE-1": 38.11, "ROUGE-2": 15.23,
    }  # fmt: skip


def test_the_card_has_scores_data_and_limits_and_no_label(answers_dir):
    card = card_of(answers_dir)
    for words in ("| this model, validation rows | 31.3 | 38.1 | 15.2 | 2.411 | 11.1 |",
                  "| the base model, validation rows | 18.4 |", "| the first sentence, test.jsonl | 18.8 |",
                  "to 100 of the validation rows", "41 rows were truncated to 512 tokens", "at most 96 tokens",
                  "from train.jsonl", "## Limits"):  # fmt: skip
        assert words in card
    for words in ("accuracy", "label", "classif", "TF-IDF", "The review begins"):
        assert words not in card


def test_a_model_that_loses_and_one_that_was_interrupted_say_so(answers_dir):
    assert "does not beat the baselines" in card_of(answers_dir, beats_baselines=False)
    card = card_of(answers_dir, status="interrupted")
    assert "Training was interrupted" in card
    assert "does not beat" not in card


@pytest.mark.parametrize("key", sorted(RESULT))
def test_a_key_may_be_missing_or_odd(answers_dir, key):
    for value in (None, {}, [], "odd", 3, {"untouched": 3, "test": {"metrics": 3}, "instruction": 7}):
        card = card_of(answers_dir, **{key: value})
        front_matter(card)
        ast.parse(code_of(card))
