"""Accuracy by bytes as a picture: held runs and what else makes a model small."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Point:
    """One model: the way it was made, the bytes of its weights, the share of test rows that are right."""

    way: str
    bytes: int
    accuracy: float
    held: bool


def draw(points: list[Point]) -> Path:
    """Write `size-DATE.svg` beside this file: the median of each way with its range, held runs joined; the path."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "size"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    line: list[tuple[float, float]] = []
    marks: dict[str, str] = {}  # by way, whatever the size
    for way, same in groupby(points, key=lambda point: point.way):
        own = list(same)
        size, right = median(point.bytes for point in own) / 1e6, [point.accuracy for point in own]
        middle = median(right)
        bars = [[middle - min(right)], [max(right) - middle]]
        if own[0].held:
            axes.errorbar(size, middle, yerr=bars, fmt="o", color="C0")
            axes.annotate(way, (size, middle), xytext=(-4, 5), textcoords="offset points", ha="right", fontsize=8)
            line.append((size, middle))
            continue
        kind = way.rsplit(" ", 1)[0] if way.endswith("B") else way
        label = None if kind in marks else kind
        marks.setdefault(kind, "xv^<>sDP*d"[len(marks) % 10])
        color = f"C{1 + list(marks).index(kind)}"
        axes.errorbar(size, middle, yerr=bars, fmt=marks[kind], color=color, markersize=5, alpha=0.8, label=label)
    axes.plot(*zip(*sorted(line), strict=True), color="C0", label="trained under --size")
    axes.set(xscale="log", xlabel="bytes of the weights, MB", ylabel="accuracy on test.csv")
    axes.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    axes.minorticks_off()
    figure.legend(loc="outside right upper", fontsize=7)
    path = Path(__file__).parent / f"size-{date.today().isoformat()}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
