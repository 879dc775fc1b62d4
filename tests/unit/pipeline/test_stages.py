"""The child's side: each job is done by what does it, and what it raises is what the stage ends with."""

import errno
import json
import shutil

import pytest

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.pipeline import stages
from proxtune.pipeline.jobs import BaselinesJob, Job, ReportJob
from proxtune.pipeline.process import run_stage
from proxtune.storage.atomic import write_json
from support.reports import ANSWERS_RUN, LABELS_RUN


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (UserError("give more"), "user", "give more"), (DiskFailed("no room"), "disk", "no room"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "No space left on device"),
        (OSError(errno.ENOENT, "No such file"), "fault", "Traceback"), (Interrupted("stopped"), "interrupted", "stopped"),
        (KeyboardInterrupt(), "interrupted", ""), (ValueError("ours"), "fault", "ValueError: ours"),
        (SystemExit(3), "fault", "SystemExit"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else "",
)  # fmt: skip
def test_what_is_raised_is_an_outcome_with_its_words(monkeypatch, error, outcome, words):
    def do(job, emit, others_bytes):
        raise error

    monkeypatch.setattr(stages, "do", do)
    end = stages._end_of(ReportJob(folder="run"), print, 0)
    assert end["outcome"] == outcome
    assert words in end["message"]


def test_a_job_that_no_stage_does_is_a_fault_of_ours():
    with pytest.raises(AssertionError, match="no stage does Job"):
        stages.do(Job(folder="run"), print, 0)


def test_a_report_is_written_in_a_process_of_its_own(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(LABELS_RUN, folder)
    outcome = run_stage(ReportJob(folder=folder))
    assert outcome.result["report"] == str(folder / "report.html")
    assert (folder / "report.html").read_text().startswith("<!")
    assert outcome.result["peak_bytes"] > 10**7, "the supervisor counts too"
    assert not (folder / "model").exists()


def test_a_run_with_a_model_has_a_model_card_too(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(ANSWERS_RUN, folder)
    (folder / "model").mkdir()
    assert stages.do(ReportJob(folder=folder), print, 5)["peak_bytes"] > 5
    assert (folder / "model" / "README.md").read_text().startswith("---\n")


def recipe_of(folder, data, task="classify"):
    (folder / "recipe.toml").write_text(f'data = {json.dumps(str(data))}\nout = "run"\ntask = "{task}"\n')


def test_baselines_are_scored_on_the_validation_rows_or_on_a_file(tmp_path, tiny_reviews):
    recipe_of(tmp_path, tiny_reviews)
    write_json(tmp_path / "learned.json", {"metrics": {"accuracy": 0.5}})
    found = stages.do(BaselinesJob(folder=tmp_path), print, 0)
    assert {"majority", "tfidf"} <= found["baselines"].keys()
    write_json(
        tmp_path / "result.json", {"status": "done", "data": {"text_columns": ["text"], "label_column": "label"}}
    )
    on_file = stages.do(BaselinesJob(folder=tmp_path, file=str(tiny_reviews)), print, 0)
    assert on_file["baselines"]["tfidf"]["accuracy"] > found["baselines"]["tfidf"]["accuracy"], (
        "it has learned these rows"
    )
