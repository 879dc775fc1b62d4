"""Which task a file is for, from its columns and its first rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.samples import movies_path, translations_path
from proxtune.tasks.detection import guess_task, sample_for
from proxtune.tasks.generation.reader import read_pairs
from support.files import Write


def rows(**columns: str) -> str:
    """Twelve rows; {n} in a cell is the row's number, {k} its class of two."""
    made = [{name: cell.format(n=n, k=n % 2) for name, cell in columns.items()} for n in range(12)]
    return "".join(json.dumps(row) + "\n" for row in made)


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ({"text": "a film {n}", "label": "{k}"}, "classify"),
        ({"text": "a film {n}", "target": "{k}"}, "classify"),
        ({"source": "a film {n}", "target": "kind {k}"}, "classify"),
        ({"source": "a film {n}", "target": "{n}"}, "classify"),
        ({"source": "a film {n}", "target": "un film {n}"}, "translate"),
        ({"source": "a film {n}", "target": "電影{n}"}, "translate"),
        ({"en": "a film {n}", "fr": "un film {n}"}, "translate"),
        ({"id": "{n}", "en": "a film {n}", "fr": "un film {n}"}, "translate"),
        ({"id": "{n}", "en": "a film {n}", "label": "{k}"}, "classify"),
        ({"no": "tw_{n}", "br": "um filme {n}", "label": "{k}"}, "classify"),
        ({"text": "a film {n}", "summary": "film"}, "summarize"),
        ({"dialogue": "a film {n}", "summary": "film {n}", "topic": "a talk of {n}"}, "summarize"),
        ({"reviewText": "x", "text": "a film {n}", "summary": "film {n}", "rating": "{k}"}, "classify"),
        ({"title": "a film {n}", "text": "a long film {n}", "label": "{k}"}, "classify"),
        ({"id": "{n}", "title": "a film {n}", "text": "a long film {n}"}, "summarize"),
        ({"title": "a film {n}", "text": "a long film {n}", "author": "{n}"}, "classify"),
        ({"prompt": "a film {n}", "completion": "yes"}, "instruct"),
        ({"instruction": "Do {n}", "input": "", "output": "{k}"}, "instruct"),
        ({"question": "Who is {n}?", "answer": "It is {n}"}, "instruct"),
        ({"question": "Is it {n}?", "answer": "yes {k}"}, "classify"),
        ({"sentence": "a film {n}", "stars": "{k}"}, "classify"),
        ({"prompt": "a film {n}", "chosen": "kind {k}", "rejected": "no {k}"}, "instruct"),
        ({"text": "a film {n}", "chosen": "{k}"}, "classify"),
    ],
)
def test_from_names_and_cells(write: Write, columns: dict[str, str], task: str) -> None:
    found, why = guess_task(str(write("a.jsonl", rows(**columns))))
    assert found == task
    assert why


def test_conversations_and_translations(write: Write) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    assert guess_task(str(write("a.jsonl", json.dumps({"messages": turns})))) == (
        "instruct",
        "column 'messages' holds conversations",
    )
    both = {"translation": {"en": "a cat", "fr": "un chat"}}
    assert guess_task(str(write("b.jsonl", json.dumps(both)))) == ("translate", "columns 'en' and 'fr'")
    assert guess_task(str(write("c.jsonl", rows(messages="word {n}", label="{k}"))))[0] == "classify"


def test_the_bundled_samples() -> None:
    assert guess_task(str(movies_path()))[0] == "classify"
    assert guess_task(str(translations_path())) == ("translate", "columns 'source' and 'target'")


def test_named_columns_decide(write: Write) -> None:
    path = str(write("a.jsonl", rows(text="a film {n}", summary="film {n}", mood="{k}", fr="un {n}", en="a {n}")))
    assert guess_task(path)[0] == "summarize"
    assert guess_task(path, label_column="mood")[0] == "classify"
    assert guess_task(path, text_column="fr", label_column="en") == ("translate", "columns 'fr' and 'en'")
    with pytest.raises(UserError, match="no column 'x' for --label-column"):
        guess_task(path, label_column="x")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_no_more_than_the_first_rows_are_read(write: Write, kind: str) -> None:
    mark = "\t" if kind == "tsv" else ","
    if kind == "jsonl":
        lines = [json.dumps({"source": f"a {n}", "target": f"un {n}"}) for n in range(2_000)]
    else:
        lines = [f"source{mark}target", *(f"a {n}{mark}un {n}" for n in range(2_000))]
    path = write(f"a.{kind}", "\n".join(lines).encode() + b"\nbroken \xff\0\n")
    assert guess_task(str(path)) == ("translate", "columns 'source' and 'target'")
    with pytest.raises(UserError, match=r"1 field where|not JSON"):
        read_pairs(str(path), "translate")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_tables(tmp_path: Path, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table(
        {"article": [f"a long film {n}" for n in range(300)], "highlights": [f"film {n}" for n in range(300)]}
    )
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    assert guess_task(str(path)) == ("summarize", "columns 'article' and 'highlights'")


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "translate"),
        ({"architectures": ["GPT2LMHeadModel"]}, "translate"),
        ({"architectures": ["T5Model"], "is_encoder_decoder": True}, "translate"),
        ({"architectures": ["BertModel"]}, "classify"),
        ({"architectures": None}, "classify"),
    ],
)
def test_a_model_is_tried_on_a_sample_that_it_is_made_for(write: Write, config: dict[str, object], task: str) -> None:
    folder = write("model/config.json", json.dumps(config)).parent
    found, sample = sample_for(folder)
    assert found == task
    assert sample.is_file()


@pytest.mark.parametrize("answers", [["a film", "two"], {"text": ["1984"], "answer_start": [3]}])
def test_several_answers_to_a_question_are_learned_as_texts(write: Write, answers: object) -> None:
    squad = [
        {"id": str(n), "title": "Films", "context": f"of film {n}", "question": f"which {n}?", "answers": answers}
        for n in range(9)
    ]
    path = write("squad.jsonl", "".join(json.dumps(row) + "\n" for row in squad))
    assert guess_task(str(path)) == ("instruct", "columns 'question' and 'answers'")
