"""Columns of what is asked and what is answered: as named, or guessed and said."""

from __future__ import annotations

import pytest

from proxtune.data.readers.delimited import read_csv
from proxtune.data.table import Table
from proxtune.tasks.generation.columns import (
    PairColumns,
    choose_pair_columns,
    find_languages,
    find_turns,
    spread_translations,
)
from support.files import Write, refusal

TURNS: list[object] = [[{"role": "user", "content": "u"}]]


def table(*names: str, **columns: list[object]) -> Table:
    """A row of text in each of the columns that are named alone."""
    cells: dict[str, list[object]] = {name: ["v"] for name in names}
    return Table(columns=cells | columns, lines=[1])


def columns_of(
    table: Table, task: str, text: str | None = None, label: str | None = None, need: bool = True
) -> PairColumns:
    return choose_pair_columns(table, "a.csv", task, text, label, need)


def fails(table: Table, task: str, text: str | None = None, label: str | None = None, need: bool = True) -> str:
    return refusal(choose_pair_columns, table, "a.csv", task, text, label, need)


@pytest.mark.parametrize(
    ("task", "header", "columns"),
    [
        ("summarize", "text,summary", ("text", "summary")),
        ("summarize", "id,article,highlights", ("article", "highlights")),
        ("summarize", "id,Dialogue,Summary,topic", ("Dialogue", "Summary")),
        ("summarize", "title,document", ("document", "title")),
        ("summarize", "title,abstract", ("abstract", "title")),
        ("translate", "source,target", ("source", "target")),
        ("translate", "src,tgt,id", ("src", "tgt")),
        ("translate", "en,fr", ("en", "fr")),
        ("translate", "id,de,pt-BR", ("de", "pt-BR")),
        ("translate", "en,id", ("en", "id")),
        ("translate", "text,translation", ("text", "translation")),
        ("instruct", "prompt,completion", ("prompt", "completion")),
        ("instruct", "question,answer", ("question", "answer")),
        ("instruct", "input,output", ("input", "output")),
        ("instruct", "query,response", ("query", "response")),
        ("instruct", "instruction,input,output", ("instruction", "input", "output")),
        ("instruct", "instruction,context,response,category", ("instruction", "context", "response")),
        ("instruct", "system,question,response", ("question", "system", "response")),
    ],
)
def test_usual_names(task: str, header: str, columns: tuple[str, ...]) -> None:
    found = columns_of(table(*header.split(",")), task)
    assert found.names == columns
    assert found.note is not None
    assert found.note.endswith("(guessed; --text-column/--label-column to change)")


def test_named_columns_are_taken_and_not_called_guesses() -> None:
    rows = table("text", "summary", "other", "short")
    assert columns_of(rows, "summarize", "other", "short") == PairColumns(prompt="other", answer="short")
    note = "summary from column 'summary' (guessed; --label-column to change)"
    assert columns_of(rows, "summarize", "other") == PairColumns(prompt="other", answer="summary", note=note)
    assert columns_of(table("en", "fr"), "translate", "fr").answer == "en"
    assert columns_of(table("en", "fr"), "translate", label="en").prompt == "fr"


def test_columns_that_are_not_there() -> None:
    rows = table("text", "author")
    assert "no summary column among 'text', 'author'; name it with --label-column" in fails(rows, "summarize")
    assert columns_of(rows, "summarize", need=False).answer is None
    assert "no prompt column among 'author', 'kind'" in fails(table("author", "kind"), "instruct")
    assert "no column 'x' for --text-column; there are 'text', 'author'" in fails(rows, "summarize", "x")
    assert "the text and the summary cannot both be column 'text'" in fails(rows, "summarize", "text", "text")


def test_a_file_without_a_header(write: Write) -> None:
    rows = read_csv(write("a.csv", "A film that is much too long,Too long by an hour or more\n" * 2))
    assert "looks like a row, not a header; add a header line such as `text,summary`" in fails(rows, "summarize")


def test_an_input_of_alpacas_belongs_to_an_instruction() -> None:
    rows = table("instruction", "input", "output")
    assert columns_of(rows, "instruct").extra_input == "input"
    assert columns_of(rows, "instruct", "instruction").extra_input == "input"  # as new rows name it
    assert columns_of(table("prompt", "input", "output"), "instruct").extra_input is None


def test_conversations_come_before_prompts_unless_an_answer_is_named() -> None:
    rows = table("prompt", "completion", "system", messages=TURNS)
    note = "conversations from column 'messages' (guessed; --text-column to change)"
    assert columns_of(rows, "instruct") == PairColumns(turns="messages", system="system", note=note)
    assert columns_of(rows, "instruct", "messages").note is None
    assert columns_of(rows, "instruct", label="completion").prompt == "prompt"
    assert columns_of(table("text", "summary", messages=TURNS), "summarize").turns is None


def test_a_column_of_turns_holds_lists() -> None:
    assert find_turns(table(conversations=['[{"from": "human"}]'])) == "conversations"
    assert find_turns(table("messages", chat=TURNS)) == "chat"
    assert find_turns(table(own=TURNS)) is None
    assert find_turns(table(own=TURNS), "own") == "own"


