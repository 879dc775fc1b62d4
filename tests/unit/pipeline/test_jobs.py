"""Jobs: each comes back from the JSON in which it crosses to its stage."""

import json
from pathlib import Path

import pytest

from proxtune.pipeline.jobs import JOBS, BaselinesJob, CheckJob, FitJob, PredictJob, ReportJob

RUN = Path("/runs/a run")
EVERY = [
    FitJob(folder=RUN, started=12.5), FitJob(folder=RUN, started=0.0, plan_only=True, exact=True, finish=True),
    CheckJob(folder=RUN), BaselinesJob(folder=RUN),
    BaselinesJob(folder=RUN, file="test.csv", results={"metrics": {"loss": 0.5}}, base_results=None), ReportJob(folder=RUN),
    PredictJob(folder=RUN, texts=("a film", "né\u2028n")), PredictJob(folder=RUN, file="test.csv", evaluate=True, base=True),
]  # fmt: skip


@pytest.mark.parametrize("job", EVERY, ids=lambda job: job.stage)
def test_a_job_comes_back_from_json(job):
    raw = json.loads(json.dumps(job.as_dict()))
    assert raw["folder"] == "/runs/a run"
    assert JOBS[job.stage].from_dict(raw) == job


def test_each_job_has_a_stage_of_its_own():
    assert {type(job) for job in EVERY} == set(JOBS.values())
    assert all(name == job.stage for name, job in JOBS.items())
    assert len(JOBS) == 5


def test_what_no_job_has_is_an_error():
    with pytest.raises(TypeError, match="FitJob has no texts"):
        FitJob.from_dict({"folder": "run", "started": 0.0, "texts": []})
    with pytest.raises(KeyError):
        ReportJob.from_dict({})
