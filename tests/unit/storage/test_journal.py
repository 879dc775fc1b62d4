"""The journal: every byte that is not as it was is noticed, a torn end is cut off, and a failed flush is the end of it."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.errors import DiskFailed
from proxtune.storage.journal import MOST_BYTES, Journal, JournalDamaged, encode_record, read_records

SMALL = [b'{"kind": "begun"}', b"s" + bytes(range(40)), b"", b'{"kind": "judged", "step": 3}', b"the last"]


def written(path, parts=SMALL):
    path.write_bytes(b"".join(encode_record(number, data) for number, data in enumerate(parts)))
    return path


def read(path):
    return [data for _, data in read_records(path)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8))
def test_what_is_appended_is_read_again(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("journal") / "journal.bin"
    journal = Journal.create(path, parts[0])
    for data in parts[1:]:
        journal.append(data)
    journal.close()
    assert read(path) == parts
    again, found = Journal.open(path)
    again.append(b"and more")
    again.close()
    assert found == parts
    assert read(path) == [*parts, b"and more"]


def test_a_byte_that_is_flipped_is_damage_with_its_place_or_the_end(tmp_path):
    path = written(tmp_path / "journal.bin")
    whole, ends = path.read_bytes(), [end for end, _ in read_records(path)]
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            number = next(number for number, end in enumerate(ends) if place < end)
            if number == len(SMALL) - 1:  # the last record: as if it had not been written to the end
                assert read(path) == SMALL[:-1]
                continue
            with pytest.raises(JournalDamaged) as caught:
                read(path)
            assert caught.value.place == (ends[number - 1] if number else 0)
            assert str(caught.value.place) in str(caught.value)


def test_a_journal_that_was_cut_anywhere_goes_on_from_its_last_whole_record(tmp_path):
    path = written(tmp_path / "journal.bin")
    whole, ends = path.read_bytes(), [end for end, _ in read_records(path)]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        if length < ends[0]:
            with pytest.raises(JournalDamaged):
                Journal.open(path)
            continue
        count = sum(end <= length for end in ends)
        journal, found = Journal.open(path)
        journal.append(b"after the cut")
        journal.close()
        assert found == SMALL[:count]
        assert read(path) == [*SMALL[:count], b"after the cut"]


@given(st.binary(max_size=200), st.integers(1, len(SMALL)))
def test_rubbish_behind_the_last_record_is_cut_off(tmp_path_factory, rubbish, count):
    path = written(tmp_path_factory.mktemp("journal") / "journal.bin", SMALL[:count])
    path.write_bytes(path.read_bytes() + rubbish)
    assert read(path) == SMALL[:count]


def test_zeros_that_a_file_system_left_are_a_torn_end(tmp_path):
    path = written(tmp_path / "journal.bin")
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert read(path) == SMALL


def test_a_record_in_the_place_of_another_is_damage(tmp_path):
    path = tmp_path / "journal.bin"
    path.write_bytes(encode_record(0, b"first") + encode_record(2, b"third"))
    with pytest.raises(JournalDamaged):
        read(path)


def test_a_length_beyond_all_measure_takes_no_memory(tmp_path):
    path = tmp_path / "journal.bin"
    path.write_bytes(
        written(tmp_path / "a").read_bytes() + encode_record(5, b"x")[:8] + (2**32 - 1).to_bytes(4, "little")
    )
    assert read(path) == SMALL
    assert MOST_BYTES < 2**25


def test_without_room_records_wait_and_no_half_record_stays(tmp_path, monkeypatch):
    path = tmp_path / "journal.bin"
    journal, real = Journal.create(path, b"first"), os.write
    room = [30]

    def full(descriptor, data):
        taken = min(room[0], len(data))
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= taken
        return real(descriptor, data[:taken])

    monkeypatch.setattr(os, "write", full)
    journal.append(b"a record longer than thirty bytes are")
    journal.append(b"another")
    assert journal.is_full
    assert not journal.commit(at_once=True)
    assert read(path) == [b"first"]
    room[0] = 10**6
    assert journal.commit(at_once=True)
    journal.close()
    assert read(path) == [b"first", b"a record longer than thirty bytes are", b"another"]


def test_a_failed_flush_is_told_at_once_and_not_tried_again(tmp_path, monkeypatch):
    journal, asked = Journal.create(tmp_path / "journal.bin", b"first"), []

    def fail(descriptor):
        asked.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    journal.append(b"second")
    with pytest.raises(DiskFailed, match="lost data"):
        journal.commit(at_once=True)
    assert len(asked) == 1


def test_a_flush_serves_all_records_where_flushing_is_dear(tmp_path, monkeypatch):
    import time

    journal, now, flushed = Journal.create(tmp_path / "journal.bin", b"first"), [0.0], []

    def slow(descriptor):
        now[0] += 0.01
        flushed.append(now[0])

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(os, "fsync", slow)
    for _ in range(1000):
        now[0] += 0.01
        journal.append(b"a step")
        journal.commit()
    assert 0.005 < sum(0.01 for _ in flushed) / now[0] < 0.02