def test_of_preferences_the_chosen_answer_is_learned_and_the_other_is_said_to_be_unused() -> None:
    found = columns_of(table("prompt", "rejected", "chosen"), "instruct")
    assert (found.prompt, found.answer) == ("prompt", "chosen")
    assert found.note is not None
    assert found.note.endswith("; not used: 'rejected'")
    turns = [[{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]]
    whole = columns_of(table("prompt", chosen=turns, rejected=turns), "instruct")
    assert whole.turns == "chosen"
    assert whole.note == "conversations from column 'chosen' (guessed; --text-column to change); not used: 'rejected'"
    apart = columns_of(table(prompt=[turns[0][:1]], chosen=[turns[0][1:]]), "instruct")
    assert (apart.turns, apart.prompt, apart.answer) == (None, "prompt", "chosen")


def test_languages_are_two_columns_of_text() -> None:
    assert find_languages(table("en", "pt_BR", "label")) == ("en", "pt_BR")
    assert find_languages(table("id", "en", "fr")) == ("en", "fr")
    assert find_languages(table("de", "en", "fr")) is None
    assert find_languages(table("en", no=[1])) is None


def test_translations_in_objects_become_columns() -> None:
    cells: list[object] = [None, {"en": "cat", "fr": "chat"}, "?", {"en": "dog", "de": "Hund"}]
    spread = spread_translations(Table(columns={"id": [1, 2, 3, 4], "Translation": cells}, lines=[1, 2, 3, 4]))
    assert spread.columns == {"id": [1, 2, 3, 4], "en": [None, "cat", None, "dog"], "fr": [None, "chat", None, None]}
    plain = table("translation")
    assert spread_translations(plain) is plain
    taken = spread_translations(table("en", translation=[{"en": "cat"}]))
    assert taken.columns == {"en": ["v"]}, "a column of that name stays"


SENTENCES: list[object] = [f"a whole sentence number {n}" for n in range(4)]


def test_history_is_used_and_what_is_not_is_said() -> None:
    rows = table("instruction", "output", "history", context=SENTENCES, remark=SENTENCES)
    found = columns_of(rows, "instruct")
    assert (found.history, found.extra_input) == ("history", "context")
    assert found.names == ("instruction", "context", "history", "output")
    assert found.note is not None
    assert found.note.endswith("; not used: 'remark'")
    judged = columns_of(table("prompt", "completion", label=[True]), "instruct")
    assert str(judged.note).endswith("; not used: 'label'")  # not all answers may be good ones
    asked = columns_of(table("question", "answer", context=SENTENCES), "instruct")
    assert (asked.prompt, asked.extra_input) == ("question", "context"), "the answer is found in it"
    chosen = columns_of(table("question", "answer", options=[["a", "b"]]), "instruct")
    assert str(chosen.note).endswith("; not used: 'options'")
    assert str(columns_of(table("en", "fr", label=[1]), "translate").note).endswith("; not used: 'label'")


def test_columns_that_a_run_learned_from() -> None:
    rows = table("v2", "notes")
    assert choose_pair_columns(rows, "a.csv", "instruct", "v2", None, False, learned=True) == PairColumns(
        prompt="v2", note="text from column 'v2', as the run learned it"
    )
    message = refusal(choose_pair_columns, rows, "a.csv", "instruct", "prompt", None, False, learned=True)
    assert message == (
        "a.csv: no column 'prompt', which the run learned from; there are 'v2', 'notes'; rename the one that holds it"
    )
    assert choose_pair_columns(table("x"), "a.csv", "instruct", "prompt", None, False, learned=True).prompt == "x"
    turns = choose_pair_columns(table(chat=TURNS), "a.jsonl", "instruct", "messages", None, False, learned=True)
    assert turns.turns == "chat"


def test_sentences_and_other_turns_beside_conversations_are_said_to_be_unused() -> None:
    said: list[object] = [[{"role": "user", "content": f"a question number {n}"}] for n in range(4)]
    repeated: list[object] = [f"a question number {n}" for n in range(4)]
    rows = Table({"messages": said, "conversations": said, "context": [*SENTENCES], "prompt": repeated}, [1, 2, 3, 4])
    assert str(columns_of(rows, "instruct").note).endswith("; not used: 'context', 'conversations'")


@pytest.mark.parametrize("numbers", [["0", "1", "2"], ["tw_0", "tw_1", "tw_2"], [0, 1, 2]])
def test_the_numbers_of_rows_are_no_language(numbers: list[object]) -> None:
    for name in ("id", "no", "sr"):
        rows = Table({name: numbers, "en": ["a film"] * 3, "label": ["neg"] * 3}, [1, 2, 3])
        assert find_languages(rows) is None
    assert find_languages(Table({"en": ["cat", "dog"], "id": ["kucing", "anjing"]}, [1, 2])) == ("en", "id")


def test_columns_beside_conversations_are_said_to_be_unused() -> None:
    rows = table("weight", messages=TURNS, tools=[[{"name": "search"}]], label=[True], id=[1], score=[None])
    found = columns_of(rows, "instruct")
    assert found.turns == "messages"
    assert str(found.note).endswith("to change); not used: 'weight', 'tools', 'label'")
    assert columns_of(rows, "instruct", "messages").note == "not used: 'weight', 'tools', 'label'"
    assert "not used" not in str(choose_pair_columns(rows, "a.jsonl", "instruct", None, None, False).note)
    learned = choose_pair_columns(rows, "a.jsonl", "instruct", "messages", None, True, learned=True)
    assert learned.note == "text from column 'messages', as the run learned it"
    many = table(*("weight", "label", "labels", "score", "rating"), messages=TURNS)
    assert str(columns_of(many, "instruct").note).endswith("'weight', 'label', 'labels', 'score', ...")
    prompts = table("prompt", "completion", "weight", "rating")
    assert str(columns_of(prompts, "instruct").note).endswith("not used: 'weight', 'rating'")
