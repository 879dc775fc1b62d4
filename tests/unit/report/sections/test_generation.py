"""The report of a run that writes texts: scores beside baselines, answers to read, and not a word of labels."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from proxtune.report.html import write_report
from proxtune.report.sections.generation import answers, notes, scores

FIXTURE = Path(__file__).parents[3] / "fixtures" / "answers_run"
SECTIONS = ("result", "answers", "worst", "budget", "memory", "learning", "plans", "step-downs", "data", "recipe")
RESULT = json.loads((FIXTURE / "result.json").read_text(encoding="utf-8"))
HOSTILE = "<script>alert(1)</script>\"'<img src=x onerror=alert(2)>{{ 7*7 }}"


@pytest.fixture
def run_dir(tmp_path):
    return Path(shutil.copytree(FIXTURE, tmp_path / "run"))


def page_of(run_dir, **changes):
    """The page with the top-level keys of its result changed; None takes one away."""
    kept = {key: value for key, value in {**RESULT, **changes}.items() if value is not None}
    (run_dir / "result.json").write_text(json.dumps(kept), encoding="utf-8")
    return write_report(run_dir).read_text(encoding="utf-8")


class Nesting(HTMLParser):
    """Collects every tag, and fails where one closes that was not open."""

    def __init__(self, page):
        super().__init__()
        self.tags, self._open = [], []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def words_of(page):
    """What a reader sees."""
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)).split())


def test_every_section_is_there_and_none_of_labels(run_dir):
    page = page_of(run_dir)
    assert tuple(attrs["id"] for tag, attrs in Nesting(page).tags if tag == "section") == SECTIONS
    assert page.count("<svg") == 2  # memory and loss
    assert not re.search(r"accura|macro F1|confus|majority|TF-IDF|labels", words_of(page), re.IGNORECASE)


def test_the_headline_is_the_main_score_beside_the_untouched_model_and_the_baselines(run_dir):
    page = page_of(run_dir)
    assert "<h1>ROUGE-L 31.3 on 100 rows kept aside</h1>" in page
    assert '<p class="lead">Against 18.4 for the untouched model and 19.1 for the first sentence.</p>' in page
    told = words_of(page)
    assert "Perplexity 11.1 22.4 before training" in told
    assert told.count("12.2 points above the best of these") == 1
    assert "before training" in page[page.index('id="learning"') :]  # the line in the chart


def test_the_table_has_every_score_of_the_model_the_untouched_one_and_the_baselines(run_dir):
    found = scores(RESULT)
    assert found["columns"] == ["ROUGE-L", "ROUGE-1", "ROUGE-2", "loss", "perplexity"]
    assert {row["name"]: row["cells"] for row in found["rows"]} == {
        "this model": ["31.3", "38.1", "15.2", "2.411", "11.1"],
        "the untouched model": ["18.4", "25.1", "6.3", "3.107", "22.4"],
        "the first sentence": ["19.1", "22.9", "7.1", "–", "–"],
    }
    assert [row["width"] for row in found["rows"]] == pytest.approx([100, 58.91, 60.98], abs=0.01)
    assert "On test.jsonl, 250 rows" in page_of(run_dir)
    assert "7 rows were longer than the model takes" in page_of(run_dir)


@pytest.mark.parametrize(
    ("task", "main", "row", "cells"),
    [
        ("translate", "chrf", {"bleu": 12.345, "chrf": 41.5, "loss": 1.5, "perplexity": 4.48}, "41.5 12.3 1.500 4.5"),
        (
            "instruct",
            "rougeL",
            {"rouge1": 0.5, "rougeL": 0.5, "exact": 0.125, "perplexity": 9e6},
            "50.0 50.0 12.5 9e+06",
        ),
    ],
)
def test_points_are_those_of_the_task(run_dir, task, main, row, cells):
    told = {"task": task, "main_metric": main, "metrics": row, "baselines": {}}
    assert scores(told)["rows"][0]["cells"] == cells.split()
    assert f"<h1>{'chrF 41.5' if task == 'translate' else 'ROUGE-L 50.0'} on" in page_of(run_dir, **told)


def test_answers_are_there_to_read_with_long_ones_folded(run_dir):
    first, second, third = answers(RESULT, "samples")
    assert (first["line"], first["score"], first["after"]["begin"]) == ("12", "0.0", "(nothing)")
    assert second["before"]["begin"] == "–"
    assert first["asked"]["begin"].endswith("…")
    assert first["asked"]["whole"] == RESULT["samples"][0]["asked"].strip()
    assert third["reference"] == {"begin": "Slow & late <b>bold</b>", "whole": ""}
    page = page_of(run_dir)
    assert "Slow &amp; late &lt;b&gt;bold&lt;/b&gt;" in page
    assert page.count('<details class="fold">') == 8


def test_what_was_cut_or_left_out_or_is_uncertain_is_said_at_the_top(run_dir):
    told = [note["text"] for note in notes(RESULT)]
    assert "41 of 3,200 rows were longer than 512 tokens and were cut there." in told
    assert any(text.startswith("Left out 3 of 3,203 rows: line 17 (the answer is empty)") for text in told)
    few = notes(RESULT | {"judged_answers": 20})
    assert any(note["text"].startswith("Only 20 answers were judged") for note in few)
    assert not any("Only" in text for text in told)


def test_a_model_that_does_not_win_is_told_plainly_and_once(run_dir):
    said = "The model answers with ROUGE-L 15.0 on the judged rows: it does not beat all of these."
    page = page_of(run_dir, beats_baselines=False, verdict=said)
    assert page.count(said) == 1
    assert f'<p class="note bad">{said}' in page


def test_a_persons_words_stay_words(run_dir):
    def soil(value):
        if isinstance(value, dict):
            return {key: soil(each) for key, each in value.items()} | {HOSTILE: HOSTILE}
        if isinstance(value, list):
            return [soil(each) for each in value]
        return HOSTILE if isinstance(value, str) else value

    soiled = soil(RESULT) | {"task": "summarize"}
    soiled["baselines"][HOSTILE] = {"rougeL": 0.5}
    page = page_of(run_dir, **soiled)
    assert {tag for tag, _ in Nesting(page).tags}.isdisjoint({"script", "img"})
    assert "{{ 7*7 }}" in page


@pytest.mark.parametrize("key", sorted(RESULT))
def test_a_key_may_be_missing_or_odd(run_dir, monkeypatch, key):
    for chart in ("memory_chart", "loss_chart", "curves_chart"):  # they take their time, and test_report looks at them
        monkeypatch.setattr(f"proxtune.report.page.{chart}", lambda *_: "")
    for value in (None, {}, [], "odd", 3, {"samples": 3, "untouched": "x", "test": []}, [{}, 3, {"asked": 3}]):
        Nesting(page_of(run_dir, **{key: value}))


def test_the_same_run_makes_the_same_bytes_and_a_long_one_a_small_page(run_dir):
    assert page_of(run_dir) == page_of(run_dir)
    wordy = [
        {"line": 1, "score": 0.5, **dict.fromkeys(("asked", "reference", "before", "after"), "word " * 5000)}
    ] * 999
    assert len(page_of(run_dir, samples=wordy, worst=wordy).encode()) < 400_000
