"""Run the command as a person types it, watch it from outside, and write down what was seen."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from proxtune.memory.measure import tree_bytes
from proxtune.run import versions

HERE = Path(__file__).parent
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Seen:
    """What one run of a command showed: its JSON, and the tree's peak and time as seen from outside."""

    status: int
    result: dict[str, Any]
    peak_bytes: int
    seconds: float
    words: str


def proxtune(*words: str) -> Seen:
    """Run `proxtune WORDS --json`, sampling the resident memory of the whole process tree."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([sys.executable, "-m", "proxtune", *words, "--json"], stdout=out, stderr=err)
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(_SAMPLE_SECONDS)
        seconds = time.monotonic() - began
        out.seek(0)
        err.seek(0)
        lines, said = out.read().splitlines(), err.read()
    return Seen(process.returncode, json.loads(lines[-1]) if lines else {}, peak, seconds, said)


def write_record(name: str, title: str, body: str, headline: dict[str, Any]) -> None:
    """Write `NAME-DATE.md` beside this file and print the headline figures as the last line."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}"
    known = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    text = f"# {title}\n\n{date.today().isoformat()} · {machine} · {known}\n\n{body.rstrip()}\n"
    path = HERE / f"{name}-{date.today().isoformat()}.md"
    path.write_text(text, encoding="utf-8")
    sys.stderr.write(f"wrote {path}\n")
    print(json.dumps(headline))


def _processor() -> str:
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
