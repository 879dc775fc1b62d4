"""The report: whole, safe to open, honest, and the same bytes for the same run."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.report.html import write_report
from proxtune.report.run_files import RunFiles

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run"
SECTIONS = ("result", "budget", "memory", "learning", "confusion", "mistakes", "plans", "step-downs", "data", "recipe")
HOSTILE = "<script>alert(1)</script>\"'<img src=x onerror=alert(2)>{{ 7*7 }}$x^2$"
VOID = {"meta", "br", "img", "input", "link", "hr"}


@pytest.fixture
def run_dir(tmp_path):
    return Path(shutil.copytree(FIXTURE, tmp_path / "run"))


def page_of(run_dir, **changes):
    """The page of the fixture with the top-level keys of its result changed; None takes one away."""
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    result.update(changes)
    kept = {key: value for key, value in result.items() if value is not None}
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
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_every_section_is_there_and_the_page_is_small_and_well_formed(run_dir):
    path = write_report(run_dir)
    page = path.read_text(encoding="utf-8")
    ids = [attrs["id"] for tag, attrs in Nesting(page).tags if tag == "section"]
    assert tuple(ids) == SECTIONS
    assert path == run_dir / "report.html"
    assert path.stat().st_size < 400_000
    assert page.count("<svg") == 3
    assert sorted(p.name for p in run_dir.iterdir()) == sorted([*(p.name for p in FIXTURE.iterdir()), "report.html"])


def test_the_numbers_of_the_run_are_on_the_page(run_dir):
    page = page_of(run_dir)
    for words in ("86.1 % right on 1,600 rows", "76.7 %", "643 MB", "661 MB", "+2.9 %", "−5.5 %",
                  "7 min 35 s", "allocation refused", "needs 1.04 GB, the budget has 700 MB", "7215",
                  "test.csv", "75.9 %"):  # fmt: skip
        assert words in page


def test_the_page_loads_nothing_and_ids_are_unique(run_dir):
    page = page_of(run_dir)
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


def test_the_same_run_makes_the_same_bytes(run_dir):
    first = write_report(run_dir).read_bytes()
    assert write_report(run_dir).read_bytes() == first


def test_a_persons_words_stay_words(run_dir):
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))

    def soil(value):
        if isinstance(value, dict):
            return {key: soil(each) for key, each in value.items()} | {HOSTILE: HOSTILE}
        if isinstance(value, list):
            return [soil(each) for each in value]
        return HOSTILE if isinstance(value, str) else value

    soiled = soil(result)
    soiled["baselines"][HOSTILE] = {"accuracy": 0.5}
    soiled["measured"]["memory_bytes"][HOSTILE] = 5
    (run_dir / "result.json").write_text(json.dumps(soiled), encoding="utf-8")
    (run_dir / "recipe.toml").write_text(HOSTILE, encoding="utf-8")
    (run_dir / "plan.json").write_text(json.dumps({"table": [{"plan": {"name": HOSTILE}, "status": HOSTILE}]}))
    with (run_dir / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"kind": "phase", "phase": HOSTILE, "seconds": 3.0}) + "\n")
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert {tag for tag, _ in Nesting(page).tags}.isdisjoint({"script", "img"})
    assert not any(key.startswith("on") for _, attrs in Nesting(page).tags for key in attrs)
    assert "{{ 7*7 }}" in page


@pytest.mark.parametrize("key", sorted(json.loads((FIXTURE / "result.json").read_text(encoding="utf-8"))))
@pytest.mark.parametrize("value", [None, {}, [], "odd", 3], ids=["missing", "empty", "list", "text", "number"])
def test_a_key_may_be_missing_or_odd(run_dir, monkeypatch, key, value):
    if key not in ("budget", "predicted", "plan", "baselines"):  # the charts look at nothing else, and take their time
        for chart in ("memory_chart", "loss_chart", "curves_chart"):
            monkeypatch.setattr(f"proxtune.report.page.{chart}", lambda *_: "")
    Nesting(page_of(run_dir, **{key: value}))


@pytest.mark.parametrize("name", ["plan.json", "metrics.jsonl", "recipe.toml"])
@pytest.mark.parametrize("content", [None, b"", b'{"torn', b"\xff\xfe", b"[]\n3\nnull\n{}\n"])
def test_a_file_may_be_missing_or_torn(run_dir, name, content):
    (run_dir / name).unlink()
    if content is not None:
        (run_dir / name).write_bytes(content)
    Nesting(page_of(run_dir))


def test_an_empty_result_makes_a_page(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    assert "No validation result yet" in write_report(tmp_path).read_text(encoding="utf-8")


def test_numbers_that_are_none_become_dashes(run_dir):
    lines = [{"kind": "step", "step": s, "seconds": s, "loss": float("nan"), "memory_bytes": None} for s in (1, 2, 3)]
    lines.append({"kind": "validation", "step": 3, "seconds": 4, "accuracy": float("inf"), "loss": None})
    (run_dir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    page = page_of(run_dir, metrics={"accuracy": float("nan"), "macro_f1": None, "loss": float("inf")})
    assert "not a number in 3 steps" in page
    assert not re.search(r"\bnan\b|\binf\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL), re.IGNORECASE)


def test_an_interrupted_run_says_so(run_dir):
    page = page_of(run_dir, status="interrupted", metrics=None, confusion=None, mistakes=None, predicted=None)
    assert "This run was interrupted" in page
    assert "661 MB" in page  # the promise, from the plan itself


def test_a_model_that_loses_is_told_plainly_and_once(run_dir):
    baselines = {"majority": {"accuracy": 0.5}, "tfidf": {"accuracy": 0.9}}
    said = "The language model does not beat the baselines"
    page = page_of(run_dir, baselines=baselines, beats_baselines=False, verdict=f"{said}: so it is.")
    assert page.count(said) == 1
    assert f'<p class="note bad">{said}: 86.1 % against 90.0 %' in page
    assert said in page_of(run_dir, baselines=baselines, beats_baselines=None)


def test_a_thin_lead_is_called_thin(run_dir):
    page = page_of(run_dir, baselines={"tfidf": {"accuracy": 0.856}})
    assert "The lead over word counts (TF-IDF) is 0.5 points; on 1,600 rows" in page
    assert "The lead over" not in page_of(run_dir, baselines={"tfidf": {"accuracy": 0.7}})


def test_a_broken_budget_is_told(run_dir):
    page = page_of(run_dir, budget={"memory": 600_000_000, "time": 450.0})
    assert "Over budget: peak memory was 643 MB, the limit 600 MB." in page
    assert "Over budget: time was 7 min 35 s, the limit 7 min 30 s." in page


def test_without_a_memory_budget_or_with_a_far_one_there_is_no_limit_line(run_dir):
    assert '<i class="rule">' in page_of(run_dir)
    assert '<i class="rule">' not in page_of(run_dir, budget={"memory": None, "time": None})
    assert "lies far beyond this scale" in page_of(run_dir, budget={"memory": 64 * 10**9})


def test_many_classes_become_their_worst_pairs(run_dir):
    n = 30
    confusion = [[50 if i == j else (7 if (i, j) == (3, 4) else 0) for j in range(n)] for i in range(n)]
    page = page_of(run_dir, confusion=confusion, data={"labels": [f"intent {i}" for i in range(n)]})
    assert 'class="matrix"' not in page
    assert '<td>intent 3</td><td>intent 4</td><td class="n">7</td><td class="n">12.3 %</td>' in page


def test_a_long_run_stays_a_small_page(run_dir):
    record = {"kind": "step", "loss": 0.5, "memory_bytes": 600_000_000}
    lines = [record | {"step": s, "seconds": s / 10} for s in range(40_000)]
    lines[777]["memory_bytes"] = 690_000_000
    (run_dir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = json.loads((run_dir / "plan.json").read_text(encoding="utf-8"))["table"] * 100
    (run_dir / "plan.json").write_text(json.dumps({"table": table}))
    wordy = [{"text": "word " * 5000, "label": "a" * 500, "predicted": "b", "confidence": 0.9, "line": 1}] * 1000
    page = page_of(run_dir, mistakes=wordy)
    assert len(page.encode()) < 400_000
    assert "further plans are in plan.json" in page


def test_the_most_confident_mistake_comes_first(run_dir):
    found = [{"text": f"text {c}", "label": "a", "predicted": "b", "confidence": c, "line": 2} for c in (0.6, 0.9, 0.7)]
    page = page_of(run_dir, mistakes=found)
    assert page.index("text 0.9") < page.index("text 0.7") < page.index("text 0.6")


def test_odd_text_does_not_stop_the_page(run_dir):
    odd = [{"text": "lone \ud800 surrogate \u2028 and \x00", "label": "a", "predicted": "b", "confidence": 0.9}]
    assert "lone" in page_of(run_dir, mistakes=odd)


def test_a_folder_without_a_result_is_the_persons_to_mend(tmp_path):
    with pytest.raises(UserError, match=r"has no result\.json; give the folder"):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text('{"status": "do')
    with pytest.raises(UserError, match="cannot be read"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_leaves_the_old_one(run_dir, monkeypatch):
    old = write_report(run_dir).read_bytes()

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        write_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == old
    assert not list(run_dir.glob(".*.part"))


def test_a_run_that_was_interrupted_says_when_and_from_where(tmp_path):
    from proxtune.report.page import page_values

    told = {
        "interruptions": [
            {"seconds": 75.0, "after": "SIGTERM", "phase": "train", "last_step": 12, "from_step": 10, "notes": ["other rows"]},
            {"seconds": 90.0, "after": None, "phase": "save", "last_step": 30},
            "nonsense",
        ]
    }  # fmt: skip
    rejected = {"kind": "rejected", "step": 3, "rows": ["reviews.csv line 7"]}
    run = RunFiles(tmp_path, told, {}, [rejected, rejected], "")
    notes = [note["text"] for note in page_values(run)["notes"]]
    assert notes[0] == (
        "After 1 min 15 s the run was stopped by SIGTERM in the phase train, and went on from step 10 (2 steps again). "
        "other rows."
    )
    assert notes[1] == "After 1 min 30 s the run was cut off in the phase save."
    assert any("reviews.csv line 7." in note for note in notes)
