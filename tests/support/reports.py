"""What the tests of reports share: the two runs that are kept, and ways to look at a page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from proxtune.report.html import write_report
from proxtune.report.run_files import RunFiles

FIXTURES = Path(__file__).parents[1] / "fixtures"
LABELS_RUN, ANSWERS_RUN = FIXTURES / "run", FIXTURES / "answers_run"  # as earlier versions wrote them
LABELS, ANSWERS = (json.loads((run / "result.json").read_text(encoding="utf-8")) for run in (LABELS_RUN, ANSWERS_RUN))
HOSTILE = "<script>alert(1)</script>\"'<img src=x onerror=alert(2)>{{ 7*7 }}$x^2$"
_VOID = {"meta", "br", "img", "input", "link", "hr"}


def run_of(result=None, plan=None, records=(), recipe=""):
    """The files of a run in memory."""
    return RunFiles(folder=Path("run"), result=result or {}, plan=plan or {}, records=list(records), recipe=recipe)


def result_with(run_dir, changes):
    """The result in `run_dir` with its top-level keys changed, for good; None takes one away."""
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in result.items() if value is not None}
    (run_dir / "result.json").write_text(json.dumps(kept), encoding="utf-8")


def page_with(run_dir, **changes):
    """The page of the run in `run_dir`, with its result changed."""
    result_with(run_dir, changes)
    return write_report(run_dir).read_text(encoding="utf-8")


def soiled(value):
    """`value` with a hostile text for every text, and beside every key."""
    if isinstance(value, dict):
        return {key: soiled(each) for key, each in value.items()} | {HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [soiled(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


class Nesting(HTMLParser):
    """Collects every tag, and fails where one closes that was not open."""

    def __init__(self, page):
        super().__init__()
        self.tags, self._open = [], []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def sections_of(page):
    """The ids of the page's sections, in order."""
    return tuple(attrs["id"] for tag, attrs in Nesting(page).tags if tag == "section")


def words_of(page):
    """What a reader sees."""
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)).split())


def front_matter(card):
    """The fields of a model card; each value is JSON, which YAML reads as it is."""
    _, head, _ = card.split("---\n", 2)
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in head.splitlines())}


def code_of(card):
    """The code that a model card shows."""
    return card.split("```python\n")[1].split("\n```")[0]
