"""The report as a file: whole, safe to open, small, and the same bytes for the same run."""

import json
import re
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.report.html import write_report
from support.reports import (
    ANSWERS,
    ANSWERS_RUN,
    LABELS,
    LABELS_RUN,
    Nesting,
    page_with,
    result_with,
    sections_of,
    soiled,
    words_of,
)

OF_LABELS = ("result", "budget", "memory", "learning", "confusion", "mistakes", "plans", "step-downs", "data", "recipe")
OF_ANSWERS = ("result", "answers", "worst", "budget", "memory", "learning", "plans", "step-downs", "data", "recipe")


def test_every_section_of_a_classification_is_there_and_the_page_is_small(run_dir):
    path = write_report(run_dir)
    page = path.read_text(encoding="utf-8")
    assert sections_of(page) == OF_LABELS
    assert path == run_dir / "report.html"
    assert path.stat().st_size < 400_000
    assert page.count("<svg") == 3
    names = sorted(p.name for p in LABELS_RUN.iterdir())
    assert sorted(p.name for p in run_dir.iterdir()) == sorted([*names, "model", "report.html"])


def test_every_section_of_a_generation_is_there_and_no_word_of_labels(answers_dir):
    page = write_report(answers_dir).read_text(encoding="utf-8")
    assert sections_of(page) == OF_ANSWERS
    assert page.count("<svg") == 2  # memory and loss
    assert not re.search(r"accura|macro F1|confus|majority|TF-IDF|labels", words_of(page), re.IGNORECASE)


def test_the_numbers_of_the_run_are_on_the_page(run_dir):
    page = page_with(run_dir)
    for words in ("86.1 % accuracy on 1,600 validation rows", "76.7 %", "643 MB", "661 MB", "+2.9 %", "−5.5 %",
                  "7 min 35 s", "allocation refused", "needs 1.04 GB, the budget has 700 MB", "7215",
                  "test.csv", "75.9 %"):  # fmt: skip
        assert words in page


def test_the_page_loads_nothing_and_ids_are_unique(run_dir):
    page = page_with(run_dir)
    tags = Nesting(page).tags
    assert "http" not in page
    assert "@import" not in page
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "base"}
    links = [v for _, attrs in tags for key, v in attrs.items() if key in ("src", "href", "xlink:href", "action")]
    assert all(link.startswith("#") for link in links)
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {link[1:] for link in links} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids)


@pytest.mark.parametrize("kind", ["run_dir", "answers_dir"])
def test_the_same_run_makes_the_same_bytes(request, kind):
    folder = request.getfixturevalue(kind)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


