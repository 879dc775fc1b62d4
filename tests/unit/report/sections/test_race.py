"""The race: curves of the contenders, and what became of each."""

import pytest

from proxtune.report.sections.race import SECTION
from support.reports import run_of, soiled

LAPS = [
    {"kind": "race", "plan": "lora r16 · bf16 · 8/8", "steps": 16, "seconds": [0.0, 8.1, 16.0], "losses": [2.9, 2.5, 2.3]},
    {"kind": "race", "plan": "layers 1 · bf16 · 8/8", "steps": 17, "seconds": [0.0, 8.0], "losses": [2.9, 2.88]},
    {"kind": "race", "plan": "full · bf16 · 8/8", "steps": 0, "seconds": [], "losses": [], "refused": "killed (no memory)"},
]  # fmt: skip


def test_each_contender_has_its_losses_and_what_became_of_it():
    values = SECTION.values(run_of(plan={"chosen": {"method": "lora"}}, records=LAPS))
    assert [(lap["status"], lap["before"], lap["after"], lap["why"]) for lap in values["laps"]] == [
        ("chosen", "2.900", "2.300", ""),
        ("lost", "2.900", "2.880", ""),
        ("out", "–", "–", "killed (no memory)"),
    ]
    for words in ("lora r16", "layers 1", "validation loss"):
        assert words in values["race_chart"]
    assert "full" not in values["race_chart"], "it has no curve"


@pytest.mark.parametrize("records", [[], [{"kind": "step", "step": 1}]])
def test_without_a_race_there_is_nothing(records):
    assert SECTION.values(run_of(records=records)) is None


@pytest.mark.parametrize("odd", [{"plan": 3, "seconds": 1, "losses": "ab", "refused": 7}, soiled(LAPS[0])])
def test_odd_records_do_not_stop_a_report(odd):
    values = SECTION.values(run_of(records=[odd | {"kind": "race"}]))
    assert values["race_chart"] == "" or values["race_chart"].startswith("<svg")
