"""Chat templates of the kinds that models come with: filled in as an answer needs it, or refused in a sentence."""

import pytest

from proxtune.errors import UserError
from proxtune.tasks.generation.chat_template import (
    answer_space,
    fill,
    fit_chat_template,
    has_thoughts,
    open_thought,
    spelled_mark_notes,
    writes_answers,
)

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "red"},
    {"role": "assistant", "content": "green"},
    {"role": "user", "content": "blue"},
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\nBEGIN{% endif %}"
)
PLAIN = CHATML.replace("BEGIN", "")
ALTERNATING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
IGNORING = PLAIN.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
HYBRID = CHATML.replace(
    "BEGIN", "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)
THINKING = CHATML.replace(
    "BEGIN",
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}",
)
ALWAYS = CHATML.replace("BEGIN", "<think>\n")
BRACKETS = CHATML.replace("BEGIN", "[THINK]")
CHANNELS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
    "{% else %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}\n"
)
SPACED = (
    "{% for m in messages %}"
    "{{ ' ' + m['content'] + ' </s>' if m['role'] == 'assistant' else '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% endfor %}"
)
PARTS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def having(tiny_chat):
    """Gives a tokenizer with that template."""
    from proxtune.models.tokenizer.loading import load_tokenizer

    def give(template):
        tokenizer = load_tokenizer(tiny_chat)
        tokenizer.chat_template = template
        return tokenizer

    return give


def test_a_template_that_takes_everything_stays_as_it_is(having):
    tokenizer = having(PLAIN)
    assert fit_chat_template(tokenizer, [TALK]) == ()
    assert tokenizer.chat_template == PLAIN
    assert (answer_space(tokenizer), open_thought(tokenizer)) == ("", "")


@pytest.mark.parametrize("template", [ALTERNATING, IGNORING], ids=["it raises", "it leaves it out"])
def test_where_there_is_no_system_turn_its_text_goes_before_the_user_s_and_that_is_said(having, template):
    tokenizer = having(template)
    (note,) = fit_chat_template(tokenizer, [TALK])
    assert note == "the model's chat template takes no system turn: its text goes before the first user turn"
    filled = fill(tokenizer, TALK, for_answer=True)
    assert "Be brief.\n\nred" in filled
    assert filled.index("red") < filled.index("green") < filled.index("blue")
    assert filled.count("Be brief.") == 1
    assert fill(tokenizer, TALK[1:]) == fill(having(template), TALK[1:]), "other conversations are as they were"


def test_nothing_is_said_where_no_row_has_a_system_turn(having):
    assert fit_chat_template(having(ALTERNATING), [TALK[1:]]) == ()


def test_a_greeting_goes_before_the_user_s_turn_where_turns_must_alternate(having):
    tokenizer, talk = having(ALTERNATING), [{"role": "assistant", "content": "hello"}, *TALK[1:]]
    (note,) = fit_chat_template(tokenizer, [talk])
    assert "takes no greeting" in note
    assert "hello\n\nred" in fill(tokenizer, talk)
    both = [TALK[0], *talk]
    assert "Be brief.\n\nhello\n\nred" in fill(tokenizer, both) or "hello\n\nBe brief.\n\nred" in fill(tokenizer, both)


def test_marks_of_turns_that_the_tokenizer_reads_in_pieces_are_told_of(having):
    tokenizer = having(PLAIN)
    (note,) = spelled_mark_notes(tokenizer)
    assert note.startswith("the tokenizer has no tokens for <|im_start|>, <|im_end|> of the model's chat template")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    assert spelled_mark_notes(tokenizer) == ()


@pytest.mark.parametrize("template", ["  ", "hello", PLAIN.replace("m['content']", "'hi'")])
def test_a_template_without_what_the_user_says_is_refused(having, template):
    with pytest.raises(UserError, match="leaves out what the user says"):
        fit_chat_template(having(template), [TALK])


def test_a_template_may_change_the_case_of_what_is_said(having):
    assert fit_chat_template(having(PLAIN.replace("m['content']", "m['content'] | upper")), [TALK[1:]])


@pytest.mark.parametrize("cut", ["m['content'][:20]", "m['content']"], ids=["cuts", "slices"])
def test_a_template_that_cuts_long_conversations_is_told_of(having, cut):
    said = [
        {"role": role, "content": f"turn number {n} of the talk"} for n in range(4) for role in ("user", "assistant")
    ]
    template = PLAIN.replace("m['content']", cut)
    template = template if "[:" in cut else template.replace("in messages %}", "in messages[-5:] %}")
    told = "the model's chat template leaves out, cuts or changes parts of long conversations: answers are learned without them"
    assert told in fit_chat_template(having(template), [said[:1], said[:7]])
    assert told not in fit_chat_template(having(PLAIN), [said[:1], said[:7]])


def test_a_template_that_writes_the_last_turn_alone_is_told_of(having):
    last = PLAIN.replace("in messages %}", "in messages[-1:] %}")
    told = "the model's chat template leaves earlier turns out: an answer is learned from the user's last alone"
    assert told in fit_chat_template(having(last), [TALK])
    assert told not in fit_chat_template(having(last), [TALK[-1:]])


@pytest.mark.parametrize("template", [HYBRID, THINKING], ids=["hybrid", "thinking"])
def test_a_model_that_can_be_told_not_to_think_is_told(having, template):
    tokenizer = having(template)
    (note,) = fit_chat_template(tokenizer, [TALK])
    assert "enable_thinking=False" in note
    assert fill(tokenizer, TALK, for_answer=True).endswith("assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("template", "end"),
    [(ALWAYS, "<think>\n\n</think>\n\n"), (BRACKETS, "[THINK]\n\n[/THINK]\n\n")],
    ids=["tags", "brackets"],
)
def test_a_thought_that_is_always_begun_is_closed(having, template, end):
    tokenizer = having(template)
    (note,) = fit_chat_template(tokenizer, [TALK])
    assert "is closed by" in note
    assert fill(tokenizer, TALK, for_answer=True).endswith(end)
    assert open_thought(tokenizer) == ""


