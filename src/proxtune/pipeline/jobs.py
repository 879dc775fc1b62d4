"""Jobs: what the supervisor asks of a stage, as values that cross from one process to the other as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from proxtune.storage.serializable import Serializable


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Serializable):
    """Base of all jobs. `stage` names the process that does it, `folder` is the run's."""

    stage: ClassVar[str] = ""
    folder: Path

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        return super(Job, cls).from_dict({**raw, "folder": Path(raw["folder"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob(Job):
    """Plan, train, evaluate and save; `started` is a reading of the monotonic clock, when the command began.

    With `plan_only` it ends once the plan is chosen. With `exact` nothing that training depends on may have changed. With
    `finish` nothing is trained: what is on disk of a run whose process had to be ended is evaluated and saved.
    """

    stage: ClassVar[str] = "fit"
    started: float
    plan_only: bool = False
    exact: bool = False
    finish: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselinesJob(Job):
    """Score the baselines on the validation rows, or on those of `file` beside what the model and the base model gave."""

    stage: ClassVar[str] = "baselines"
    file: str | None = None
    results: Mapping[str, Any] | None = None
    base_results: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportJob(Job):
    """Write the report and the model card."""

    stage: ClassVar[str] = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob(Job):
    """Predict `texts` or the rows of `file`; with `evaluate` score the model on them, with `base` the base model."""

    stage: ClassVar[str] = "predict"
    texts: tuple[str, ...] = ()
    file: str | None = None
    evaluate: bool = False
    base: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJob(Job):
    """Open the model and the data of a recipe, and pass one row forward and backward; nothing is trained."""

    stage: ClassVar[str] = "check"


JOBS: dict[str, type[Job]] = {job.stage: job for job in (FitJob, BaselinesJob, ReportJob, PredictJob, CheckJob)}
