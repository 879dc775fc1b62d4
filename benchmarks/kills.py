"""SIGKILL at random moments of a run, in every phase; each is resumed to its end: is a run lost, are the weights the same?

A phase is drawn, and then a moment in it. With `--evenly` the moment is drawn from the whole length: most fall into planning.

    --runs 200        moments, over the three methods in turn
    --seed 0          of the moments
    --share 0.3       of the time for snapshots (0.02 is the program's own): so that many moments fall into saving

A third of the runs is killed a second time while it is resumed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

import crashing
from crashing import Ended, digest_of, forked, get_ready, phases_of
from harness import table, write_record
from tiny import tiny_files


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--runs", type=int, default=200)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--share", type=float, default=0.3)
    words.add_argument("--evenly", action="store_true")
    asked = words.parse_args()
    get_ready(asked.share)
    draw = random.Random(asked.seed)
    phases: dict[str, Counter[str]] = {kind: Counter() for kind in crashing.KINDS}
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in crashing.KINDS}
    with tempfile.TemporaryDirectory(prefix="proxtune-kills-") as name:
        place = Path(name)
        data, model = tiny_files(place)
        wanted, lengths, out = {}, {}, place / "run"
        for kind in crashing.KINDS:
            whole = [
                forked(lambda out=place / f"{kind}-{i}", kind=kind: crashing.train(data, model, out, kind))
                for i in (0, 1)
            ]
            assert all(ended.status == 0 for ended in whole), whole
            wanted[kind], again = (digest_of(place / f"{kind}-{i}") for i in (0, 1))
            assert wanted[kind] == again, "two runs that nothing stops are the same"
            lengths[kind] = phases_of(place / f"{kind}-1")
            lengths[kind]["report"] = max(0.05, whole[1].seconds - sum(lengths[kind].values()))
            if asked.evenly:
                lengths[kind] = {"begin": sum(lengths[kind].values())}
        number = 0
        while sum(count["killed"] for count in counts.values()) < asked.runs:
            kind, number = list(crashing.KINDS)[number % len(crashing.KINDS)], number + 1
            shutil.rmtree(out, ignore_errors=True)
            phase = draw.choice(list(lengths[kind]))
            cut = forked(
                lambda kind=kind: crashing.train(data, model, out, kind),
                draw.uniform(0, max(0.01, lengths[kind][phase])),
                lambda phase=phase: phase == "begin" or phase in phases_of(out),
            )
            if cut.status >= 0:  # it was quicker than the moment that was drawn
                assert digest_of(out) == wanted[kind], cut
                continue
            counts[kind]["killed"] += 1
            phases[kind][list(phases_of(out))[-1]] += 1
            if draw.random() < 1 / 3 and (out / "recipe.toml").is_file():
                again = forked(lambda: crashing.resume(out), draw.uniform(0, sum(lengths[kind].values())))
                counts[kind]["killed a second time"] += again.status < 0
            ended = _to_the_end(data, model, out, kind, counts[kind])
            if ended.status != 0:
                counts[kind]["lost"] += 1
                sys.stderr.write(f"{number} {kind}: {ended.words}\n")
            elif digest_of(out) != wanted[kind]:
                counts[kind]["other weights"] += 1
                sys.stderr.write(f"{number} {kind}: other weights, killed in {phase}\n")
            else:
                counts[kind]["the same weights"] += 1
            if number % 20 == 0:
                sys.stderr.write(f"{number}: {[dict(count) for count in counts.values()]}\n")
    _write(asked, phases, counts, lengths)


def _to_the_end(data: Path, model: Path, out: Path, kind: str, count: Counter[str]) -> Ended:
    if not (out / "recipe.toml").is_file():  # killed before the run began: there is nothing, and the user begins
        count["had not begun"] += 1
        shutil.rmtree(out, ignore_errors=True)
        return forked(lambda: crashing.train(data, model, out, kind))
    return forked(lambda: crashing.resume(out))


def _write(
    asked: argparse.Namespace,
    phases: dict[str, Counter[str]],
    counts: dict[str, Counter[str]],
    lengths: dict[str, float],
) -> None:
    outcomes = [
        "killed",
        "killed a second time",
        "was quicker",
        "had not begun",
        "the same weights",
        "other weights",
        "lost",
    ]
    names = sorted(set().union(*phases.values()))
    length = "its length" if asked.evenly else "the length of a phase that is drawn first"
    seconds = statistics.mean(sum(each.values()) for each in lengths.values())
    body = (
        f"{asked.runs} runs of a model of three blocks on 180 rows, some {seconds:.1f} s each, one thread; a SIGKILL at a moment "
        f"drawn from {length}, seed {asked.seed}; snapshots take {asked.share:.0%} of the time. "
        "Then `resume` to the end, and the SHA-256 of `model/model.safetensors` beside that of a run that nothing stopped.\n\n"
    )
    body += table(
        ["method", *outcomes], [[kind, *[str(count[each]) for each in outcomes]] for kind, count in counts.items()]
    )
    body += "\n\nThe phase in which they were killed:\n\n"
    body += table(["method", *names], [[kind, *[str(count[each]) for each in names]] for kind, count in phases.items()])
    total = sum(counts.values(), Counter())
    headline = {
        "runs": asked.runs, "killed": total["killed"], "killed_again": total["killed a second time"], "lost": total["lost"],
        "other_weights": total["other weights"], "same_weights": total["the same weights"],
    }  # fmt: skip
    write_record("kills-evenly" if asked.evenly else "kills", "SIGKILL at random moments", body, headline)


if __name__ == "__main__":
    main()
