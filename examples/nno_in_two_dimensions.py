"""NNO in two dimensions, drawn: what one step sees, and the paths that its rules take. Makes the pictures of docs/nno.md.

python examples/nno_in_two_dimensions.py FOLDER
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch

from proxtune import NNO, Points

matplotlib.use("svg")
from matplotlib import pyplot as plt

STEPS = 400
START = (-1.2, 1.0)
ONE_ROW = torch.zeros(1)


def valley(x):
    """Rosenbrock's banana, its logarithm for the picture: a flat, bent valley with its lowest point at (1, 1)."""
    return torch.log1p(100 * (x[..., 1] - x[..., 0] ** 2) ** 2 + (1 - x[..., 0]) ** 2)


def main(folder: str = "docs/pictures") -> None:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "proxtune"
    draw_a_step(place / "nno-step.svg")
    draw_paths(place / "nno-paths.svg")
    print(f"wrote nno-step.svg and nno-paths.svg to {place}")


def search(rule: str, steps: int, neighbours: int = 8) -> tuple[np.ndarray, float]:
    """The places that a search passes, (steps, 2), and the value at its end."""
    points = Points([torch.tensor(START)])
    nno = NNO(points, neighbours=neighbours, rule=rule, seed=1)
    path = []
    for _ in range(steps):
        path.append(points.tensors()[0].numpy().copy())
        nno.step(ONE_ROW, points, lambda place, _: valley(place[0]))
    return np.array(path), float(valley(points.tensors()[0]))


def draw_a_step(file: Path) -> None:
    """θ, its neighbours with their distance and value, the best of them, and where each rule goes; beside it −gradient."""
    torch.manual_seed(0)
    here = torch.tensor([-0.6, 0.9], requires_grad=True)
    valley(here).backward()
    around = here.detach() + 0.25 * torch.randn(9, 2)
    values, distances = valley(around), (around - here.detach()).norm(dim=1)
    weights = (values - values.mean()) / values.std(unbiased=False)
    step = -(weights[:, None] * (around - here.detach())).mean(0)
    best, nearest = int(values.argmin()), int(distances.argmin())
    figure, axes = plt.subplots(figsize=(6, 4.5))
    contours(axes, (-1.5, 0.3), (0.1, 1.7))
    x, y = here.detach().numpy()
    for k, (other, value, distance) in enumerate(zip(around.numpy(), values, distances, strict=True)):
        axes.plot([x, other[0]], [y, other[1]], color="0.6", linewidth=0.8)
        axes.scatter(*other, color="tab:blue", zorder=3)
        mark = " best" if k == best else " nearest" if k == nearest else ""
        axes.annotate(f" {value:.2f} at {distance:.2f}{mark}", other, fontsize=7)
    axes.scatter(x, y, color="black", zorder=4, label="θ")
    for vector, colour, name in (
        (step, "tab:red", "estimate: all neighbours, by their losses"),
        (around[best] - here.detach(), "tab:green", "greedy: the best neighbour"),
        (-here.grad / here.grad.norm() * step.norm(), "black", "−gradient, for comparison"),
    ):
        axes.quiver(
            x, y, *vector.numpy(), angles="xy", scale_units="xy", scale=1, color=colour, width=0.007, label=name
        )
    axes.legend(fontsize=7, loc="lower left")
    save(figure, file)


def draw_paths(file: Path) -> None:
    """The paths of the rules from the same start."""
    figure, axes = plt.subplots(figsize=(6, 4.5))
    contours(axes, (-1.6, 1.6), (-0.4, 1.9))
    for rule, colour in (("estimate", "tab:red"), ("greedy", "tab:green"), ("nearest", "tab:blue")):
        path, value = search(rule, STEPS)
        axes.plot(*path.T, color=colour, linewidth=1, label=f"{rule}: {STEPS} steps, to {value:.3f}")
    axes.scatter(*START, color="black", zorder=4)
    axes.scatter(1, 1, marker="*", s=120, color="gold", edgecolor="black", zorder=4, label="lowest point")
    axes.legend(fontsize=8, loc="lower left")
    save(figure, file)


def contours(axes, across, up) -> None:
    grid = torch.stack(torch.meshgrid(torch.linspace(*across, 120), torch.linspace(*up, 120), indexing="xy"), dim=-1)
    axes.contour(grid[..., 0], grid[..., 1], valley(grid), levels=14, cmap="Greys", linewidths=0.7)
    axes.set(xlim=across, ylim=up, xlabel="θ₁", ylabel="θ₂")


def save(figure, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:2])
