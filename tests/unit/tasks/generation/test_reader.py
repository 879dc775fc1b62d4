"""Any file → what is asked and what is answered; every row is read, or counted with its line and why."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.examples import Message, Pairs
from proxtune.data.values import is_blank
from proxtune.errors import UserError
from proxtune.samples import translations_path
from proxtune.tasks.generation.reader import read_pairs, read_pairs_split
from support.files import Write, refusal

TASKS = ("summarize", "translate", "instruct")
FEW = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


def lined(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def user(*contents: str) -> list[tuple[Message, ...]]:
    return [(Message("user", content),) for content in contents]


def fails(path: Path, task: str, **options: Any) -> str:
    return refusal(read_pairs, str(path), task, **options)


def test_the_bundled_translations() -> None:
    pairs = read_pairs(str(translations_path("train")), "translate")
    assert (len(pairs), pairs.columns) == (288, ("source", "target"))
    assert len(read_pairs(str(translations_path("test")), "translate").answers) == 50
    assert "BSD-3" in (translations_path().parent / "README.md").read_text(encoding="utf-8")
    assert "Django Software Foundation" in (translations_path().parent / "LICENSE").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="no django_en_fr sample"):
        translations_path("../train")


def test_columns_are_guessed_or_named_and_only_a_guess_is_noted(write: Write) -> None:
    path = write("a.csv", "text,summary,other,short\nt,s,o,k\n")
    guessed = read_pairs(str(path), "summarize")
    assert (guessed.prompts, guessed.answers, guessed.columns) == (user("t"), ["s"], ("text", "summary"))
    assert "(guessed; --text-column/--label-column to change)" in guessed.notes[-1]
    named = read_pairs(str(path), "summarize", text_column="other", label_column="short")
    assert (named.prompts, named.answers, named.notes) == (user("o"), ["k"], [])


@pytest.mark.parametrize("bad_rows", ["fail", "skip"])
def test_a_column_that_is_missing_is_no_bad_row(write: Write, bad_rows: str) -> None:
    path = write("a.csv", "text,author\nx,y\n")
    assert "no summary column among 'text', 'author'" in fails(path, "summarize", bad_rows=bad_rows)


def test_languages_in_objects(write: Write) -> None:
    rows = [{"translation": {"en": "cat", "fr": "chat"}}, {"translation": {"fr": "chien", "en": "dog"}}]
    path = write("a.jsonl", lined(*rows))
    pairs = read_pairs(str(path), "translate")
    assert (pairs.prompts, pairs.answers, pairs.columns) == (user("cat", "dog"), ["chat", "chien"], ("en", "fr"))
    back = read_pairs(str(path), "translate", text_column="fr")
    assert (back.answers, back.columns) == (["cat", "dog"], ("fr", "en"))
    path = write("b.jsonl", lined(*rows, {"translation": {"en": "cow"}}, {"translation": "?"}))
    message = fails(path, "translate")
    assert "2 of 4 rows" in message
    assert "line 3 (no target in column 'fr'), line 4 (no source in column 'en')" in message


def test_alpaca_with_and_without_an_input(write: Write) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 and 2", "output": 3},
        {"instruction": "Greet.", "input": "", "output": "Hello", "system": "Be brief."},
    ]
    pairs = read_pairs(str(write("a.jsonl", lined(*rows))), "instruct")
    assert pairs.prompts == [
        (Message("user", "Add.\n\n1 and 2"),),
        (Message("system", "Be brief."), Message("user", "Greet.")),
    ]
    assert pairs.answers == ["3", "Hello"]


def test_conversations_are_a_row_for_each_answer(write: Write) -> None:
    turns = [{"from": who, "value": f"{who} {n}"} for n in (1, 2) for who in ("human", "gpt")]
    path = write("a.jsonl", lined({"id": 1, "conversations": turns}, {"id": 2, "conversations": turns[:2]}))
    pairs = read_pairs(str(path), "instruct")
    assert (pairs.answers, pairs.lines) == (["gpt 1", "gpt 2", "gpt 1"], [1, 1, 2])
    assert [len(messages) for messages in pairs.prompts] == [1, 3, 1]
    assert pairs.notes == ["conversations from column 'conversations' (guessed; --text-column to change)"]
    assert read_pairs(str(path), "instruct", text_column="conversations").notes == []


def test_parquet_keeps_turns_and_translations(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    turns = [[{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]]
    parquet.write_table(pa.table({"messages": turns, "vector": [[1.0]]}), tmp_path / "test.parquet")
    parquet.write_table(pa.table({"translation": [{"de": "Katze", "en": "cat"}]}), tmp_path / "train.parquet")
    assert read_pairs(str(tmp_path), "translate").answers == ["cat"]
    split = read_pairs_split(str(tmp_path), "test", "instruct")
    assert split is not None
    assert (split.prompts, split.answers) == (user("u"), ["a"])
    assert read_pairs_split(str(tmp_path), "validation", "instruct") is None


BAD = [
    {"text": "one", "summary": "1"},
    {"text": "two", "summary": " "},
    {"text": "", "summary": "3"},
    {"text": "four"},
    {"text": ["five"], "summary": "5"},
    {"text": "six", "summary": {"a": 6}},
    {"text": None, "summary": "7"},
    {"text": "eight", "summary": 8},
]


def test_bad_rows_are_refused_each_with_its_reason(write: Write) -> None:
    message = fails(write("a.jsonl", lined(*BAD)), "summarize")
    for reason in (
        "6 of 8 rows cannot be used: line 2 (no summary in column 'summary')",
        "line 3 (no text in column 'text')",
        "line 5 (the text in column 'text' is a list)",
        "line 6 (the summary in column 'summary' is an object)",
    ):
        assert reason in message


def test_bad_rows_are_counted_and_left_out(write: Write) -> None:
    pairs = read_pairs(str(write("a.jsonl", lined(*BAD))), "summarize", bad_rows="skip")
    assert (pairs.prompts, pairs.answers, pairs.lines) == (user("one", "eight"), ["1", "8"], [1, 8])
    assert pairs.notes[-1].startswith("left out 6 of 8 rows: line 2 (no summary in column 'summary'), line 3 (")
    assert pairs.notes[-1].endswith(", ...")


def test_another_way_with_bad_rows_is_refused_before_reading() -> None:
    for read in (read_pairs, partial(read_pairs_split, split="test")):
        assert "--bad-rows drop: say fail or skip" in refusal(read, "gone.jsonl", task="summarize", bad_rows="drop")


def test_a_wrong_order_of_roles_is_a_bad_row(write: Write) -> None:
    good = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    path = write(
        "a.jsonl", lined({"messages": good}, {"messages": good[::-1]}, {"messages": good[:1]}, {"messages": 1})
    )
    message = fails(path, "instruct")
    assert "line 2 (ends with user, not with assistant)" in message  # a greeting is no answer
    assert "line 3 (ends with user, not with assistant), line 4 (a number, not a list of turns);" in message


def test_questions_without_answers(write: Write) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c"}]
    path = write("a.jsonl", lined(*rows))
    pairs = read_pairs(str(path), "instruct", need_answers=False)
    assert (pairs.prompts, pairs.answers) == (user("a", "c"), [])
    assert "no answer in column 'completion'" in fails(path, "instruct", need_answers=False, label_column="completion")
    assert read_pairs(str(write("b.jsonl", lined(rows[0]))), "instruct", need_answers=False).answers == ["b"]
    alone = read_pairs(str(write("c.csv", "text\nx\n")), "summarize", need_answers=False)
    assert (alone.prompts, alone.columns) == (user("x"), ("text",))
    waiting = write("d.jsonl", lined({"messages": [{"role": "user", "content": "u"}]}))
    assert read_pairs(str(waiting), "instruct", need_answers=False).prompts == user("u")


def test_half_a_character_is_marked(write: Write) -> None:
    path = write("a.jsonl", '{"source": "x \\ud800", "target": "\\udfffy"}\n{"source": "é", "target": "e"}\n')
    pairs = read_pairs(str(path), "translate")
    assert (pairs.prompts[0][0].content, pairs.answers[0]) == ("x \ufffd", "\ufffdy")
    assert pairs.notes[-1] == "1 rows held half a character (a lone surrogate), now marked by \ufffd"


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not is_blank(text)
)


@FEW
@given(st.lists(st.tuples(words, words), min_size=1, max_size=6))
def test_texts_read_back_as_written(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = folder / "round.jsonl"
    path.write_text(lined(*({"source": source, "target": target} for source, target in rows)), encoding="utf-8")
    pairs = read_pairs(str(path), "translate")
    assert [(asked[0].content, answer) for asked, answer in zip(pairs.prompts, pairs.answers, strict=True)] == rows


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", " ", "a", "[", "[]", "\ud800"])
)
turn = st.fixed_dictionaries(
    {},
    optional={
        **{
            key: st.one_of(scalars, st.sampled_from(["user", "assistant", "system", "human"]))
            for key in ("role", "from")
        },
        **{key: st.one_of(scalars, st.just("said")) for key in ("content", "value")},
    },
)
right_turns = st.integers(1, 3).map(lambda n: [{"role": role, "content": "c"} for role in ("user", "assistant")] * n)
values = st.one_of(
    scalars,
    st.lists(st.one_of(scalars, turn), max_size=4),
    right_turns,
    st.dictionaries(st.sampled_from(["en", "fr", "translation"]), scalars, max_size=3),
)
names = [
    "text",
    "summary",
    "source",
    "target",
    "translation",
    "messages",
    "instruction",
    "input",
    "output",
    "system",
    "en",
    "fr",
]
any_row = st.dictionaries(st.sampled_from(names), values, max_size=5)


@settings(max_examples=400, deadline=None)
@given(st.lists(any_row, min_size=1, max_size=5), st.sampled_from(TASKS), st.booleans())
def test_every_row_is_read_or_counted(folder: Path, rows: list[dict[str, Any]], task: str, need: bool) -> None:
    path = folder / "any.jsonl"
    path.write_text(lined(*rows), encoding="utf-8")

    def read(bad_rows: str) -> Pairs | str:
        try:
            return read_pairs(str(path), task, bad_rows=bad_rows, need_answers=need)
        except UserError as error:
            return str(error)

    left = read("skip")
    if isinstance(left, str):
        assert "\n" not in left
        assert not need or left == read("fail")
        return
    assert len(left) == len(left.lines) >= 1
    assert left.lines == sorted(left.lines)
    assert len(left.answers) == len(left) or (not need and left.answers == [])
    for asked in left.prompts:
        assert asked[-1].role == "user"
        assert all(not is_blank(said.content) and said.content.encode() for said in asked)
    bad = len(rows) - len(set(left.lines)) - len(left.blank)
    assert bad == 0 or need
    told = [note for note in left.notes if note.startswith(f"left out {bad} of {len(rows)} rows: line ")]
    assert len(told) == (bad > 0)
    strict = read("fail")
    if not need and left.blank:  # of those only what says nothing keeps its place
        assert strict == left or "cannot be used" in str(strict)
        return
    assert strict == left if not bad else f"{bad} of {len(rows)} rows cannot be used: line " in str(strict)


Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def test_asked_and_answered_as_turns(write: Write) -> None:
    rows = [{"prompt": [Q], "completion": [A]}, {"prompt": [Q, A, Q], "completion": "b"}]
    pairs = read_pairs(str(write("a.jsonl", lined(*rows))), "instruct")
    assert pairs.answers == ["a", "b"]
    assert [[turn.content for turn in asked] for asked in pairs.prompts] == [["q"], ["q", "a", "q"]]
    assert not any("begins with the assistant" in note for note in pairs.notes)
    wrong = write("b.jsonl", lined({"prompt": [Q], "completion": [Q]}, rows[0]))
    assert "column 'prompt' does not end with user, or 'completion' not begin with assistant" in fails(
        wrong, "instruct"
    )
    alone = read_pairs(
        str(write("c.jsonl", lined({"prompt": [Q]}, {"prompt": [Q, A, Q]}))), "instruct", need_answers=False
    )
    assert [len(asked) for asked in alone.prompts] == [1, 3]


def test_history_goes_before(write: Write) -> None:
    row = {"instruction": "now", "input": "", "output": "then", "history": [["before", "reply"]], "system": "be brief"}
    pairs = read_pairs(str(write("a.jsonl", lined(row, row | {"history": []}))), "instruct")
    assert [[turn.content for turn in asked] for asked in pairs.prompts] == [
        ["be brief", "before", "reply", "now"],
        ["be brief", "now"],
    ]
    assert "in 1 rows column 'history' holds earlier turns, which are context" in pairs.notes


def test_several_answers_are_a_row_each(write: Write) -> None:
    rows = [{"question": "q", "answers": ["a", "b", "a"]}, {"question": "r", "answers": {"text": ["c"], "start": [1]}}]
    pairs = read_pairs(str(write("a.jsonl", lined(*rows))), "instruct")
    assert (pairs.answers, pairs.lines) == (["a", "b", "c"], [1, 1, 2])
    assert "in 1 rows there are several answers: each is learned" in pairs.notes
    assert "the answer in column 'answers' is a list" in fails(
        write("b.jsonl", lined(rows[0] | {"answers": [1]}, rows[0])), "instruct"
    )


def test_several_answers_in_parquet(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"question": ["q"], "answers": [["a", "b"]], "history": [[["u", "v"]]]})
    parquet.write_table(table, tmp_path / "a.parquet")
    pairs = read_pairs(str(tmp_path / "a.parquet"), "instruct")
    assert (pairs.answers, len(pairs.prompts[0])) == (["a", "b"], 3)


def test_what_is_told_of_conversations_is_counted(write: Write) -> None:
    rows = [{"messages": [A, Q, A]}, {"messages": [Q, A | {"weight": 0}, Q, A]}, {"messages": [Q, A]}]
    notes = read_pairs(str(write("a.jsonl", lined(*rows))), "instruct").notes
    assert notes[-2].startswith("in 1 rows a conversation begins with the assistant")
    assert notes[-1].startswith("in 1 rows an answer has the weight 0")


def test_blank_rows_to_predict_keep_their_places(write: Write) -> None:
    path = write("a.csv", "id,prompt\n1,one\n2, \n3,three\n4,\n")
    pairs = read_pairs(str(path), "instruct", text_column="prompt", need_answers=False, learned=True)
    assert ([asked[0].content for asked in pairs.prompts], pairs.blank) == (["one", "three"], (1, 3))
    assert pairs.notes == [
        "text from column 'prompt', as the run learned it", "2 of 4 rows have no text: their answers are left empty"
    ]  # fmt: skip
    nothing = write("b.csv", "id,prompt\n1,\n")
    assert "none of 1 rows asks anything" in fails(nothing, "instruct", need_answers=False)


def test_a_column_of_a_name_that_comes_twice_is_not_taken_in_silence(write: Write) -> None:
    path = write("a.csv", "source,target,source,id,id\na,b,c,1,2\nd,e,f,3,4\n")
    assert "two columns are called 'source', and they differ" in refusal(read_pairs, str(path), "translate")
    found = read_pairs(str(path), "translate", text_column="source.1")
    assert [messages[0].content for messages in found.prompts] == ["c", "f"]


def test_turns_that_hold_their_words_under_text_and_columns_beside_them(write: Write) -> None:
    turns = [{"role": "user", "text": "hi"}, {"role": "assistant", "text": "ho"}]
    pairs = read_pairs(str(write("a.jsonl", lined({"messages": turns, "tools": ["x"], "weight": 1}))), "instruct")
    assert (pairs.prompts, pairs.answers) == (user("hi"), ["ho"])
    assert pairs.notes[-1].endswith("; not used: 'tools', 'weight'")


def test_invisible_characters_ask_and_answer_nothing(write: Write) -> None:
    rows = [("\u200b", "a"), ("a", "\ufeff\u2060"), ("a", "b")]
    path = write("a.jsonl", lined(*({"text": text, "summary": answer} for text, answer in rows)))
    pairs = read_pairs(str(path), "summarize", bad_rows="skip")
    assert pairs.answers == ["b"]
    turns = [{"role": "user", "content": "\u00ad"}, {"role": "assistant", "content": "a"}]
    assert "turn 1 (user) is empty" in fails(write("b.jsonl", lined({"messages": turns})), "instruct")


def test_the_first_of_what_is_asked_alone_is_not_lost(write: Write) -> None:
    def asked(first: str, task: str, learned: str) -> Pairs:
        path = write("a.csv", f"{first}\nx\n")
        return read_pairs(str(path), task, text_column=learned, need_answers=False, learned=True)

    for task in ("summarize", "translate", "instruct"):
        assert asked("good film", task, "v2").prompts == user("good film", "x")
        assert "names no column of texts, so it is a text" in asked("good film", task, "v2").notes[0]
        for header in ("v2", "text", "messages"):
            assert asked(header, task, "v2").prompts == user("x")
    assert asked("dialogue", "summarize", "v2").prompts == user("x")
    assert asked("fr", "translate", "fr").prompts == user("x")
