"""The supervisor: a stage that was killed or that hung is begun again or finished, and one that failed is not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import proxtune.pipeline.supervisor
from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.pipeline.jobs import BaselinesJob, FitJob, HeadJob, ReportJob
from proxtune.pipeline.process import StageFailed, StageHung, StageOutcome
from proxtune.pipeline.result import FitResult
from proxtune.pipeline.supervisor import Infeasible, plan, resolve_recipe, resume, train
from proxtune.runtime.clock import Clock
from proxtune.storage.atomic import write_json
from proxtune.storage.event_log import EventLog, read_events
from proxtune.storage.events import Notice, StepDown
from proxtune.storage.run_folder import read_recipe, write_recipe
from support.stages import fit_result

STUCK = StageHung("the stage 'fit' stood still", "stuck")
LATE = StageHung("the 10 min of --time were over 151 s ago", "late")
BASELINES = {"baselines": {"majority": {"accuracy": 0.5}}, "peak_bytes": 3}


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

    monkeypatch.setattr(proxtune.pipeline.supervisor, "run_stage", run_stage)
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = Recipe(data="reviews.csv", out=str(folder), task="classify", budget=Budget(memory="1GB", time="10min"))
    write_recipe(recipe, folder / "recipe.toml")
    with EventLog(folder, heard.append) as event_log:
        yield SimpleNamespace(
            outcomes=outcomes, jobs=jobs, heard=heard, budgets=budgets, folder=folder, recipe=recipe,
            sitting=proxtune.pipeline.supervisor._Sitting(
                recipe=recipe, folder=folder, clock=Clock(0.0, 600.0), event_log=event_log, lock=0
            ),
        )  # fmt: skip


def fit(staged):
    return proxtune.pipeline.supervisor._fit(staged.sitting)


def fit_or_finish(staged):
    return proxtune.pipeline.supervisor._fit_or_finish(staged.sitting)


def twice(staged, job=None, missing="the report is"):
    job = job or ReportJob(folder=staged.folder)
    return proxtune.pipeline.supervisor._run_twice(staged.sitting, job, missing)


def save_something(folder):
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "best.safetensors").write_bytes(b"weights")


DOWN = StepDown(at_step=3, seconds=9.0, before="micro-batch 8", after="micro-batch 4", why="close to the budget")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "SIGBUS"])
def test_a_killed_stage_begins_again_with_nine_tenths_of_the_memory(staged, how):
    learned = fit_result(step_downs=(DOWN.as_dict(),))
    staged.outcomes[:] = [StageFailed(f"the stage 'fit' was killed by {how}", how), learned]
    fitted = fit(staged)
    assert staged.budgets == [10**9, 9 * 10**8]
    first, second = fitted.result.step_downs
    assert (first["from"], first["to"]) == ("1000000000 bytes", "900000000 bytes")
    assert how in first["why"]
    assert second == DOWN.as_dict()
    assert [event.as_dict() for event in staged.heard] == [first]


def test_what_a_killed_try_learned_is_gone_before_the_next(staged):
    save_something(staged.folder)
    names = ("journal.bin", "settled.json", "features.npz", "head.npz")
    for name in names:
        (staged.folder / name).write_bytes(b"of the first try")
    staged.outcomes[:] = [StageFailed("killed", "SIGKILL"), fit_result()]
    fit(staged)
    assert not [name for name in (*names, "snapshots") if (staged.folder / name).exists()]


def test_after_three_tries_the_failure_is_told(staged):
    staged.outcomes[:] = [StageFailed("killed", "SIGKILL")] * 3
    with pytest.raises(StageFailed):
        fit(staged)
    assert staged.budgets == [10**9, 9 * 10**8, 81 * 10**7]


@pytest.mark.parametrize(
    ("failure", "memory"), [(StageFailed("a fault of ours"), "1GB"), (StageFailed("killed", "SIGSEGV"), None)]
)
def test_a_fault_is_not_tried_again(staged, failure, memory):
    recipe = replace(staged.recipe, budget=Budget(memory=memory))
    staged.sitting = replace(staged.sitting, recipe=recipe)
    staged.outcomes[:] = [failure, fit_result()]
    with pytest.raises(StageFailed):
        fit(staged)
    assert len(staged.jobs) == 1


def test_a_head_is_fitted_between_the_halves_and_its_peak_counts(staged):
    staged.outcomes[:] = [{"status": "features"}, {"peak_bytes": 10**8}, fit_result(memory_bytes={"train": 5})]
    fitted = fit(staged)
    assert [type(job) for job in staged.jobs] == [FitJob, HeadJob, FitJob]
    assert fitted.result.memory_bytes == {"train": 10**8}


@pytest.mark.parametrize(
    ("there", "jobs"), [(["settled.json"], [HeadJob, FitJob]), (["settled.json", "head.npz"], [FitJob])]
)
def test_a_half_that_is_done_is_not_done_again(staged, there, jobs):
    for name in there:
        (staged.folder / name).touch()
    staged.outcomes[:] = [*([{"peak_bytes": 1}] if HeadJob in jobs else []), fit_result()]
    fit(staged)
    assert [type(job) for job in staged.jobs] == jobs


def test_a_budget_that_nothing_fits_is_told_with_all_that_was_found(staged):
    staged.outcomes[:] = [{"status": "infeasible", "message": "nothing fits in 1 GB", "table": []}]
    with pytest.raises(Infeasible, match="nothing fits in 1 GB") as caught:
        fit(staged)
    assert caught.value.record["status"] == "infeasible"


def test_what_was_saved_is_finished_in_a_fresh_process(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, fit_result(status="interrupted", best_step=7)]
    fitted = fit_or_finish(staged)
    assert [job.finish for job in staged.jobs] == [False, True]
    assert (fitted.result.best_step, fitted.hung) == (7, STUCK)
    assert [event.words for event in staged.heard] == [str(STUCK)]


def test_what_hung_after_the_last_step_lacks_nothing_once_it_is_evaluated(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, fit_result(best_step=7)]
    assert fit_or_finish(staged).hung is None
    assert [type(event) for event in staged.heard] == [Notice]


def test_a_fitted_head_can_be_finished_too(staged):
    for name in ("settled.json", "head.npz"):
        (staged.folder / name).touch()
    staged.outcomes[:] = [STUCK, fit_result()]
    assert fit_or_finish(staged).hung is None
    assert staged.jobs[-1].finish


def test_where_the_fresh_process_fails_too_both_are_said(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, StageFailed("no room")]
    with pytest.raises(StageHung, match=r"stood still.*no room.*proxtune resume"):
        fit_or_finish(staged)


@pytest.mark.parametrize(
    ("hung", "begun", "words"),
    [(STUCK, False, "proxtune resume"), (LATE, True, "proxtune resume"), (LATE, False, "more --time")],
)
def test_where_nothing_was_learned_it_says_what_to_do(staged, hung, begun, words):
    if begun:
        (staged.folder / "journal.bin").write_bytes(b"begun")
    staged.outcomes[:] = [hung]
    with pytest.raises(StageHung, match=f"Nothing was learned yet; .*{words}") as caught:
        fit_or_finish(staged)
    can_resume = proxtune.pipeline.supervisor._can_be_resumed(staged.folder, caught.value)
    assert can_resume == (words == "proxtune resume")


def test_being_late_and_ending_in_good_order_is_a_warning(staged):
    staged.outcomes[:] = [StageOutcome(result=fit_result().as_dict(), cut_short=LATE)]
    fitted = fit_or_finish(staged)
    assert (fitted.result, fitted.hung) == (fit_result(), None)
    (notice,) = staged.heard
    assert (notice.words, notice.cause) == (str(LATE), "late")
    assert notice.seconds > 0


def test_a_training_that_was_cut_short_says_which_step_its_best_model_is_of(staged):
    told = ['{"kind": "step", "step": 3}', '{"kind": "validation", "step": 3, "best": true}']
    (staged.folder / "metrics.jsonl").write_text("\n".join(told) + "\n")
    staged.outcomes[:] = [StageOutcome(result=fit_result(status="interrupted").as_dict(), cut_short=STUCK)]
    fitted = fit_or_finish(staged)
    assert (fitted.result.best_step, fitted.hung) == (3, STUCK)


def test_a_stage_after_the_fit_is_tried_once_more(staged):
    staged.outcomes[:] = [STUCK, {"report": "report.html"}]
    assert twice(staged) == {"report": "report.html"}
    assert "tried once more" in staged.heard[0].words


def test_after_the_second_time_it_says_what_is_missing(staged):
    staged.outcomes[:] = [STUCK, STUCK]
    with pytest.raises(StageHung, match=r"the report is missing.*proxtune resume"):
        twice(staged)
    staged.outcomes[:] = [STUCK, STUCK]
    with pytest.raises(StageHung, match="the baselines and the report are missing"):
        twice(staged, BaselinesJob(folder=staged.folder), "the baselines and the report are")


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
    assert proxtune.pipeline.supervisor._run_stages(staged.sitting)["status"] == "done"
    assert [type(job) for job in staged.jobs] == [BaselinesJob, ReportJob]


def test_a_run_that_hung_has_a_result_that_says_so(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, fit_result(status="interrupted", best_step=7), BASELINES, {"report": "report.html"}]
    with pytest.raises(StageHung, match=r"of step 7, was evaluated and is in .*proxtune resume"):
        proxtune.pipeline.supervisor._run_stages(staged.sitting)
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
