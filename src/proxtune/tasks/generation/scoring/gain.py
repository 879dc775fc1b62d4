"""Whether training made answers better than the base model's: the same rows answered by both, and how far chance would go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from proxtune.tasks.generation.scoring.metrics import MAIN, NAMES, each_text, in_points

_KNOWS_SOMETHING = 5.0  # points: words by chance score less
_INTERVAL = 1.96  # standard errors to each side that hold 95 % of what chance does


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What training added to the main score of a row, in points (0 to 100): the mean over `rows` rows, and its standard error.

    `before` is the mean that the base model has. `standard_error` is infinite for a single row, which says nothing of others.
    """

    score: str
    before: float
    mean: float
    standard_error: float
    rows: int

    @property
    def is_clear(self) -> bool:
        """Whether it is more than chance, or less: zero is not in its 95 % interval."""
        return abs(self.mean) > _INTERVAL * self.standard_error

    def __str__(self) -> str:
        within = f" ± {_INTERVAL * self.standard_error:.1f}" if math.isfinite(self.standard_error) else ""
        return f"{self.mean:+.1f}{within} {NAMES[self.score]} on {self.rows} answers"


def gain(task: str, after: Sequence[str], before: Sequence[str], references: Sequence[str]) -> Gain:
    """The gain from `before` to `after`, row by row: the rows are the same, so only their differences vary.

    Raises as `score_texts`.
    """
    old = [in_points(MAIN[task], score) for score in each_text(task, before, references)]
    new = [in_points(MAIN[task], score) for score in each_text(task, after, references)]
    gains = [later - earlier for later, earlier in zip(new, old, strict=True)]
    mean = sum(gains) / len(gains)
    error = math.inf
    if len(gains) > 1:
        error = math.sqrt(sum((each - mean) ** 2 for each in gains) / (len(gains) - 1) / len(gains))
    return Gain(score=MAIN[task], before=sum(old) / len(old), mean=mean, standard_error=error, rows=len(gains))


def is_worse(found: Gain, loss_after: float, loss_before: float) -> bool:
    """Whether the base model is to be kept: it answers better, or as far as the answers can tell as well and has the lower loss.

    They cannot tell less than one standard error, nor what a base model is worth that scores next to nothing.
    """
    if found.mean > found.standard_error:
        return False
    if found.mean < -found.standard_error and found.before >= _KNOWS_SOMETHING:
        return True
    return not loss_after < loss_before
