"""Who finishes inside a memory limit, and with what, as a picture: points on test rows by the limit, what died along the foot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from proxtune.config.budget import parse_bytes

Cell = dict[str, Any]


def draw(cells: list[Cell], ours: str, survived: Callable[[Cell], bool], points_of: dict[str, str]) -> Path:
    """Write `survival-DATE.svg` beside this file, a panel for each pair in `points_of` (what its points are); the path."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "survival"
    from matplotlib import pyplot

    pairs = [pair for pair in points_of if any(cell["pair"] == pair for cell in cells)]
    figure, panels = pyplot.subplots(1, len(pairs), figsize=(5 * len(pairs), 4), squeeze=False)
    ways = [ours, *sorted({cell["way"] for cell in cells} - {ours})]
    for pair, axes in zip(pairs, panels[0], strict=True):
        own = [cell for cell in cells if cell["pair"] == pair]
        foot = min(cell["points"] for cell in own if survived(cell)) - 4
        for number, way in enumerate(ways):
            done = [cell for cell in own if cell["way"] == way and survived(cell)]
            died = [cell for cell in own if cell["way"] == way and not survived(cell) and "refused" not in cell["fate"]]
            limits = sorted({parse_bytes(cell["limit"]) for cell in done})
            middles = [
                median(cell["points"] for cell in done if parse_bytes(cell["limit"]) == limit) for limit in limits
            ]
            line = {"color": f"C{number}", "marker": "os^v<>"[number]}
            axes.plot([limit / 1e6 for limit in limits], middles, label=way, linewidth=2 if way == ours else 1, **line)
            places = [parse_bytes(cell["limit"]) / 1e6 * (1 + 0.012 * number) for cell in died]
            axes.plot(places, [foot] * len(died), "x", color=f"C{number}", clip_on=False)
        axes.set(xscale="log", title=pair, xlabel="memory limit, MB (x: died)", ylabel=points_of[pair])
        ticks = sorted({parse_bytes(cell["limit"]) / 1e6 for cell in own})[::3]
        axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=7)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.2, top=0.92, wspace=0.2)
    path = Path(__file__).parent / f"survival-{date.today().isoformat()}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
