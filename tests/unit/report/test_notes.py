"""The notes: interruptions, broken budgets and failed steps, each in a sentence."""

from proxtune.report.notes import notes_of
from support.reports import LABELS, run_of


def texts(result=None, records=()):
    return [note.text for note in notes_of(run_of(result, records=records))]


def test_interruptions_say_when_and_from_where_the_run_resumed():
    result = {
        "interruptions": [
            {"seconds": 75.0, "after": "SIGTERM", "phase": "train", "last_step": 12, "from_step": 10, "notes": ["other rows"]},
            {"seconds": 90.0, "after": None, "phase": "save", "last_step": 30},
            "nonsense",
        ]
    }  # fmt: skip
    assert texts(result) == [
        "After 1 min 15 s SIGTERM stopped the run in phase train; it resumed from step 10 (2 steps repeated). other rows.",
        "After 1 min 30 s the run ended unexpectedly in phase save.",
        "After – the run ended unexpectedly.",
    ]


def test_a_run_that_the_watchdog_ended_says_what_hung():
    (text,) = texts({"status": "interrupted", "hung": "the stage 'learn' stood still for 60 seconds"})
    assert "interrupted: the stage 'learn' stood still for 60 seconds. The best model" in text


def test_a_run_that_has_not_ended_says_how_to_go_on():
    (text,) = texts({"status": "interrupted"})
    assert "`proxtune resume` continues" in text


def test_a_broken_budget_is_told():
    found = notes_of(run_of(LABELS | {"budget": {"memory": 600_000_000, "time": 450.0}}))
    assert [note.text for note in found if note.kind == "bad"] == [
        "Over budget: peak memory was 643 MB, the limit 600 MB.",
        "Over budget: time was 7 min 35 s, the limit 7 min 30 s.",
    ]
    assert not any("Over budget" in text for text in texts(LABELS))


def test_steps_that_failed_are_told_with_their_rows():
    rejected = {"kind": "rejected", "step": 3, "rows": ["reviews.csv line 7"]}
    left_out = {"kind": "left_out", "step": 3, "rows": ["reviews.csv line 9"]}
    lost = {"kind": "step", "step": 4, "loss": float("nan"), "learning_rate": 0.5}
    passed_over = lost | {"learning_rate": 0.0}
    records = [rejected, rejected, left_out, lost, passed_over, {"kind": "step", "step": 5, "loss": 0.5}]
    assert texts(records=records) == [
        "Rows whose loss or gradient was not finite, and that were not learned from: reviews.csv line 7.",
        "Rows too large for the memory even alone, and that were not learned from: reviews.csv line 9.",
        "The loss was not a number in 1 steps; a smaller learning rate may help.",
    ]
