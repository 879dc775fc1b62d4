"""rouge-score without all of NLTK: what is imported for it, and what is left to others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxtune.tasks.generation.scoring import rouge
from support.scripts import in_a_process_of_its_own


def test_an_nltk_that_wants_all_of_itself_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def too_bare() -> Iterator[None]:
        raise ImportError("no module of NLTK's")
        yield

    monkeypatch.setattr(rouge, "_bare_nltk", too_bare)
    assert rouge.import_rouge().RougeScorer(["rouge1"]).score("a", "a")["rouge1"].fmeasure == 1


def test_it_takes_one_file_of_nltk_and_whoever_imports_nltk_later_gets_all_of_it() -> None:
    stemmed, heavy, whole = in_a_process_of_its_own(
        """
import json, sys
from proxtune.tasks.generation.scoring.rouge import import_rouge
scorer = import_rouge().RougeScorer(["rouge1"], use_stemmer=True)
stemmed = scorer.score("running", "runs")["rouge1"].fmeasure
heavy = [name for name in ("nltk", "sklearn", "scipy", "pandas") if name in sys.modules]
import nltk
print(json.dumps([stemmed, heavy, hasattr(nltk, "word_tokenize")]))
"""
    )
    assert (stemmed, heavy, whole) == (1.0, [], True)


def test_without_it_the_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rouge_score", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        rouge.import_rouge()
