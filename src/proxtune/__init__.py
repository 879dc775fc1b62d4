"""Fine-tune a language model inside the memory and the time you have; and NNO, an optimizer without gradients."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxtune.config.budget import Budget
    from proxtune.errors import UserError
    from proxtune.estimator import TextClassifier
    from proxtune.optim.nno import NNO, replay
    from proxtune.optim.points import Points
    from proxtune.run import Run, open_run, tune

__version__ = "0.1.0"
__all__ = [
    "NNO",
    "Budget",
    "Points",
    "Run",
    "TextClassifier",
    "UserError",
    "__version__",
    "open_run",
    "replay",
    "tune",
]

_HOME = {
    "Budget": "proxtune.config.budget",
    "NNO": "proxtune.optim.nno",
    "UserError": "proxtune.errors",
    "Points": "proxtune.optim.points",
    "Run": "proxtune.run",
    "TextClassifier": "proxtune.estimator",
    "replay": "proxtune.optim.nno",
    "open_run": "proxtune.run",
    "tune": "proxtune.run",
}


def __getattr__(name: str) -> object:
    # On demand, since imports are part of a memory budget: torch alone is over 200 MB.
    if name not in _HOME:
        raise AttributeError(f"module 'proxtune' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
