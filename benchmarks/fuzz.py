"""Files of every kind of damage, read as all tasks read them: a table or a sentence, in time and in memory?

    --inputs 20000    files
    --seed 0          of the draw

An input is a fault if anything but a `UserError` of one line comes out of it, if it takes more than 5 s, or more memory than
three times the file and 50 MB. What took longer is read once more, and the less counts. Most begin as a file that a program would
write; half of those are then changed by a few bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness import table, write_record
from proxtune.errors import UserError
from proxtune.tasks.classification.reader import read_examples, read_new_rows
from proxtune.tasks.detection import guess_task
from proxtune.tasks.generation.reader import read_pairs

MOST_SECONDS, MOST_TIMES, MOST_BYTES = 5.0, 3, 50_000_000
_SUFFIXES = ("csv", "tsv", "json", "jsonl", "ndjson", "parquet", "arrow")
_NAMES = (
    *("text", "label", "summary", "source", "target", "translation", "messages", "prompt", "completion", "instruction"),
    *(
        "input",
        "output",
        "history",
        "system",
        "answers",
        "premise",
        "hypothesis",
        "en",
        "fr",
        "id",
        "Unnamed: 0",
        "",
        "é",
    ),
)
_WORDS = (
    "a fine film",
    "nan",
    "1",
    "1.0",
    "True",
    "Pos",
    "pos ",
    "4,5",
    "",
    " ",
    "x" * 60,
    "“ä” – 5 €",
    "\ud83d",
    "[",
    '"',
)

words = st.sampled_from(_WORDS) | st.text(max_size=20)
scalars = words | st.none() | st.booleans() | st.integers() | st.floats()
turns = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "from", "content", "value", "text", "weight", "tool_calls"]),
        st.sampled_from(["user", "assistant", "system", "tool", "gpt", "human"])
        | scalars
        | st.lists(scalars, max_size=2),
        max_size=4,
    ),
    max_size=5,
)
values = st.recursive(
    scalars | turns,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES) | words, inner, max_size=4),
    max_leaves=8,
)
_SCHEMAS = (
    ("text", "label"), ("premise", "hypothesis", "label"), ("text", "summary"), ("source", "target"), ("messages",),
    ("prompt", "completion"), ("instruction", "input", "output", "history"), ("question", "answers"), ("id", "en", "fr"),
)  # fmt: skip
said = st.text("abcdé –\n\"'\\,;", min_size=1, max_size=12).map(lambda text: f"a {text} z")
conversations = st.lists(st.tuples(said, said), min_size=1, max_size=3).map(
    lambda pairs: [
        {"role": role, "content": part}
        for pair in pairs
        for role, part in zip(("user", "assistant"), pair, strict=True)
    ]
)


@st.composite
def plausible(draw: Any) -> list[dict[str, Any]]:
    """Rows that some task can learn from, but for a few cells."""
    schema = draw(st.sampled_from(_SCHEMAS))
    cells = {
        "label": st.sampled_from(["a", "b", "A", "nan", "1", "1.0"]), "messages": conversations,
        "history": st.lists(st.lists(said, min_size=2, max_size=2), max_size=2),
        "answers": st.lists(said, min_size=1, max_size=3),
    }  # fmt: skip
    odd = draw(st.integers(0, 12))
    made = []
    for place in range(draw(st.integers(4, 12))):
        made.append({name: draw(values if place == odd else cells.get(name, said)) for name in schema})
    return made


rows = plausible() | st.lists(st.dictionaries(st.sampled_from(_NAMES), values, max_size=5), max_size=8)
encodings = st.sampled_from(
    ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "cp1251"]
)


@st.composite
def delimited(draw: Any) -> bytes:
    """A file as csv.writer writes it, in one of its dialects."""
    if draw(st.booleans()):
        made = draw(plausible())
        header = list(made[0])
        lines = [[cell if isinstance(cell, str) else json.dumps(cell) for cell in row.values()] for row in made]
    else:
        width = draw(st.integers(1, 5))
        header = draw(st.lists(st.sampled_from(_NAMES), min_size=width, max_size=width))
        lines = draw(st.lists(st.lists(words, min_size=max(0, width - 1), max_size=width + 1), max_size=8))
    file = io.StringIO()
    mark = draw(st.sampled_from(",,;\t\t|"))
    writer = csv.writer(
        file, delimiter=mark, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE])),
        escapechar="\\", doublequote=draw(st.booleans()), lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )  # fmt: skip
    if draw(st.integers(0, 9)) == 0:
        file.write(f"sep={mark}\n")
    with contextlib.suppress(csv.Error):  # of what cannot be written without quotes
        writer.writerows([header, *lines])
    return file.getvalue().encode(draw(encodings), "replace")


@st.composite
def columnar(draw: Any) -> bytes:
    """A Parquet or Arrow file."""
    import pyarrow as pa
    from pyarrow import parquet

    file = io.BytesIO()
    try:
        made = pa.Table.from_pylist(draw(plausible()))
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):  # cells of several kinds in a column
        made = pa.table({"text": ["a", "b"], "label": [0, 1]})
    if draw(st.booleans()):
        parquet.write_table(made, file)
    else:
        with pa.ipc.new_stream(file, made.schema) as writer:
            writer.write_table(made)
    return file.getvalue()


@st.composite
def structured(draw: Any) -> bytes:
    """Rows as JSON has them: lines, a list, columns, splits, under a name, or anything at all."""
    made = draw(rows)
    columns = {name: [row.get(name) for row in made] for name in ("text", "label")}
    shape = draw(st.integers(0, 6))
    indent = draw(st.none() | st.integers(0, 2))
    text = [
        lambda: "".join(json.dumps(row) + "\n" for row in made),
        lambda: json.dumps(made, indent=indent),
        lambda: "\n".join(json.dumps(row, indent=indent) for row in made),
        lambda: json.dumps(columns, indent=indent),
        lambda: json.dumps({"train": made, "test": made[:1]}, indent=indent),
        lambda: json.dumps({draw(st.sampled_from(["data", "rows", "examples"])): made}, indent=indent),
        lambda: json.dumps(draw(values), indent=indent),
    ][shape]()
    return text.encode(draw(encodings), "replace")


@st.composite
def large(draw: Any) -> bytes:
    """A few pieces, again and again, up to a megabyte."""
    pieces = [*(bytes([mark]) for mark in b'",\n\r;\t[{\xff\\'), b"text,label\n", b'{"text": "a", "label": ', b'"b"}\n']
    some = draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=6), min_size=1, max_size=4))
    before = draw(st.sampled_from([b"", b"text,label\n", b"[", b"text\tlabel\n", b'{"text": "']))
    return (before + b"".join(some) * draw(st.sampled_from([1, 30, 1000, 1000, 30_000, 1 << 20])))[: 1 << 20]


@st.composite
def changed(draw: Any, whole: st.SearchStrategy[bytes]) -> bytes:
    """A file that a program would write, half of the time with a few of its bytes changed."""
    content = bytearray(draw(whole))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 3]))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)


def of_a_kind(suffixes: list[str], whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Files of one kind, with its suffixes."""
    return st.tuples(st.sampled_from(suffixes), changed(whole))


