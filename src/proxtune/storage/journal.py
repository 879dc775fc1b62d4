"""The journal: what a training did, record by record, in a file that only grows.

A record is a mark, its number, its length, a check of these three, its bytes and a check of it all. What was written when
the machine stopped may be torn: bytes at the end that make no record are cut off. Bytes that make no record with one behind
them are damage, and nothing is read past it.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from proxtune.errors import UserError
from proxtune.storage.atomic import FULL, fsync_error, write_all, write_bytes

_HEAD = struct.Struct("<4sIII")  # mark, number, length, check of these
_CHECK = struct.Struct("<I")
_MARK = b"\xf5px\n"  # 0xf5 is in no UTF-8
MOST_BYTES = 1 << 24  # of a record
_SEARCH_BYTES = 1 << 20
_SHARE = 0.01  # of the time, for flushing


class JournalDamaged(UserError):
    """A journal with damage in its middle. `place` is the byte where it begins."""

    def __init__(self, path: Path, place: int) -> None:
        super().__init__(
            f"{path} is damaged at byte {place}, and more follows: it is not read any further; put back a good copy of the "
            "file, or train again into another folder"
        )
        self.place = place


def encode_record(number: int, data: bytes) -> bytes:
    """A record as it stands in the file: 20 bytes and `data`."""
    assert len(data) <= MOST_BYTES, "a record is small"
    head = struct.pack("<4sII", _MARK, number, len(data))
    head += _CHECK.pack(zlib.crc32(head))
    return head + data + _CHECK.pack(zlib.crc32(data, zlib.crc32(head)))


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each record with the place where it ends. Ends before a torn tail; holds one record at a time.

    Raises JournalDamaged, also where not even the first record can be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        number = place = 0
        while place < size:
            data = _record_at(file, place, number)
            if data is None:
                if number == 0 or _another_behind(file, place):
                    raise JournalDamaged(path, place)
                return
            place += _HEAD.size + len(data) + _CHECK.size
            number += 1
            yield place, data
        if number == 0:
            raise JournalDamaged(path, 0)


def _record_at(file: BinaryIO, place: int, number: int | None) -> bytes | None:
    """The bytes of the record that begins at `place`, if one does; of any number where `number` is None."""
    file.seek(place)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, own, length, check = _HEAD.unpack(head)
    if mark != _MARK or check != zlib.crc32(head[:-4]) or length > MOST_BYTES or number not in (None, own):
        return None
    rest = file.read(length + _CHECK.size)
    if len(rest) < length + _CHECK.size or _CHECK.unpack(rest[length:])[0] != zlib.crc32(
        rest[:length], zlib.crc32(head)
    ):
        return None
    return rest[:length]


def _another_behind(file: BinaryIO, place: int) -> bool:
    """Whether any whole record stands at `place` or behind it: then what is there is damage and no torn end."""
    begin = place  # here one of another number may stand
    while True:
        file.seek(begin)
        piece = file.read(_SEARCH_BYTES)
        at = piece.find(_MARK)
        while at >= 0:
            if _record_at(file, begin + at, None) is not None:
                return True
            at = piece.find(_MARK, at + 1)
        if len(piece) < _SEARCH_BYTES:
            return False
        begin += len(piece) - len(_MARK) + 1


class Journal:
    """Appends records. State: the open file, its good end, records that found no room, what is not flushed yet."""

    def __init__(self, path: Path, number: int, end: int) -> None:
        self.path = path
        self._number, self._end = number, end
        self._waiting = b""
        self._unflushed = False
        self._flush_seconds = 0.0  # the longest of a flush, of late
        self._flushed_at = -1e9
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        if os.fstat(self._file).st_size != end:  # a torn tail
            os.ftruncate(self._file, end)
            self._flush()

    @classmethod
    def create(cls, path: Path, first: bytes) -> Journal:
        """A new journal with its first record: there whole, or not at all."""
        record = encode_record(0, first)
        write_bytes(path, record)
        return cls(path, 1, len(record))

    @classmethod
    def open(cls, path: Path) -> tuple[Journal, list[bytes]]:
        """A journal to be resumed, and what it holds. Raises JournalDamaged."""
        found = list(read_records(path))
        return cls(path, len(found), found[-1][0]), [data for _, data in found]

    def close(self) -> None:
        """Flush, and let go."""
        self.commit(at_once=True)
        os.close(self._file)

    @property
    def is_full(self) -> bool:
        """Whether records wait in memory for room on the disk."""
        return bool(self._waiting)

    def append(self, data: bytes) -> None:
        """Add a record. It counts once `commit` says so. Raises DiskFailed."""
        self._waiting += encode_record(self._number, data)
        self._number += 1
        self._write()

    def commit(self, at_once: bool = False) -> bool:
        """Whether all that was appended is on disk for good; flushes it if it is time.

        A flush serves all records since the last (a group commit), so often that flushing takes a hundredth of the time.
        Raises DiskFailed: a failed flush is not tried again.
        """
        self._write()
        if self._unflushed and (at_once or time.monotonic() - self._flushed_at >= self._flush_seconds / _SHARE):
            self._flush()
        return not self._unflushed and not self._waiting

    def _write(self) -> None:
        if not self._waiting:
            return
        try:
            write_all(self._file, self._waiting)
        except OSError as error:
            os.ftruncate(self._file, self._end)  # no half record stays
            if error.errno in FULL:
                return
            raise fsync_error(self.path, error) from error
        self._end += len(self._waiting)
        self._waiting = b""
        self._unflushed = True

    def _flush(self) -> None:
        began = time.monotonic()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise fsync_error(self.path, error) from error
        self._flushed_at = time.monotonic()
        self._flush_seconds = max(0.9 * self._flush_seconds, self._flushed_at - began)
        self._unflushed = False
