"""The events of a run, line by line in `metrics.jsonl`: what the report is drawn from. Nothing else depends on them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from proxtune.storage.atomic import write_all
from proxtune.storage.events import Event, Listener, Notice, PlanChosen

NAME = "metrics.jsonl"


class EventLog:
    """Appends each event and passes it on. State: the open file, and whether a line of it was lost.

    Where there is no room for a line the run continues, and the user is told once.
    """

    def __init__(self, folder: Path, listen: Listener | None) -> None:
        self._file = os.open(
            folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
        )
        self._torn = os.fstat(self._file).st_size > 0  # the last line of a run that was killed may be
        self._lost = False
        self._listen = listen

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def emit(self, event: Event) -> None:
        """One event: written, then heard."""
        if not isinstance(event, PlanChosen):  # which has a file of its own
            self._write(json.dumps(event.as_dict()) + "\n")
        if self._listen is not None:
            self._listen(event)

    def _write(self, line: str) -> None:
        try:
            write_all(self._file, (("\n" if self._torn else "") + line).encode())
            self._torn = False
        except OSError as error:
            self._torn = True
            if not self._lost and self._listen is not None:
                self._listen(Notice(words=f"{NAME} cannot be written ({error.strerror}); the run continues"))
            self._lost = True


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events of a run so far as they were written, perhaps by an earlier version; a torn line is passed over."""
    found = []
    try:
        text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.split("\n"):  # not splitlines: U+2028 may stand inside a record
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def seconds_used(records: list[dict[str, Any]]) -> float:
    """How far the clock was at the last record that tells."""
    told = (record["seconds"] for record in reversed(records) if isinstance(record.get("seconds"), int | float))
    return max(0.0, float(next(told, 0.0)))
