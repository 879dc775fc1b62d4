"""The records of a run as points and spans, ready to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from proxtune.report.formatting import number, rows

Records = Sequence[Mapping[str, Any]]
Series = list[tuple[float, float]]
_MOST_POINTS = 500
# Events name what is done; the budget's phases name what it costs.
_SAME = {"read": "load", "plan": "prepare", "untouched": "evaluate", "baselines": "afterwards", "report": "afterwards"}


def of_kind(records: Records, kind: str) -> list[Mapping[str, Any]]:
    """The records of one kind."""
    return [record for record in records if record.get("kind") == kind]


def series(records: Records, kind: str, x: str, y: str) -> Series:
    """The finite points of one kind of record, in the order of x."""
    points = ((number(record.get(x)), number(record.get(y))) for record in of_kind(records, kind))
    return sorted(((a, b) for a, b in points if a is not None and b is not None), key=lambda point: point[0])


def by_step(records: Records, kind: str, name: str) -> Series:
    """One point for each step."""
    # A resumed run repeats the steps after its last snapshot; the later record is the one that counts.
    return sorted({x: (x, y) for x, y in series(records, kind, "step", name)}.values())


def best_point(records: Records, accuracy: Series) -> tuple[float, float]:
    """The last point that the run called its best; failing that the highest."""
    known = dict(accuracy)
    named = [
        r["step"] for r in of_kind(records, "validation") if r.get("best") is True and number(r.get("step")) in known
    ]
    return (named[-1], known[named[-1]]) if named else max(accuracy, key=lambda point: point[1])


def lap_curves(records: Records) -> dict[str, Series]:
    """Of each contender of a race that has points: its plan's name, and (seconds of training, validation loss)."""
    curves: dict[str, Series] = {}
    for record in of_kind(records, "race"):
        pairs = zip(rows(record, "seconds"), rows(record, "losses"), strict=False)
        points = [(number(at), number(loss)) for at, loss in pairs]
        known = [(x, y) for x, y in points if x is not None and y is not None]
        if known:
            curves[str(record.get("plan"))] = known
    return curves


def phase_spans(records: Records, end: float) -> list[tuple[str, float, float]]:
    """(phase, from, to), from the phase records or, without any, from the phases of the samples."""
    marks = of_kind(records, "phase") or of_kind(records, "memory")
    starts = [(at, str(r["phase"])) for r in marks if (at := number(r.get("seconds"))) is not None and r.get("phase")]
    starts.sort(key=lambda start: start[0])
    changes = [start for i, start in enumerate(starts) if i == 0 or start[1] != starts[i - 1][1]]
    return [
        (_SAME.get(phase, phase), at, until)
        for (at, phase), (until, _) in pairwise([*changes, (end, "")])
        if until > at
    ]


def mean(values: Iterable[float]) -> float:
    """Their mean."""
    known = list(values)
    return sum(known) / len(known)


def thin(points: Series, choose: Callable[[Iterable[float]], float]) -> Series:
    """At most `_MOST_POINTS` points, each the `choose` of its neighbours: a peak must not be lost by thinning."""
    stride = -(-len(points) // _MOST_POINTS)
    if stride == 1:
        return points
    groups = [points[i : i + stride] for i in range(0, len(points), stride)]
    return [(group[-1][0], choose(y for _, y in group)) for group in groups]


def smooth(points: Series) -> Series:
    """A running mean over a tenth of the curve."""
    reach = max(1, len(points) // 20)
    return [(x, mean(y for _, y in points[max(0, i - reach) : i + reach + 1])) for i, (x, _) in enumerate(points)]