@pytest.mark.parametrize("template", [HYBRID, THINKING, ALWAYS])
def test_answers_with_thoughts_of_their_own_leave_the_template_alone(having, template):
    tokenizer = having(template)
    assert fit_chat_template(tokenizer, [TALK], thinks=True) == ()
    assert tokenizer.chat_template == template
    assert open_thought(tokenizer) == ("" if template == HYBRID else "<think>")


def test_answers_with_thoughts_are_known():
    assert has_thoughts(["<think>\nhm\n</think>\n\nred", "hm</think>blue", "green"])
    assert not has_thoughts(["red", "blue </think>", "green"])
    assert not has_thoughts([])


def test_an_answer_is_given_in_the_channel_that_the_template_puts_answers_in(having):
    tokenizer = having(CHANNELS)
    (note,) = fit_chat_template(tokenizer, [TALK])
    assert "'<|channel|>final<|message|>'" in note
    assert fill(tokenizer, TALK, for_answer=True).endswith("<|start|>assistant<|channel|>final<|message|>")
    assert fill(tokenizer, TALK[:3]) == fill(having(CHANNELS), TALK[:3])


def test_a_space_before_an_answer_is_the_answer_s(having):
    tokenizer = having(SPACED)
    assert fit_chat_template(tokenizer, [TALK[1:]]) == ()
    assert fill(tokenizer, TALK[1:2], for_answer=True) == "[INST] red [/INST]"
    assert answer_space(tokenizer) == " "


def test_contents_in_parts_are_made_of_texts(having):
    tokenizer = having(PARTS)
    fit_chat_template(tokenizer, [TALK])
    assert fill(tokenizer, TALK[1:], for_answer=True) == "<|user|>red<|assistant|>green<|user|>blue<|assistant|>"


@pytest.mark.parametrize("template", [PLAIN, ALTERNATING, HYBRID, THINKING, ALWAYS, BRACKETS, CHANNELS, SPACED, PARTS])
def test_what_was_fitted_needs_no_more(having, template):
    """A trained model's template is fitted again where training goes on from it."""
    tokenizer = having(template)
    fit_chat_template(tokenizer, [TALK])
    fitted, filled = tokenizer.chat_template, fill(tokenizer, TALK[1:], for_answer=True)
    assert fit_chat_template(tokenizer, [TALK]) == ()
    assert (tokenizer.chat_template, fill(tokenizer, TALK[1:], for_answer=True)) == (fitted, filled)


@pytest.mark.parametrize("template", [ALTERNATING, THINKING, ALWAYS, CHANNELS])
def test_a_saved_tokenizer_makes_the_same_prompts(having, tiny_chat, tmp_path, template):
    from transformers import AutoTokenizer

    from proxtune.models.tokenizer.saving import save_tokenizer

    tokenizer = having(template)
    fit_chat_template(tokenizer, [TALK])
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "config.json").write_text((tiny_chat / "config.json").read_text())
    plain = AutoTokenizer.from_pretrained(tmp_path)
    asked = plain.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    assert asked == fill(tokenizer, TALK, for_answer=True)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('not today') }}", "not today"),
        ("{% for %}", "Expected an expression"),
        ("{{ a.b }}", "'a' is undefined"),
        ("{{ messages[5]['content'] }}", "undefined|out of range|has no element"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|access to attribute"),
        ("{{ 1 / 0 }}", "division"),
    ],
)
def test_a_template_that_fails_ends_in_one_sentence(having, template, words):
    with pytest.raises(UserError, match=words) as caught:
        fit_chat_template(having(template), [TALK])
    assert "\n" not in str(caught.value)
    assert "the model's chat template cannot be filled in" in str(caught.value)


def test_of_several_templates_the_default_is_taken(having):
    tokenizer = having({"default": PLAIN, "tool_use": ALWAYS})
    assert fit_chat_template(tokenizer, [TALK]) == ()
    assert tokenizer.chat_template == PLAIN
    with pytest.raises(UserError, match="none called default"):
        fit_chat_template(having({"rag": PLAIN, "tool_use": ALWAYS}), [TALK])


@pytest.mark.parametrize("form", ["%d %b %Y", "%Y-%m-%d"])
def test_a_template_that_writes_the_date_always_writes_the_same(having, form):
    tokenizer = having(f"<|today|>{{{{ strftime_now('{form}') }}}}\n" + PLAIN)
    notes = fit_chat_template(tokenizer)
    assert fill(tokenizer, TALK[1:2]).startswith(
        {"%d %b %Y": "<|today|>26 Jul 2024\n", "%Y-%m-%d": "<|today|>2024-07-26\n"}[form]
    )
    assert any("always 26 Jul 2024" in note for note in notes)
    assert fit_chat_template(tokenizer) == (), "nothing is left to change in what was saved"


def test_a_template_without_the_date_is_left_alone(having):
    tokenizer = having(PLAIN)
    assert fit_chat_template(tokenizer) == ()
    assert tokenizer.chat_template == PLAIN


@pytest.mark.parametrize(
    "template",
    [
        PLAIN.replace("for m in messages", "for m in messages if m['role'] != 'assistant'"),
        PLAIN.replace("m['content']", "m['content'] | upper"),
    ],
)
def test_a_template_that_does_not_write_answers_is_told_of(having, template):
    tokenizer = having(template)
    assert not writes_answers(tokenizer)
    assert any("does not write answers as they are" in note for note in fit_chat_template(tokenizer))
