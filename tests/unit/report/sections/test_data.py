"""The data: what is known of the rows, for either kind of task."""

from proxtune.report.sections.data import SECTION, data_facts
from support.reports import ANSWERS, LABELS, run_of


def test_labels_are_named_and_many_are_counted():
    facts = dict(data_facts(LABELS))
    assert facts["labels"] == "negative, positive"
    assert (facts["training rows"], facts["validation rows"], facts["maximum length"]) == (
        "8,000",
        "1,600",
        "128 tokens",
    )
    assert "instruction" not in facts
    many = dict(data_facts({"data": {"labels": [f"l{i}" for i in range(15)]}}))
    assert many["labels"].endswith("l11 and 3 more")


def test_a_generation_has_its_instruction_and_its_answers():
    facts = dict(data_facts(ANSWERS))
    assert facts["instruction"] == "Summarize in a few words:"
    assert (facts["scored answers"], facts["maximum answer length"]) == ("100", "96 tokens")
    assert "labels" not in facts
    assert dict(data_facts({"data": {"instruction": ""}}))["instruction"] == "none"


def test_what_the_reader_noted_is_passed_on():
    assert SECTION.values(run_of(ANSWERS))["notes"] == ANSWERS["data"]["notes"]
    assert SECTION.values(run_of({}))["notes"] == []
