"""The events of a run in `metrics.jsonl`: lines that are only added to, torn or lost ones passed over."""

import errno
import os

import pytest

from proxtune.storage.event_log import EventLog, read_events, seconds_used
from proxtune.storage.events import Event, Notice, Phase, PlanChosen


def phase(name: str, seconds: float = 1.0) -> Phase:
    return Phase(phase=name, seconds=seconds)


def test_events_are_written_then_heard_and_a_torn_line_is_passed_over(tmp_path):
    heard: list[Event] = []
    with EventLog(tmp_path, heard.append) as event_log:
        event_log.emit(phase("a\u2028b", 1.5))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    with EventLog(tmp_path, heard.append) as event_log:
        event_log.emit(phase("train", 2.5))
        event_log.emit(PlanChosen(chosen={}, table=()))
    assert [record["phase"] for record in read_events(tmp_path)] == ["a\u2028b", "train"]
    assert [event.kind for event in heard] == ["phase", "phase", "plan"], "the plan has a file of its own"


def test_without_room_the_run_continues_and_the_user_is_told_once(tmp_path, monkeypatch):
    heard, real = [], os.write

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with EventLog(tmp_path, heard.append) as event_log:
        event_log.emit(phase("one"))
        monkeypatch.setattr(os, "write", full)
        event_log.emit(phase("two"))
        event_log.emit(phase("three"))
        monkeypatch.setattr(os, "write", real)
        event_log.emit(phase("four"))
    assert [record["phase"] for record in read_events(tmp_path)] == ["one", "four"]
    notices = [event.words for event in heard if isinstance(event, Notice)]
    assert notices == ["metrics.jsonl cannot be written (No space left on device); the run continues"]


def test_nobody_needs_to_listen(tmp_path):
    with EventLog(tmp_path, None) as event_log:
        event_log.emit(phase("train"))
    assert len(read_events(tmp_path)) == 1


def test_lines_of_any_kind_are_read_as_far_as_they_are_records(tmp_path):
    lines = [b'{"kind": "future"}', b"[1]", b"3", b"", b"\xff", b"[" * 100_000, b'{"kind": "step"}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert [record["kind"] for record in read_events(tmp_path)] == ["future", "step"]
    assert read_events(tmp_path / "elsewhere") == []


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        EventLog(tmp_path, None)


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        ([], 0.0),
        ([{"seconds": 1.0}, {"seconds": 2.5}, {"kind": "warning"}], 2.5),
        ([{"seconds": 3}, {"seconds": "soon"}], 3.0),
        ([{"seconds": -5.0}], 0.0),
    ],
)
def test_the_clock_was_at_the_last_record_that_tells(records, seconds):
    assert seconds_used(records) == seconds
