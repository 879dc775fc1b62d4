"""Every write, fsync, rename and open of a short run fails once with EIO, once with ENOSPC, and is once where it is killed.

    --method full     or lora, nno
    --every 1         write and open of so many; of fsync and rename every one
    --share 0.3       of the time for snapshots (0.02 is the program's own)
    --count           only say how many calls there are

Afterwards `resume` must come to the weights of a run that nothing stops, or the first run said in one line what is wrong. Needs
gcc: the calls are caught by a preloaded library (`faults.c`).
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import crashing
from crashing import digest_of, forked, get_ready
from harness import HERE, table, write_record
from tiny import tiny_files

CALLS = {"rename": 4, "fsync": 2, "open": 8, "write": 1}
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "killed": -1}
_LOADED = "PROXTUNE_FAULTS"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--method", choices=crashing.KINDS, default="full")
    words.add_argument("--every", type=int, default=1)
    words.add_argument("--share", type=float, default=0.3)
    words.add_argument("--count", action="store_true")
    asked = words.parse_args()
    if _LOADED not in os.environ:
        _begin_again_with_the_library()
    library = ctypes.CDLL(os.environ[_LOADED])
    get_ready(asked.share)
    rows, lost = [], []
    with tempfile.TemporaryDirectory(prefix="proxtune-faults-") as name:
        place = Path(name)
        data, model = tiny_files(place)
        crashing.KINDS[asked.method]["epochs"] = 0.2
        whole = place / "whole"
        ended = forked(lambda: crashing.train(data, model, whole, asked.method))
        assert ended.status == 0, ended.words
        wanted = digest_of(whole)
        if asked.count:
            print({call: _count(library, mask, data, model, place, asked.method) for call, mask in CALLS.items()})
            return
        for call, mask in CALLS.items():
            number = _count(library, mask, data, model, place, asked.method)
            every = asked.every if call in ("write", "open") else 1
            for fault, code in FAULTS.items():
                seen: Counter[str] = Counter()
                for at in range(0, number, every):
                    told = _try(library, mask, code, at, data, model, place / "run", asked.method, wanted)
                    seen[told.partition(":")[0]] += 1
                    if told.startswith("LOST"):
                        lost.append(f"{call} {at} of {number}, {fault}: {told}")
                        sys.stderr.write(lost[-1] + "\n")
                rows.append([call, str(number), str(every), fault, *[str(seen[each]) for each in OUTCOMES]])
                sys.stderr.write(f"{rows[-1]}\n")
    body = (
        f"A run of `{asked.method}`, a model of three blocks on 180 rows; snapshots take {asked.share:.0%} of the time. "
        "The calls are those on files of the run's folder.\n\n"
    )
    body += table(["call", "of them", "tried every", "fault", *OUTCOMES], rows)
    if lost:
        body += "\n\n" + "\n".join(f"- {each}" for each in lost)
    headline = {"tried": sum(int(cell) for row in rows for cell in row[4:]), "lost": len(lost)}
    write_record(f"faults-{asked.method}", "One call on a file fails", body, headline)


OUTCOMES = ["went on", "ended, resumed", "refused, then begun", "LOST"]


def _try(
    library: ctypes.CDLL,
    mask: int,
    code: int,
    at: int,
    data: Path,
    model: Path,
    out: Path,
    method: str,
    wanted: str | None,
) -> str:
    """What one fault led to."""
    shutil.rmtree(out, ignore_errors=True)

    def with_a_fault() -> None:
        library.fault_arm(str(out).encode(), at, code, mask)
        crashing.train(data, model, out, method)

    first = forked(with_a_fault)
    if first.status == 0:
        return "went on" if digest_of(out) == wanted else "LOST: other weights"
    if first.status not in (2, -9):
        return f"LOST: status {first.status}, {first.words[-1500:]}"
    if "\n" in first.words:
        return f"LOST: more than one line, {first.words[:200]}"
    if not (out / "recipe.toml").is_file():  # nothing had begun, and nothing stands in the way
        if first.status >= 0 and out.exists():
            return "LOST: a folder without a recipe stands in the way"
        shutil.rmtree(out, ignore_errors=True)
        again, outcome = forked(lambda: crashing.train(data, model, out, method)), "refused, then begun"
    else:
        again, outcome = forked(lambda: crashing.resume(out)), "ended, resumed"
    if again.status != 0:
        return f"LOST: after {first.words!r} {again.words[-1500:]}"
    return outcome if digest_of(out) == wanted else "LOST: other weights after resume"


def _count(library: ctypes.CDLL, mask: int, data: Path, model: Path, place: Path, method: str) -> int:
    """How many such calls a run makes."""
    out = place / "counted"
    shutil.rmtree(out, ignore_errors=True)

    def counted() -> None:
        library.fault_arm(str(out).encode(), -1, 0, mask)
        crashing.train(data, model, out, method)
        (place / "count").write_text(str(library.fault_count()))

    ended = forked(counted)
    assert ended.status == 0, ended.words
    return int((place / "count").read_text())


def _begin_again_with_the_library() -> None:
    folder = tempfile.mkdtemp(prefix="proxtune-faults-library-")
    library = Path(folder) / "faults.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c"), "-ldl"], check=True)
    os.environ |= {"LD_PRELOAD": str(library), _LOADED: str(library)}
    os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    main()