files = st.one_of(
    of_a_kind(["csv", "csv", "tsv"], delimited()),
    of_a_kind(["json", "jsonl"], structured()),
    of_a_kind(["parquet", "arrow"], columnar()),
    st.tuples(st.sampled_from(_SUFFIXES), changed(delimited() | structured())),
    st.tuples(st.sampled_from(_SUFFIXES), st.binary(max_size=200) | st.binary(max_size=20) | large()),
)


@dataclass(frozen=True)
class Tried:
    """What came of a file: how many of the readers read it, and whether anything was wrong."""

    reads: int
    refusals: int
    seconds: float
    peak_bytes: int
    faults: tuple[str, ...]


def try_file(path: Path) -> Tried:
    """Read a file in every way, and see what comes of it."""
    size, source = path.stat().st_size, str(path)
    readers: list[Callable[[], Any]] = [
        partial(guess_task, source),
        partial(read_examples, source),
        partial(read_examples, source, need_labels=False, bad_rows="skip"),
        partial(read_new_rows, source, text_column="text"),
        partial(read_new_rows, source, text_column=None),
        partial(read_new_rows, source, text_column="premise\thypothesis", label_column="label", bad_rows="skip"),
        *(partial(read_pairs, source, task, bad_rows="skip") for task in ("summarize", "translate", "instruct")),
        partial(read_pairs, source, "instruct", text_column="text", need_answers=False, learned=True),
    ]
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0
    for reader in readers:
        began = time.process_time()
        try:
            reader()
            outcomes["read"] += 1
        except UserError as error:
            outcomes["refused"] += 1
            if len(str(error).splitlines()) != 1:
                faults.append(f"a refusal of several lines: {str(error)[:200]!r}")
        except Exception as error:  # whatever it is, it is what is looked for
            faults.append(f"{type(error).__name__}: {str(error)[:200]}")
        seconds = time.process_time() - began
        if seconds > MOST_SECONDS:
            seconds = min(seconds, _seconds(reader))
        slowest = max(slowest, seconds)
    largest = max(
        map(_peak_bytes, (readers[0], readers[2], readers[8]))
    )  # of a guess, of labelled rows, and of asked ones
    if slowest > MOST_SECONDS:
        faults.append(f"took {slowest:.1f} s")
    if largest > MOST_TIMES * size + MOST_BYTES:
        faults.append(f"took {largest / 1e6:.0f} MB for a file of {size / 1e6:.2f} MB")
    return Tried(outcomes["read"], outcomes["refused"], slowest, largest, tuple(faults))


