"""The records of a run for people: lines that are only added to, torn or lost ones passed over, and what they say of a resume."""

import errno
import os

from proxtune.storage.event_log import EventLog, read_events, seconds_used
from proxtune.storage.result import how_it_ended, interruptions, step_downs_of


def test_records_are_written_then_heard_and_a_torn_line_is_passed_over(tmp_path):
    heard = []
    with EventLog(tmp_path, heard.append) as event_log:
        event_log.emit({"kind": "step", "step": 1, "seconds": 1.5, "text": "a\u2028b"})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    with EventLog(tmp_path, heard.append) as event_log:
        event_log.emit({"kind": "step", "step": 2, "seconds": 2.5})
        event_log.emit({"kind": "plan", "chosen": "elsewhere"})
    assert [record.get("step") for record in read_events(tmp_path)] == [1, 2]
    assert [record["kind"] for record in heard] == ["step", "step", "plan"]
    assert seconds_used(read_events(tmp_path)) == 2.5
    assert seconds_used([]) == 0.0


def test_without_room_the_run_goes_on_and_the_person_is_told_once(tmp_path, monkeypatch):
    heard, real = [], os.write

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with EventLog(tmp_path, heard.append) as event_log:
        event_log.emit({"kind": "step", "step": 1})
        monkeypatch.setattr(os, "write", full)
        event_log.emit({"kind": "step", "step": 2})
        event_log.emit({"kind": "step", "step": 3})
        monkeypatch.setattr(os, "write", real)
        event_log.emit({"kind": "step", "step": 4})
    assert [record["step"] for record in read_events(tmp_path)] == [1, 4]
    assert sum(record["kind"] == "warning" for record in heard) == 1


def test_interruptions_are_told_from_the_records():
    down = {"kind": "step_down", "seconds": 2.0, "from": "8", "to": "4"}
    first = [{"kind": "phase", "phase": "train"}, {"kind": "step", "step": 7}, down]
    stopped = [*first, {"kind": "interrupted", "by": "SIGTERM", "seconds": 3.0}]
    assert how_it_ended(first) == {"after": None, "phase": "train", "last_step": 7}
    assert how_it_ended(stopped) == {"after": "SIGTERM", "phase": "train", "last_step": 7}
    assert how_it_ended([]) == {"after": None, "phase": None, "last_step": 0}
    again = [
        *stopped, {"kind": "resumed", "seconds": 3.0, **how_it_ended(stopped)},
        {"kind": "continued", "step": 5, "notes": ["other rows"]},
    ]  # fmt: skip
    assert interruptions(again) == [
        {"seconds": 3.0, "after": "SIGTERM", "phase": "train", "last_step": 7, "from_step": 5, "notes": ["other rows"]}
    ]
    settled = {"kind": "step_down", "seconds": 1.0, "from": "16", "to": "8"}
    assert step_downs_of(again, [settled, down]) == [settled, down]
