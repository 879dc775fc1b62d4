"""The report's curves as inline SVG: memory over time, loss, accuracy. matplotlib comes in only to draw."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.config.plan import PHASES
from proxtune.report.formatting import number, part
from proxtune.report.scores import BASELINES
from proxtune.report.series import (
    Records,
    best_point,
    by_step,
    lap_curves,
    mean,
    of_kind,
    phase_spans,
    series,
    smooth,
    thin,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that become the page's own colours, so that one drawing serves the light and the dark page.
INK, SOFT, LINE, MAIN, SECOND, LIMIT, GOOD = (f"#0a000{n}" for n in range(1, 8))
_NAMES = {INK: "ink", SOFT: "soft", LINE: "line", MAIN: "main", SECOND: "second", LIMIT: "limit", GOOD: "good"}
_SHADED = (*PHASES, "afterwards")
_TINTS = dict(zip(_SHADED, (f"#0b000{n}" for n in range(1, 7)), strict=True))
_NAMES |= {colour: f"phase-{phase}" for phase, colour in _TINTS.items()}
_HOLDS_MEMORY = ("memory", "step", "step_down", "validation")


def memory_chart(records: Records, limit: float | None, promised: Mapping[str, Any]) -> str:
    """Memory over time, with the limit, the promise and the phases; empty when nothing was sampled."""
    seen = sorted(point for kind in _HOLDS_MEMORY for point in series(records, kind, "seconds", "memory_bytes"))
    if len(seen) < 2:
        return ""
    seen = [(x, y / 1e6) for x, y in thin(seen, max)]
    end = max(at for record in records if (at := number(record.get("seconds"))) is not None)
    top = max(1.0, *(y for _, y in seen))
    with _axes("memory", 9.2, 3.1) as (axes, svg):
        named = set()
        for phase, start, stop in phase_spans(records, end):
            tint = _TINTS.get(phase, SOFT)
            label = "" if phase in named or phase not in _TINTS else phase
            axes.axvspan(start, stop, color=tint, alpha=0.2, linewidth=0, label=label)
            expected = number(promised.get(phase))
            if expected is not None:
                words = "" if "promised" in named else "promised"
                axes.hlines(
                    expected / 1e6, start, stop, colors=INK, linewidth=1.1, linestyles=(0, (1, 1.4)), label=words
                )
                named.add("promised")
                top = max(top, expected / 1e6)
            named.add(phase)
        axes.plot(*zip(*seen, strict=True), color=MAIN, linewidth=1.6, label="measured")
        if limit is not None and limit / 1e6 <= 4 * top:  # a far limit would flatten the curve
            axes.axhline(limit / 1e6, color=LIMIT, linewidth=1.4, linestyle=(0, (5, 3)), label="limit")
            top = max(top, limit / 1e6)
        for at in sorted({at for record in of_kind(records, "step_down") if (at := number(record.get("seconds")))}):
            axes.axvline(at, color=SECOND, linewidth=1)
            axes.annotate("step-down", (at, top * 1.09), color=SECOND, fontsize=8.5, ha="center", annotation_clip=False)
        axes.set_xlim(0, max(end, 1e-9))
        axes.set_ylim(0, top * 1.08)
        axes.set_xlabel("seconds since the start")
        axes.set_ylabel("MB")
        _legend(axes, 9, ("measured", "promised", "limit", *_SHADED))
    return svg()


def loss_chart(records: Records, base_loss: float | None = None) -> str:
    """The loss of each step, its running mean, the validation loss, and the base model's loss as a line.

    The best checkpoint is marked where it was chosen by the loss.
    """
    train, validation = by_step(records, "step", "loss"), by_step(records, "validation", "loss")
    if len(train) + len(validation) < 2:
        return ""
    with _axes("loss", 5.2, 3.0) as (axes, svg):
        if train:
            axes.plot(*zip(*thin(train, mean), strict=True), color=MAIN, linewidth=0.8, alpha=0.35)
            axes.plot(*zip(*smooth(thin(train, mean)), strict=True), color=MAIN, linewidth=1.7, label="training")
        if validation:
            line = axes.plot(*zip(*validation, strict=True), color=SECOND, linewidth=1.3, marker="o", markersize=4)
            line[0].set_label("validation")
            best = {r.get("step") for r in of_kind(records, "validation") if r.get("best") is True}
            if best and not by_step(records, "validation", "accuracy"):
                chosen = [point for point in validation if point[0] in best][-1:]
                axes.plot(*zip(*chosen, strict=True), linestyle="", marker="o", markersize=10, markerfacecolor="none",
                          color=GOOD, label="best")  # fmt: skip
        if base_loss is not None:
            axes.axhline(base_loss, color=SOFT, linewidth=1.1, linestyle=(0, (5, 3)), label="before training")
        axes.set_ylim(bottom=0)
        _finish(axes, "step", "loss")
    return svg()


def race_chart(records: Records, chosen: str) -> str:
    """The learning curve of each contender of a race, the chosen one bold; empty where none has two points."""
    curves = {name: points for name, points in lap_curves(records).items() if len(points) > 1}
    if not curves:
        return ""
    with _axes("race", 9.2, 3.0) as (axes, svg):
        dashes = iter(((0, (5, 3)), (0, (1, 2)), (0, (5, 2, 1, 2))))
        for name, points in curves.items():
            bold = name == chosen
            look = {"color": GOOD, "linewidth": 1.9} if bold else {"color": SECOND, "linestyle": next(dashes, "solid")}
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **look)
        _finish(axes, "seconds of training", "validation loss")
    return svg()


def curves_chart(records: Records, baselines: Mapping[str, Any]) -> str:
    """Validation accuracy and macro F1, the best checkpoint marked, the baselines as lines."""
    accuracy, macro = by_step(records, "validation", "accuracy"), by_step(records, "validation", "macro_f1")
    if not accuracy:
        return ""
    with _axes("accuracy", 5.2, 3.0) as (axes, svg):
        axes.plot(*zip(*accuracy, strict=True), color=MAIN, linewidth=1.7, marker="o", markersize=4, label="accuracy")
        if macro:
            axes.plot(*zip(*macro, strict=True), color=SECOND, linewidth=1.1, linestyle=(0, (4, 2)), label="macro F1")
        x, y = best_point(records, accuracy)
        axes.plot([x], [y], linestyle="", marker="o", markersize=10, markerfacecolor="none", color=GOOD, label="best")
        place: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{100 * y:.1f} %", (x, y), color=GOOD, fontsize=9.5, **place)
        first = accuracy[0][0]
        for name, style in (("tfidf", (0, (5, 3))), ("majority", (0, (1, 2)))):
            value = number(part(baselines, name).get("accuracy"))
            if value is not None:
                axes.axhline(value, color=SOFT, linewidth=1.1, linestyle=style)
                axes.annotate(
                    BASELINES[name], (first, value), (0, 3), textcoords="offset points", color=SOFT, fontsize=8.5
                )
        low, high = axes.get_ylim()
        axes.set_ylim(max(0.0, low), min(1.02, high + 0.12 * (high - low)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        _finish(axes, "step", "")
    return svg()


@contextmanager
def _axes(name: str, width: float, height: float) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Axes to draw on, and a function that gives the SVG once they are drawn. No global figure, no clock, nothing random."""
    with chdir(Path(__file__).parent):  # it reads the working folder's matplotlibrc first, and ends on a damaged one
        import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    matplotlib.set_loglevel("error")  # a first-time font cache must not write between the user's lines
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10, "text.parse_math": False}
    drawn: list[str] = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own matplotlibrc must not change the page
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(LINE)
        axes.tick_params(color=LINE, labelcolor=SOFT, labelsize=9)
        axes.xaxis.label.set_color(SOFT)
        axes.yaxis.label.set_color(SOFT)
        axes.grid(axis="y", color=LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        yield axes, lambda: drawn[0]
        out = io.StringIO()
        canvas.print_svg(out, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        drawn.append(_inline(out.getvalue(), name))


def _inline(svg: str, name: str) -> str:
    """The drawing without what only a stand-alone file needs, its ids its own, its colours the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    head = rf'<svg class="chart" role="img" aria-label="{name}" \1>'
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', head, svg, count=1)
    svg = re.sub(r' id="(?!m[0-9a-f]{10}|p[0-9a-f]{10})[^"]*"', "", svg)  # only clip paths and marks are referred to
    svg = svg.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-")
    svg = svg.replace('xlink:href="#', f'href="#{name}-')
    for colour, variable in _NAMES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", svg).strip()


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.locator_params(axis="x", integer=True)
    _legend(axes, 3)


def _legend(axes: Axes, columns: int, order: tuple[str, ...] = ()) -> None:
    known = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    known = {name: known[name] for name in (order or tuple(known)) if name in known}
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": columns}
    look: dict[str, Any] = {"frameon": False, "labelcolor": INK, "fontsize": 9, "columnspacing": 1.4}
    drawn = axes.legend(list(known.values()), list(known), **place, **look)
    for patch in drawn.get_patches():
        patch.set_alpha(0.5)  # the pale shade of a whole phase is too little in so small a square
