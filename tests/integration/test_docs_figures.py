"""The figures in prose are those of the code and of the newest records."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = next(path for path in Path(__file__).parents if (path / "pyproject.toml").is_file())
_SPEC = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
figures = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(figures)


@pytest.mark.parametrize("page", figures.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_out_of_date(page):
    text = page.read_text(encoding="utf-8")
    assert figures.filled(text) == text, "run `make docs`"
    assert text.count("<!-- figure: ") == text.count("<!-- /figure -->") == len(figures._MARKED.findall(text))


def test_every_figure_stands_somewhere():
    used = {
        name for page in figures.pages() for _, name, _, _ in figures._MARKED.findall(page.read_text(encoding="utf-8"))
    }
    assert used == set(figures.FIGURES)


def test_an_old_figure_is_replaced():
    old = "at most <!-- figure: judged-answers -->65<!-- /figure --> answers"
    assert figures.filled(old) == old.replace("65", str(figures.constant("VALIDATION_ANSWERS")))


def test_what_is_not_there_is_an_error():
    with pytest.raises(LookupError):
        figures.filled("<!-- figure: nothing -->1<!-- /figure -->")
    with pytest.raises(LookupError, match="0 values"):
        figures.constant("_NOTHING_HAS_THIS_NAME")
    with pytest.raises(LookupError, match="0 times"):
        figures.given("tasks/generation/task.py", "nothing_has_this_name")
    with pytest.raises(LookupError, match="no record"):
        figures.record("nothing")


def test_links_between_pages_lead_somewhere():
    for page in figures.pages():
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