def _seconds(reader: Callable[[], Any]) -> float:
    """Of the processor, once more: where its core is shared, other work has been seen to triple them; a hang is one twice."""
    began = time.process_time()
    with contextlib.suppress(Exception):
        reader()
    return time.process_time() - began


def _peak_bytes(reader: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(Exception):
            reader()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--inputs", type=int, default=20_000)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    tried: dict[str, list[Tried]] = {suffix: [] for suffix in _SUFFIXES}
    shown: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="proxtune-fuzz-") as name:

        @seed(asked.seed)
        @settings(
            max_examples=asked.inputs, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(files)
        def each(file: tuple[str, bytes]) -> None:
            suffix, content = file
            path = Path(name) / f"a.{suffix}"
            path.write_bytes(content)
            seen = try_file(path)
            tried[suffix].append(seen)
            for fault in seen.faults:
                shown[fault] += 1
                if shown[fault] == 1:
                    kept = Path(tempfile.gettempdir()) / f"proxtune-fault-{len(shown)}.{suffix}"
                    kept.write_bytes(content)
                    sys.stderr.write(f"{kept}: {fault}\n")

        each()
    _report(asked, tried, shown)


def _report(asked: argparse.Namespace, tried: dict[str, list[Tried]], shown: Counter[str]) -> None:
    head = [
        "suffix",
        "files",
        "readings",
        "read",
        "refused in a sentence",
        "faults",
        "slowest, s of CPU",
        "most memory, MB",
    ]
    lines = [
        [
            f".{suffix}", f"{len(some):,}", f"{sum(one.reads + one.refusals for one in some):,}",
            f"{sum(one.reads for one in some):,}", f"{sum(one.refusals for one in some):,}",
            str(sum(len(one.faults) for one in some)), f"{max((one.seconds for one in some), default=0):.2f}",
            f"{max((one.peak_bytes for one in some), default=0) / 1e6:.1f}",
        ]
        for suffix, some in tried.items()
    ]  # fmt: skip
    every = [one for some in tried.values() for one in some]
    faults = "\n".join(f"- {fault} ({count})" for fault, count in shown.most_common(20)) or "No fault."
    body = (
        f"{len(every):,} files drawn by hypothesis with seed {asked.seed}, each read in ten ways (the guess of a task, rows "
        "with labels and without, pairs, new rows of a run, text generation). "
        f"{faults if not shown else ''}\n\n{table(head, lines)}\n\n"
        + (f"{faults}\n" if shown else "")
        + "Seconds are those of the processor, for the worst reading of a file; memory is as tracemalloc counts it."
    )
    headline = {
        "inputs": len(every), "faults": sum(shown.values()), "read": sum(one.reads for one in every),
        "refused": sum(one.refusals for one in every), "slowest_seconds": round(max(one.seconds for one in every), 3),
        "most_memory_mb": round(max(one.peak_bytes for one in every) / 1e6, 1),
    }  # fmt: skip
    write_record("fuzz", "Files of every kind of damage", body, headline)


if __name__ == "__main__":
    main()
