"""Run the command as a user types it, watch it from outside, and write down what was seen."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from proxtune.memory.process import tree_bytes
from proxtune.pipeline.result import versions

HERE = Path(__file__).parent
_SAMPLE_SECONDS = 0.5  # a look at a process of a gigabyte takes 10 ms, and its threads wait for one another


@dataclass(frozen=True)
class Seen:
    """What one run of a command showed: its JSON, and the tree's peak and time as seen from outside.

    Inside a control group also the kernel's own count: its peak, and the major page faults (a group that thrashes has
    hundreds of thousands).
    """

    status: int
    result: dict[str, Any]
    peak_bytes: int
    seconds: float
    words: str
    group_peak_bytes: int | None = None
    major_faults: int | None = None


def proxtune(*words: str, group: Group | None = None) -> Seen:
    """Run `proxtune WORDS --json`, inside `group` if given."""
    return watched([sys.executable, "-m", "proxtune", *words, "--json"], group)


def watched(
    command: list[str],
    group: Group | None = None,
    data_limit_bytes: int | None = None,
    kill_after_seconds: float | None = None,
) -> Seen:
    """Run a command whose last line may be JSON, sampling the resident memory of the whole process tree.

    Inside `group` if given; with RLIMIT_DATA at `data_limit_bytes` if given.
    """

    def enter() -> None:
        if group is not None:
            group.enter()
        if data_limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (data_limit_bytes, data_limit_bytes))

    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, preexec_fn=enter)
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            if kill_after_seconds is not None and time.monotonic() - began > kill_after_seconds:
                process.kill()
            time.sleep(_SAMPLE_SECONDS)
        seconds = time.monotonic() - began
        out.seek(0)
        err.seek(0)
        lines, said = out.read().splitlines(), err.read()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    counted = (None, None) if group is None else (group.peak_bytes(), group.major_faults())
    return Seen(process.returncode, result, peak, seconds, said, *counted)


class Group:
    """A memory control group (version 1, or 2) with a hard limit, made for one run. State: its folder. Needs root."""

    def __init__(self, limit_bytes: int) -> None:
        first = Path("/sys/fs/cgroup/memory")
        self._first = first.is_dir()
        self._folder = (first if self._first else Path("/sys/fs/cgroup")) / f"proxtune-bench-{os.getpid()}"
        self._folder.mkdir()
        name = "memory.limit_in_bytes" if self._first else "memory.max"
        (self._folder / name).write_text(str(limit_bytes))

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *error: object) -> None:
        time.sleep(0.5)  # the last process must be out of it
        self._folder.rmdir()

    def enter(self) -> None:
        """Put the calling process into the group, and so its children."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak_bytes(self) -> int:
        """The most that was charged to the group, page cache included."""
        return int((self._folder / ("memory.max_usage_in_bytes" if self._first else "memory.peak")).read_text())

    def major_faults(self) -> int:
        """Pages that had to be read from disk again or for the first time."""
        for line in (self._folder / "memory.stat").read_text().splitlines():
            if line.split()[0] == "pgmajfault":
                return int(line.split()[1])
        return 0


def commit() -> str:
    """The commit that is measured, "+" behind it where the code is changed and not committed; empty outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(HERE.parent), *words], capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "src") else "")


def write_record(name: str, title: str, body: str, headline: dict[str, Any]) -> None:
    """Write `NAME-DATE.md` beside this file and print the headline figures as the last line."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {processor()}"
    known = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    measured = " · commit " + at if (at := commit()) else ""
    text = f"# {title}\n\n{date.today().isoformat()} · {machine} · {known}{measured}\n\n{body.rstrip()}\n"
    path = HERE / f"{name}-{date.today().isoformat()}.md"
    path.write_text(text, encoding="utf-8")
    sys.stderr.write(f"wrote {path}\n")
    print(json.dumps(headline))


def processor() -> str:
    """The model of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
