"""Scores of generated text: those of the libraries, which are those of the definitions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.errors import UserError
from proxtune.tasks.generation.scoring.metrics import MAIN, each_text, require_scores, score_texts

# Words of three letters at most, which no stemmer changes.
short = st.lists(st.sampled_from(["a", "cat", "sat", "on", "the", "mat"]), min_size=1, max_size=8)


def f_measure(hits: int, answered: int, wanted: int) -> float:
    return 2 * hits / (answered + wanted) if hits else 0.0


def longest_common(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return longest_common(one[:-1], other[:-1]) + 1
    return max(longest_common(one[:-1], other), longest_common(one, other[:-1]))


@settings(max_examples=60, deadline=None)
@given(short, short)
def test_rouge_is_that_of_its_definition(answer: list[str], wanted: list[str]) -> None:
    scores = score_texts("summarize", [" ".join(answer)], [" ".join(wanted)])
    for n in (1, 2):
        one, other = (Counter(zip(*(words[k:] for k in range(n)), strict=False)) for words in (answer, wanted))
        hits = (one & other).total()
        assert scores[f"rouge{n}"] == pytest.approx(f_measure(hits, one.total(), other.total()))
    common = longest_common(answer, wanted)
    assert scores["rougeL"] == pytest.approx(f_measure(common, len(answer), len(wanted)))
    assert each_text("summarize", [" ".join(answer)], [" ".join(wanted)]) == [pytest.approx(scores["rougeL"])]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(short, short), min_size=1, max_size=5))
def test_the_score_is_the_mean_of_the_rows(rows: list[tuple[list[str], list[str]]]) -> None:
    answers, references = ([" ".join(words) for words in side] for side in zip(*rows, strict=True))
    each = each_text("instruct", answers, references)
    assert score_texts("instruct", answers, references)["rougeL"] == pytest.approx(sum(each) / len(each))


def test_words_are_stemmed_and_case_does_not_count() -> None:
    assert score_texts("summarize", ["Running dogs"], ["the dog runs"])["rouge1"] == pytest.approx(4 / 5)


def test_instruct_counts_what_is_exactly_right() -> None:
    scores = score_texts("instruct", ["Paris ", "paris", "", "no"], ["Paris", "Paris", "x", "yes"])
    assert scores["exact"] == 0.25
    assert set(scores) == {"rouge1", "rouge2", "rougeL", "exact"}


@settings(max_examples=40, deadline=None)
@given(short, short)
def test_chrf_is_that_of_its_definition(answer: list[str], wanted: list[str]) -> None:
    one, other = "".join(answer), "".join(wanted)  # spaces do not count
    parts = []
    for n in range(1, 7):
        grams, due = (Counter(text[k : k + n] for k in range(len(text) - n + 1)) for text in (one, other))
        if grams and due:
            hits = (grams & due).total()
            parts.append((hits / grams.total(), hits / due.total()))
    precision, recall = (sum(side) / len(parts) for side in zip(*parts, strict=True))
    expected = 500 * precision * recall / (4 * precision + recall) if precision + recall else 0.0  # F with β = 2
    assert each_text("translate", [" ".join(answer)], [" ".join(wanted)]) == [pytest.approx(expected, abs=1e-6)]


def test_translations_right_and_wrong() -> None:
    same = "le chat est sur le tapis du salon"
    assert score_texts("translate", [same], [same]) == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    wrong = score_texts("translate", ["xyz"], [same])
    assert wrong["bleu"] == 0
    assert wrong["chrf"] < 5
    both = score_texts("translate", [same, ""], [same, same])
    assert 0 < both["bleu"] < 100


@pytest.mark.parametrize("task", ["summarize", "translate", "instruct"])
def test_an_empty_answer_scores_nothing(task: str) -> None:
    assert each_text(task, ["", "!"], ["a word", "a word"]) == [0, 0]
    assert MAIN[task] in score_texts(task, [""], ["a word"])
    with pytest.raises(ValueError, match="no answers"):
        score_texts(task, [], [])
    with pytest.raises(ValueError, match="1 answers but 2 references"):
        each_text(task, ["a"], ["a", "b"])


@pytest.mark.parametrize(("task", "library"), [("summarize", "rouge-score"), ("translate", "sacrebleu")])
def test_without_the_library(task: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_scores(task)
    for name in (library.replace("-", "_"), f"{library.replace('-', '_')}.metrics", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    advice = rf"{library}; run `pip install 'proxtune\[text\]'`"
    with pytest.raises(UserError, match=advice):
        require_scores(task)
    with pytest.raises(UserError, match=advice):
        score_texts(task, ["a"], ["a"])


def test_imports_are_small_and_leave_nltk_to_others() -> None:
    code = """
import json, sys
import proxtune.tasks.generation.scoring.metrics as scores
heavy = ("torch", "pandas", "sklearn", "scipy", "nltk", "nltk.stem.porter", "rouge_score", "sacrebleu")
here = lambda: [name for name in heavy if name in sys.modules]
before = here()
scores.require_scores("summarize"), scores.require_scores("translate")
asked = here()
stemmed = scores.score_texts("summarize", ["running"], ["runs"])["rouge1"]
scores.score_texts("translate", ["un chien"], ["le chien"])
print(json.dumps([before, asked, here(), stemmed]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], [], ["rouge_score", "sacrebleu"], 1.0]
