"""Reading `result.json` again, and what the events of a run say of how far it came."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxtune.storage.result import (
    FIT_RESULT,
    best_step,
    examples_seen,
    finished_fit,
    how_it_ended,
    interruptions,
    is_finished,
    last_step,
    read_fit_result,
    read_result,
    run_with_model,
    step_downs_of,
    was_trained,
)
from support.files import refusal

DOWN = {"kind": "step_down", "seconds": 2.0, "from": "8", "to": "4"}
KILLED = [{"kind": "phase", "phase": "train"}, {"kind": "step", "step": 7, "steps": 9, "examples_seen": 56}, DOWN]
STOPPED = [*KILLED, {"kind": "interrupted", "by": "SIGTERM", "seconds": 3.0}]


def put(folder: Path, name: str, value: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_a_folder_without_a_result_is_no_finished_run(tmp_path: Path) -> None:
    assert "is not a finished run (no result.json)" in refusal(read_result, tmp_path)
    put(tmp_path, "result.json", "{")
    message = refusal(read_result, tmp_path)
    assert "result.json cannot be read" in message


def test_a_run_without_its_model_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "result.json", {"status": "done"})
    assert "has no model/ folder; train again" in refusal(run_with_model, tmp_path)
    (tmp_path / "model").mkdir()
    assert run_with_model(tmp_path) == tmp_path.resolve()


def test_a_run_is_finished_once_its_result_its_model_and_its_report_are_there(tmp_path: Path) -> None:
    assert not is_finished(tmp_path)
    put(tmp_path, "result.json", {"status": "done"})
    assert not is_finished(tmp_path)
    put(tmp_path, "report.html", "<html>")
    assert not is_finished(tmp_path)
    (tmp_path / "model").mkdir()
    assert is_finished(tmp_path)
    put(tmp_path, "result.json", {"status": "interrupted"})
    assert not is_finished(tmp_path)


@pytest.mark.parametrize("content", [None, "", "{", '{"status": "interrupted"}', "[" * 100_000])
def test_learning_is_over_only_where_its_result_says_so(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "model").mkdir()
    if content is not None:
        put(tmp_path, FIT_RESULT, content)
    assert finished_fit(tmp_path) is None


def test_learning_that_is_over_needs_its_model_too(tmp_path: Path) -> None:
    put(tmp_path, FIT_RESULT, {"status": "done", "best_step": 3})
    assert finished_fit(tmp_path) is None
    assert read_fit_result(tmp_path)["best_step"] == 3
    (tmp_path / "model").mkdir()
    assert finished_fit(tmp_path) == {"status": "done", "best_step": 3}


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ([], {"after": None, "phase": None, "last_step": 0}),
        (KILLED, {"after": None, "phase": "train", "last_step": 7}),
        (STOPPED, {"after": "SIGTERM", "phase": "train", "last_step": 7}),
        (
            [*STOPPED, {"kind": "resumed"}, {"kind": "continued", "step": 5}],
            {"after": None, "phase": "train", "last_step": 5},
        ),
        ([{"kind": "phase"}, {"kind": "step"}], {"after": None, "phase": None, "last_step": 0}),  # torn records
    ],
)
def test_how_a_sitting_ended_is_told_by_its_events(events: list[dict[str, Any]], ended: dict[str, Any]) -> None:
    assert how_it_ended(events) == ended


def test_interruptions_are_told_by_the_events() -> None:
    again = [
        *STOPPED, {"kind": "resumed", "seconds": 3.0, **how_it_ended(STOPPED)},
        {"kind": "continued", "step": 5, "notes": ["other rows"]},
    ]  # fmt: skip
    told = {"seconds": 3.0, "after": "SIGTERM", "phase": "train", "last_step": 7}
    assert interruptions(again) == [{**told, "from_step": 5, "notes": ["other rows"]}]
    assert interruptions(again[:-1]) == [told]  # it died before training continued
    assert interruptions(KILLED) == []


def test_step_downs_of_all_sittings_are_told_once_and_in_order() -> None:
    earlier = {"kind": "step_down", "seconds": 1.0, "from": "16", "to": "8"}
    assert step_downs_of(STOPPED, [earlier, DOWN]) == [earlier, DOWN]
    assert step_downs_of([], [DOWN, earlier]) == [earlier, DOWN]


def test_progress_is_that_of_the_last_step_or_of_where_training_continued() -> None:
    assert (last_step(KILLED), examples_seen(KILLED)) == (7, 56)
    back = [*KILLED, {"kind": "continued", "step": 5, "examples_seen": 40}]
    assert (last_step(back), examples_seen(back)) == (5, 40)
    assert (last_step([]), examples_seen([])) == (0, 0)


def test_the_best_step_is_the_last_that_was_called_best_or_the_last_of_all() -> None:
    steps = [{"kind": "step", "step": step} for step in range(1, 8)]
    validations = [{"kind": "validation", "step": step, "best": best} for step, best in ((3, True), (6, False))]
    assert best_step([]) == 0
    assert best_step(steps) == 7
    assert best_step([*steps, *validations]) == 3


@pytest.mark.parametrize(
    ("step", "phases", "trained"),
    [
        (9, ["train", "evaluate"], True),
        (9, ["train", "evaluate", "save"], True),
        (9, ["train"], False),
        (8, ["train", "evaluate"], False),
        (9, ["evaluate", "train"], False),
        (9, [], False),
    ],
)
def test_training_is_over_once_all_steps_were_made_and_the_final_evaluation_began(
    step: int, phases: list[str], trained: bool
) -> None:
    events = [{"kind": "step", "step": step, "steps": 9}, *({"kind": "phase", "phase": phase} for phase in phases)]
    assert was_trained(events) == trained
    assert not was_trained([{"kind": "phase", "phase": "evaluate"}])
