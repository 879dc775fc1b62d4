"""The supervisor: from a recipe to a finished run, one that was refused or interrupted, and one that is resumed."""

from dataclasses import replace
from pathlib import Path

import pytest

import proxtune.pipeline.supervisor
from proxtune.config.recipe import Knobs
from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.pipeline.jobs import BaselinesJob, FitJob, ReportJob
from proxtune.pipeline.process import StageHung, StageOutcome
from proxtune.pipeline.sitting import Infeasible
from proxtune.pipeline.supervisor import _run_stages, plan, resolve_recipe, resume, train
from proxtune.storage.atomic import write_json
from proxtune.storage.event_log import read_events
from support.stages import STUCK, fit_result, save_something

BASELINES = {"baselines": {"majority": {"accuracy": 0.5}}, "peak_bytes": 3}


def new_run(staged, **changes):
    """The recipe of a run that has no folder yet."""
    data = staged.folder.parent / "reviews.csv"
    data.write_text("text,label\n" + "".join(f"film {i},{i % 2}\n" for i in range(40)))
    return replace(staged.recipe, data=str(data), out=str(staged.folder.parent / "new" / "run"), **changes)


def test_a_run_ends_with_its_result_on_disk_before_the_report_is_drawn(staged):
    recipe = new_run(staged)
    staged.outcomes[:] = [fit_result(), BASELINES, {"report": "report.html"}]
    result = train(recipe)
    assert [type(job) for job in staged.jobs] == [FitJob, BaselinesJob, ReportJob]
    assert (result["status"], result["metrics"]["accuracy"], result["interruptions"]) == ("done", 0.75, [])
    assert result["beats_baselines"]
    folder = Path(recipe.out)
    assert [event["phase"] for event in read_events(folder)] == ["baselines", "report"]
    again = resume(folder)
    assert again == result, "a run that is finished stays as it is"
    assert len(staged.jobs) == 3


def test_an_interrupted_run_says_how_to_resume_and_resume_does_what_is_left(staged):
    recipe = new_run(staged)
    interrupted = StageOutcome(result=fit_result(status="interrupted").as_dict(), interrupted_by=15)
    staged.outcomes[:] = [interrupted, BASELINES, {"report": "report.html"}]
    with pytest.raises(Interrupted, match="proxtune resume") as caught:
        train(recipe)
    assert caught.value.by == 15
    folder = Path(recipe.out)
    assert read_events(folder)[-1]["by"] == "SIGTERM"
    staged.outcomes[:] = [fit_result(), BASELINES, {"report": "report.html"}]
    result = resume(folder, exact=True)
    assert staged.jobs[-3].exact
    assert [each["after"] for each in result["interruptions"]] == ["SIGTERM"]


def test_a_run_that_was_refused_leaves_nothing_behind(staged):
    recipe = new_run(staged)
    staged.outcomes[:] = [UserError("the labels are all the same")]
    with pytest.raises(UserError, match="labels"):
        train(recipe)
    assert not (staged.folder.parent / "new").exists()


def test_a_run_whose_disk_failed_stays_to_be_resumed(staged):
    recipe = new_run(staged)
    staged.outcomes[:] = [DiskFailed("no room")]
    with pytest.raises(DiskFailed):
        train(recipe)
    assert (staged.folder.parent / "new" / "run" / "recipe.toml").is_file()


def test_a_fit_that_is_finished_is_not_made_again(staged):
    write_json(staged.folder / "learned.json", fit_result().as_dict())
    (staged.folder / "model").mkdir()
    staged.outcomes[:] = [BASELINES, {"report": "report.html"}]
    assert _run_stages(staged.sitting)["status"] == "done"
    assert [type(job) for job in staged.jobs] == [BaselinesJob, ReportJob]


def test_a_run_that_hung_has_a_result_that_says_so(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, fit_result(status="interrupted", best_step=7), BASELINES, {"report": "report.html"}]
    with pytest.raises(StageHung, match=r"of step 7, was evaluated and is in .*proxtune resume"):
        _run_stages(staged.sitting)
    assert read_events(staged.folder)[-1]["by"] == "the watchdog"


def test_planning_has_a_folder_of_its_own_that_goes(staged):
    staged.outcomes[:] = [{"status": "planned", "table": []}, {"status": "infeasible", "message": "nothing fits"}]
    recipe = new_run(staged)
    assert plan(recipe)["status"] == "planned"
    with pytest.raises(Infeasible, match="nothing fits"):
        plan(recipe)
    assert all(job.plan_only and not job.folder.exists() for job in staged.jobs)


def test_a_recipe_gets_its_task_its_model_and_absolute_paths(staged, monkeypatch):
    recipe, heard = new_run(staged, task=None, model=""), []
    monkeypatch.chdir(staged.folder.parent)
    monkeypatch.setattr(proxtune.pipeline.supervisor, "outer_limit_bytes", lambda device: 5 * 10**8)
    found = resolve_recipe(replace(recipe, data="reviews.csv"), heard.append)
    assert (found.task, found.model, found.data) == ("classify", "minilm", recipe.data)
    assert found.budget.memory == 5 * 10**8, "no more than the limit around it"
    assert heard == []


def test_a_task_that_is_guessed_is_told(staged):
    data = staged.folder.parent / "pairs.jsonl"
    rows = [f'{{"source": "the old house {i}", "target": "la vieille maison {i}"}}\n' for i in range(40)]
    data.write_text("".join(rows))
    heard = []
    found = resolve_recipe(replace(staged.recipe, data=str(data), task=None, model=""), heard.append)
    assert (found.task, found.model) == ("translate", "smollm2")
    assert "--task translate" in heard[0].words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "magic"}, "magic"),
        ({"device": "abacus"}, "abacus"),
        ({"task": "cook"}, "cook"),
        ({"bad_rows": "eat"}, "eat"),
    ],
)
def test_names_that_there_are_not_are_refused_before_the_data_is_read(staged, changes, words):
    recipe = replace(staged.recipe, data="no such file", **changes)
    with pytest.raises(UserError, match=words):
        resolve_recipe(recipe)


def test_what_a_task_that_is_guessed_cannot_do_is_refused(staged):
    recipe = new_run(staged, task=None, model="", knobs=Knobs(base_dtype="int8"))
    with pytest.raises(UserError, match="--base-dtype is for tasks that generate text"):
        resolve_recipe(recipe)
