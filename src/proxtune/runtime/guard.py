"""The guard: what a library raises about a user's model or rows becomes one sentence, and the traceback a file that it names."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from proxtune.errors import Interrupted, UserError
from proxtune.memory.fork import ChildKilled
from proxtune.memory.governor import is_refusal
from proxtune.storage.atomic import disk_error_message

_LONGEST_REASON = 200  # characters of a library's own words


@contextmanager
def explain_model_errors(model: str) -> Iterator[None]:
    """Raise a UserError in the place of what transformers, peft, tokenizers or torch raise on `model`.

    What says already what to do passes: UserError, a disk that failed, memory that was refused, an interrupt, a killed child.
    """
    try:
        yield
    except (UserError, Interrupted, ChildKilled, MemoryError):
        raise
    except Exception as error:
        if is_refusal(error) or (isinstance(error, OSError) and disk_error_message(error) is not None):
            raise
        words = "".join(traceback.format_exception(error))
        raise UserError(
            f"cannot train model {model!r}: {reason_of(error)}; see whether plain transformers trains it with your versions, or "
            f"choose another model; the traceback is in {_write_log(words)}"
        ) from error


def reason_of(error: BaseException) -> str:
    """The kind of error and the first line of its words; of one that a child process told, those of its traceback's end."""
    words = str(error).strip()
    if "Traceback (most recent call last)" in words:
        ends = [line for line in words.splitlines() if line and not line.startswith((" ", "Traceback"))]
        words = ends[-1] if ends else words.splitlines()[-1].strip()
        return words[:_LONGEST_REASON].rstrip(". ")
    first = words.splitlines()[0] if words else ""
    return f"{type(error).__name__}: {first}"[:_LONGEST_REASON].rstrip(":. ")


def _write_log(words: str) -> str:
    """A file of its own in the system's folder for temporary ones: the run folder goes when a run is refused."""
    descriptor, path = tempfile.mkstemp(prefix="proxtune-", suffix=".log", text=True)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(words)
    return path
