"""A run whose stages end as a test says, without a process."""

from types import SimpleNamespace

import pytest

import proxtune.pipeline.sitting
import proxtune.pipeline.supervisor
from proxtune.config.budget import Budget
from proxtune.config.recipe import Recipe
from proxtune.pipeline.jobs import ReportJob
from proxtune.pipeline.process import StageOutcome
from proxtune.pipeline.result import FitResult
from proxtune.pipeline.sitting import Sitting
from proxtune.runtime.clock import Clock
from proxtune.storage.event_log import EventLog
from proxtune.storage.run_folder import read_recipe, write_recipe


@pytest.fixture
def staged(monkeypatch, tmp_path):
    """What the stages end with, one after another, and the jobs that they had; with the sitting of a run in `folder`."""
    outcomes, jobs, heard, budgets = [], [], [], []

    def run_stage(job, listen=None, **watched):
        jobs.append(job)
        budgets.append(read_recipe(job.folder / "recipe.toml").budget.memory)
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, FitResult):
            (job.folder / "model").mkdir(exist_ok=True)
        if isinstance(job, ReportJob):
            (job.folder / "report.html").touch()
        if isinstance(outcome, StageOutcome):
            return outcome
        return StageOutcome(result=outcome if isinstance(outcome, dict) else outcome.as_dict())

    for module in (proxtune.pipeline.sitting, proxtune.pipeline.supervisor):
        monkeypatch.setattr(module, "run_stage", run_stage)
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = Recipe(data="reviews.csv", out=str(folder), task="classify", budget=Budget(memory="1GB", time="10min"))
    write_recipe(recipe, folder / "recipe.toml")
    with EventLog(folder, heard.append) as event_log:
        yield SimpleNamespace(
            outcomes=outcomes, jobs=jobs, heard=heard, budgets=budgets, folder=folder, recipe=recipe,
            sitting=Sitting(recipe=recipe, folder=folder, clock=Clock(0.0, 600.0), event_log=event_log, lock=0),
        )  # fmt: skip
