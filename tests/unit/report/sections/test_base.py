"""What a section is: a name, an anchor, and a partial template that names only values that it has."""

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta

from proxtune.report import html
from proxtune.report.sections.base import Section
from proxtune.report.sections.registry import RESULT_SECTIONS, SECTIONS

TEMPLATES = FileSystemLoader(html.__file__.replace("html.py", "templates"))


def test_the_template_is_that_of_its_name():
    section = Section(name="mine", title="Mine", anchor="mine", values=lambda run: None)
    assert section.template == "sections/mine.html.j2"


@pytest.mark.parametrize("section", [*RESULT_SECTIONS.values(), *SECTIONS], ids=lambda section: section.name)
def test_a_template_is_there_and_leaves_the_frame_to_the_page(section):
    environment = Environment(loader=TEMPLATES, undefined=StrictUndefined)
    source, _, _ = environment.loader.get_source(environment, section.template)
    assert "<section" not in source
    assert "<h2" not in source
    assert meta.find_undeclared_variables(environment.parse(source))
