"""The training curves: loss, and accuracy where there is one."""

from proxtune.report.sections.learning import SECTION
from support.reports import run_of

LOSSES = [{"kind": "step", "step": step, "seconds": step, "loss": 1 / step} for step in (1, 2, 3)]
ACCURACY = {"kind": "validation", "step": 3, "seconds": 4, "accuracy": 0.8, "loss": 0.4, "best": True}


def test_there_is_a_curve_for_what_was_recorded():
    values = SECTION.values(run_of({}, records=LOSSES))
    assert values["loss_chart"].startswith("<svg")
    assert values["accuracy_chart"] == ""
    assert SECTION.values(run_of({}, records=[*LOSSES, ACCURACY]))["accuracy_chart"].startswith("<svg")
    assert SECTION.values(run_of({})) is None


def test_the_base_models_loss_is_a_line_also_of_old_runs():
    values = SECTION.values(run_of({"baselines": {"untouched": {"loss": 1.5}}}, records=LOSSES))
    assert "before training" in values["loss_chart"]