@pytest.mark.parametrize(("kind", "task"), [("run_dir", "classify"), ("answers_dir", "summarize")])
def test_a_users_words_stay_words(request, kind, task):
    folder = request.getfixturevalue(kind)
    hostile = soiled({})
    name = next(iter(hostile))
    result = soiled(LABELS if kind == "run_dir" else ANSWERS) | {"task": task}
    result["baselines"][name] = {"accuracy": 0.5, "rougeL": 0.5}
    result["measured"]["memory_bytes"][name] = 5
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "recipe.toml").write_text(name, encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps({"table": [{"plan": {"name": name}, "status": name}]}))
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"kind": "phase", "phase": name, "seconds": 3.0}) + "\n")
    page = write_report(folder).read_text(encoding="utf-8")
    tags = Nesting(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img"})
    assert not any(key.startswith("on") for _, attrs in tags for key in attrs)
    assert "{{ 7*7 }}" in page


ODD = [None, {}, [], "odd", 3]


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("key", sorted(LABELS))
def test_a_key_of_a_classification_may_be_missing_or_odd(run_dir, key):
    for value in ODD:
        (run_dir / "result.json").write_text(json.dumps(LABELS))
        Nesting(page_with(run_dir, **{key: value}))


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("key", sorted(ANSWERS))
def test_a_key_of_a_generation_may_be_missing_or_odd(answers_dir, key):
    for value in (*ODD, {"samples": 3, "untouched": "x", "test": []}, [{}, 3, {"asked": 3}]):
        (answers_dir / "result.json").write_text(json.dumps(ANSWERS))
        Nesting(page_with(answers_dir, **{key: value}))


@pytest.mark.parametrize("key", ["budget", "predicted", "plan", "baselines"])  # what the charts look at
@pytest.mark.parametrize("value", [None, {}, "odd"], ids=["missing", "empty", "text"])
def test_what_the_charts_look_at_may_be_missing_or_odd(run_dir, key, value):
    Nesting(page_with(run_dir, **{key: value}))


@pytest.mark.parametrize("name", ["plan.json", "metrics.jsonl", "recipe.toml"])
@pytest.mark.parametrize("content", [None, b"", b'{"torn', b"\xff\xfe", b"[]\n3\nnull\n{}\n"])
def test_a_file_may_be_missing_or_torn(run_dir, name, content):
    (run_dir / name).unlink()
    if content is not None:
        (run_dir / name).write_bytes(content)
    Nesting(page_with(run_dir))


def test_an_empty_result_makes_a_page(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    assert "No validation result yet" in write_report(tmp_path).read_text(encoding="utf-8")


def test_numbers_that_are_none_become_dashes(run_dir):
    lines = [{"kind": "step", "step": s, "seconds": s, "loss": float("nan"), "memory_bytes": None} for s in (1, 2, 3)]
    lines.append({"kind": "validation", "step": 3, "seconds": 4, "accuracy": float("inf"), "loss": None})
    (run_dir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    page = page_with(run_dir, metrics={"accuracy": float("nan"), "macro_f1": None, "loss": float("inf")})
    assert not re.search(r"\bnan\b|\binf\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL), re.IGNORECASE)


def test_a_long_run_stays_a_small_page(run_dir):
    record = {"kind": "step", "loss": 0.5, "memory_bytes": 600_000_000}
    lines = [record | {"step": s, "seconds": s / 10} for s in range(40_000)]
    lines[777]["memory_bytes"] = 690_000_000
    (run_dir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = json.loads((run_dir / "plan.json").read_text(encoding="utf-8"))["table"] * 100
    (run_dir / "plan.json").write_text(json.dumps({"table": table}))
    wordy = [{"text": "word " * 5000, "label": "a" * 500, "predicted": "b", "confidence": 0.9, "line": 1}] * 1000
    page = page_with(run_dir, mistakes=wordy)
    assert len(page.encode()) < 400_000
    assert "further plans are in plan.json" in page


@pytest.mark.usefixtures("no_charts")
def test_long_answers_stay_a_small_page(answers_dir):
    texts = dict.fromkeys(("asked", "reference", "before", "after"), "word " * 5000)
    wordy = [{"line": 1, "score": 0.5, **texts}] * 999
    assert len(page_with(answers_dir, samples=wordy, worst=wordy).encode()) < 400_000


def test_odd_text_does_not_stop_the_page(run_dir):
    odd = [{"text": "lone \ud800 surrogate \u2028 and \x00", "label": "a", "predicted": "b", "confidence": 0.9}]
    assert "lone" in page_with(run_dir, mistakes=odd)


def test_a_run_of_a_task_that_is_not_installed_still_gets_its_report(run_dir):
    page = page_with(run_dir, task="a task of another package")
    assert "86.1 % accuracy" in page


def test_a_page_that_cannot_be_written_leaves_the_old_one(run_dir, monkeypatch):
    old = write_report(run_dir).read_bytes()
    result_with(run_dir, {"status": "interrupted"})

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        write_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == old
    assert not list(run_dir.glob(".*.part"))


def test_no_private_word_is_left_on_either_page(run_dir, answers_dir):
    assert ANSWERS_RUN.is_dir()
    for folder in (run_dir, answers_dir):
        found = re.sub(
            r"<p class=\"note.*?</p>", "", write_report(folder).read_text(encoding="utf-8")
        )  # a run's own words
        for word in ("untouched", "judged", "person", "learn from", "kept aside", "bites"):
            assert word not in words_of(found), word
