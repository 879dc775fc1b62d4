"""What a finished run is asked: which jobs that takes, what is heard of them, and what is kept of an evaluation."""

import json
import shutil
from types import SimpleNamespace

import pytest

from proxtune.errors import UserError
from proxtune.pipeline import queries
from proxtune.pipeline.jobs import BaselinesJob, PredictJob, ReportJob
from proxtune.pipeline.process import StageOutcome
from proxtune.storage.events import AnswerPiece, Notice, Prediction
from support.reports import ANSWERS_RUN, LABELS_RUN


@pytest.fixture
def staged(monkeypatch):
    """What the stages say and end with, one after another, and the jobs that they had."""
    outcomes, events, jobs = [], [], []

    def run_stage(job, listen=None, **watched):
        jobs.append(type(job).from_dict(json.loads(json.dumps(job.as_dict()))))  # as it was then
        for event in events if listen is not None else ():
            listen(event)
        return StageOutcome(result=outcomes.pop(0))

    monkeypatch.setattr(queries, "run_stage", run_stage)
    return SimpleNamespace(outcomes=outcomes, events=events, jobs=jobs)


@pytest.fixture
def run_of(tmp_path):
    """A finished run with a model, of labels or of answers."""

    def make(run):
        folder = tmp_path / "run"
        shutil.copytree(run, folder)
        (folder / "model").mkdir()
        if run == LABELS_RUN:  # which was begun before there were other tasks
            recipe = (folder / "recipe.toml").read_text()
            (folder / "recipe.toml").write_text('task = "classify"\n' + recipe)
        return folder

    return make


def test_predictions_come_in_their_order_and_are_heard_as_they_come(staged, run_of, tmp_path):
    folder = run_of(LABELS_RUN)
    said = [
        AnswerPiece(text="on"), Prediction(text="a", label="x", probabilities=(0.5, 0.5)), Notice(words="of the rows"),
        Prediction(text="b", answer="one"),
    ]  # fmt: skip
    staged.events[:], staged.outcomes[:] = said, [{}]
    heard = []
    found = queries.predictions(folder, texts=["a", "b"], listen=heard.append)
    assert found == [said[1], said[3]]
    assert heard == said
    assert staged.jobs == [PredictJob(folder=folder, texts=("a", "b"))]
    staged.events[:], staged.outcomes[:] = said, [{}]
    assert queries.predictions(folder, texts=["a", "b"], keep=False) == []


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_a_blank_text_is_not_answered(run_of, text):
    with pytest.raises(UserError, match="text 2 of 2 is blank"):
        queries.predictions(run_of(LABELS_RUN), texts=["a", text])


def test_a_file_of_texts_is_named_from_anywhere(staged, run_of, tmp_path, monkeypatch):
    folder = run_of(LABELS_RUN)
    (tmp_path / "new.csv").touch()
    monkeypatch.chdir(tmp_path)
    staged.outcomes[:] = [{}]
    assert queries.predictions(folder, file="new.csv") == []
    assert staged.jobs[0].file == str((tmp_path / "new.csv").resolve())


def test_an_evaluation_of_labels_is_kept_in_the_result_and_the_report_is_written_again(staged, run_of):
    folder = run_of(LABELS_RUN)
    staged.outcomes[:] = [
        {"rows": 9, "metrics": {"accuracy": 0.5}, "memory_bytes": 7},
        {"baselines": {"majority": {"accuracy": 0.25}}, "peak_bytes": 3}, {"report": "report.html"},
    ]  # fmt: skip
    found = queries.evaluate(folder, "data/test.csv")
    assert found == {
        "rows": 9, "metrics": {"accuracy": 0.5}, "memory_bytes": 7, "baselines": {"majority": {"accuracy": 0.25}},
    }  # fmt: skip
    assert json.loads((folder / "result.json").read_text())["evaluations"]["test.csv"] == found
    assert [type(job) for job in staged.jobs] == [PredictJob, BaselinesJob, ReportJob]
    assert staged.jobs[0].evaluate
    assert not staged.jobs[0].base


def test_where_text_is_generated_the_base_model_is_evaluated_too(staged, run_of):
    folder = run_of(ANSWERS_RUN)
    staged.outcomes[:] = [
        {"rows": 9, "metrics": {"loss": 2.0}, "answers": ["one"]}, {"metrics": {"loss": 3.0}, "memory_bytes": 5},
        {"baselines": {}, "metrics": {"loss": 2.0, "chrf": 30.0}, "main": "chrf", "peak_bytes": 3}, {},
    ]  # fmt: skip
    found = queries.evaluate(folder, "test.jsonl")
    assert [job.base for job in staged.jobs[:2]] == [False, True]
    assert staged.jobs[2].results["answers"] == ["one"], "baselines are compared with the answers"
    assert staged.jobs[2].base_results == {"metrics": {"loss": 3.0}, "memory_bytes": 5}
    assert "answers" not in found, "samples show enough of them"
    assert found["untouched_memory_bytes"] == 5
    assert found["metrics"]["chrf"] == 30.0


def test_a_report_is_written_again_where_it_was(staged, run_of):
    folder = run_of(LABELS_RUN)
    staged.outcomes[:] = [{"report": str(folder / "report.html")}]
    assert queries.report(folder) == folder / "report.html"
    assert staged.jobs == [ReportJob(folder=folder)]


@pytest.mark.parametrize("ask", [queries.predictions, queries.report, lambda folder: queries.evaluate(folder, "a.csv")])
def test_a_folder_that_is_no_run_is_refused_before_anything_starts(staged, tmp_path, ask):
    with pytest.raises(UserError, match="not a finished run"):
        ask(tmp_path)
    assert staged.jobs == []


def test_a_run_without_a_model_predicts_nothing(staged, run_of):
    folder = run_of(LABELS_RUN)
    (folder / "model").rmdir()
    with pytest.raises(UserError, match="no model/ folder"):
        queries.predictions(folder, texts=["a"])
