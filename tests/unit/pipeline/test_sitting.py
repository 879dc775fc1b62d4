"""A sitting: a stage that was killed or that hung is begun again or finished, and one that failed is not."""

from dataclasses import replace

import pytest

from proxtune.config.budget import Budget
from proxtune.pipeline.jobs import BaselinesJob, ReportJob
from proxtune.pipeline.process import StageFailed, StageHung, StageOutcome
from proxtune.pipeline.sitting import Infeasible, _fit, fit_or_finish, run_twice
from proxtune.pipeline.supervisor import _can_be_resumed
from proxtune.storage.events import Notice, StepDown
from support.stages import STUCK, fit_result, save_something

LATE = StageHung("the 10 min of --time were over 151 s ago", "late")


DOWN = StepDown(at_step=3, seconds=9.0, before="micro-batch 8", after="micro-batch 4", why="close to the budget")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "SIGBUS"])
def test_a_killed_stage_begins_again_with_nine_tenths_of_the_memory(staged, how):
    learned = fit_result(step_downs=(DOWN.as_dict(),))
    staged.outcomes[:] = [StageFailed(f"the stage 'fit' was killed by {how}", how), learned]
    fitted = _fit(staged.sitting)
    assert staged.budgets == [10**9, 9 * 10**8]
    first, second = fitted.result.step_downs
    assert (first["from"], first["to"]) == ("1000000000 bytes", "900000000 bytes")
    assert how in first["why"]
    assert second == DOWN.as_dict()
    assert [event.as_dict() for event in staged.heard] == [first]


def test_what_a_killed_try_learned_is_gone_before_the_next(staged):
    save_something(staged.folder)
    names = ("journal.bin", "settled.json", "head.npz")
    for name in names:
        (staged.folder / name).write_bytes(b"of the first try")
    staged.outcomes[:] = [StageFailed("killed", "SIGKILL"), fit_result()]
    _fit(staged.sitting)
    assert not [name for name in (*names, "snapshots") if (staged.folder / name).exists()]


def test_after_three_tries_the_failure_is_told(staged):
    staged.outcomes[:] = [StageFailed("killed", "SIGKILL")] * 3
    with pytest.raises(StageFailed):
        _fit(staged.sitting)
    assert staged.budgets == [10**9, 9 * 10**8, 81 * 10**7]


@pytest.mark.parametrize(
    ("failure", "memory"), [(StageFailed("a fault of ours"), "1GB"), (StageFailed("killed", "SIGSEGV"), None)]
)
def test_a_fault_is_not_tried_again(staged, failure, memory):
    recipe = replace(staged.recipe, budget=Budget(memory=memory))
    staged.sitting = replace(staged.sitting, recipe=recipe)
    staged.outcomes[:] = [failure, fit_result()]
    with pytest.raises(StageFailed):
        _fit(staged.sitting)
    assert len(staged.jobs) == 1


def test_a_budget_that_nothing_fits_is_told_with_all_that_was_found(staged):
    staged.outcomes[:] = [{"status": "infeasible", "message": "nothing fits in 1 GB", "table": []}]
    with pytest.raises(Infeasible, match="nothing fits in 1 GB") as caught:
        _fit(staged.sitting)
    assert caught.value.record["status"] == "infeasible"


def test_what_was_saved_is_finished_in_a_fresh_process(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, fit_result(status="interrupted", best_step=7)]
    fitted = fit_or_finish(staged.sitting)
    assert [job.finish for job in staged.jobs] == [False, True]
    assert (fitted.result.best_step, fitted.hung) == (7, STUCK)
    assert [event.words for event in staged.heard] == [str(STUCK)]


def test_what_hung_after_the_last_step_lacks_nothing_once_it_is_evaluated(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, fit_result(best_step=7)]
    assert fit_or_finish(staged.sitting).hung is None
    assert [type(event) for event in staged.heard] == [Notice]


def test_a_fitted_head_can_be_finished_too(staged):
    for name in ("settled.json", "head.npz"):
        (staged.folder / name).touch()
    staged.outcomes[:] = [STUCK, fit_result()]
    assert fit_or_finish(staged.sitting).hung is None
    assert staged.jobs[-1].finish


def test_where_the_fresh_process_fails_too_both_are_said(staged):
    save_something(staged.folder)
    staged.outcomes[:] = [STUCK, StageFailed("no room")]
    with pytest.raises(StageHung, match=r"stood still.*no room.*proxtune resume"):
        fit_or_finish(staged.sitting)


@pytest.mark.parametrize(
    ("hung", "begun", "words"),
    [(STUCK, False, "proxtune resume"), (LATE, True, "proxtune resume"), (LATE, False, "more --time")],
)
def test_where_nothing_was_learned_it_says_what_to_do(staged, hung, begun, words):
    if begun:
        (staged.folder / "journal.bin").write_bytes(b"begun")
    staged.outcomes[:] = [hung]
    with pytest.raises(StageHung, match=f"Nothing was learned yet; .*{words}") as caught:
        fit_or_finish(staged.sitting)
    can_resume = _can_be_resumed(staged.folder, caught.value)
    assert can_resume == (words == "proxtune resume")


def test_being_late_and_ending_in_good_order_is_a_warning(staged):
    staged.outcomes[:] = [StageOutcome(result=fit_result().as_dict(), cut_short=LATE)]
    fitted = fit_or_finish(staged.sitting)
    assert (fitted.result, fitted.hung) == (fit_result(), None)
    (notice,) = staged.heard
    assert (notice.words, notice.cause) == (str(LATE), "late")
    assert notice.seconds > 0


def test_a_training_that_was_cut_short_says_which_step_its_best_model_is_of(staged):
    told = ['{"kind": "step", "step": 3}', '{"kind": "validation", "step": 3, "best": true}']
    (staged.folder / "metrics.jsonl").write_text("\n".join(told) + "\n")
    staged.outcomes[:] = [StageOutcome(result=fit_result(status="interrupted").as_dict(), cut_short=STUCK)]
    fitted = fit_or_finish(staged.sitting)
    assert (fitted.result.best_step, fitted.hung) == (3, STUCK)


def test_a_stage_after_the_fit_is_tried_once_more(staged):
    staged.outcomes[:] = [STUCK, {"report": "report.html"}]
    assert run_twice(staged.sitting, ReportJob(folder=staged.folder), "the report is") == {"report": "report.html"}
    assert "tried once more" in staged.heard[0].words


def test_after_the_second_time_it_says_what_is_missing(staged):
    staged.outcomes[:] = [STUCK, STUCK]
    with pytest.raises(StageHung, match=r"the report is missing.*proxtune resume"):
        run_twice(staged.sitting, ReportJob(folder=staged.folder), "the report is")
    staged.outcomes[:] = [STUCK, STUCK]
    with pytest.raises(StageHung, match="the baselines and the report are missing"):
        run_twice(staged.sitting, BaselinesJob(folder=staged.folder), "the baselines and the report are")
