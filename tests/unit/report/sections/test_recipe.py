"""What it takes to run it again."""

from proxtune.report.sections.recipe import SECTION, recipe_facts
from support.reports import LABELS, run_of


def test_seed_plan_and_versions_are_there_and_nothing_unknown():
    facts = dict(recipe_facts(LABELS))
    assert facts["seed"] == str(LABELS["seed"])
    assert facts["optimizer"] == "adamw"
    assert facts["torch version"] == LABELS["versions"]["torch"]
    assert recipe_facts({}) == []


def test_the_recipe_is_shown_as_it_is_and_not_endlessly():
    assert SECTION.values(run_of({}, recipe="seed = 1\n"))["recipe"] == "seed = 1\n"
    assert len(SECTION.values(run_of({}, recipe="x" * 99_999))["recipe"]) == 8000
