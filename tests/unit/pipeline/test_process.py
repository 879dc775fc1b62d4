"""A stage as a process: what it says is heard as events, and what it ends with is the result or the error of it."""

import os
import signal
import threading

import pytest

from proxtune.errors import DiskFailed, Interrupted, UserError
from proxtune.pipeline.jobs import FitJob, PredictJob, ReportJob
from proxtune.pipeline.process import StageFailed, StageHung, run_stage
from proxtune.storage.events import Phase, StepEvent
from support.stages import scripts_as_stages

REPORT = ReportJob(folder="run")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return scripts_as_stages(tmp_path, monkeypatch)


def test_a_job_goes_in_events_and_the_result_come_out(stage):
    stage("""
    say({"kind": "phase", "phase": "train", "seconds": 1.0})
    print("a library's own words", flush=True)
    print('["words", "in brackets"]', flush=True)
    step(1)
    end({"job": job, "stage": sys.argv[-1]})
    """)
    heard = []
    outcome = run_stage(PredictJob(folder="run", texts=("a film",)), heard.append)
    assert outcome.result["stage"] == "predict"
    assert outcome.result["job"] == {
        "folder": "run", "texts": ["a film"], "file": None, "evaluate": False, "base": False,
    }  # fmt: skip
    assert [type(event) for event in heard] == [Phase, StepEvent]
    assert heard[0] == Phase(phase="train", seconds=1.0)
    assert outcome.cut_short is None


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("user", UserError), ("disk", DiskFailed), ("interrupted", Interrupted), ("fault", StageFailed)],
)
def test_what_a_stage_raised_is_raised(stage, outcome, error):
    stage(f"end('the words of it', {outcome!r}); sys.exit(3)")
    with pytest.raises(error, match="the words of it") as caught:
        run_stage(REPORT)
    assert type(caught.value) is error


def test_a_stage_that_dies_has_its_last_words_told(stage):
    stage("""
    for number in range(200):
        sys.stderr.write(f"line {number}\\n")
    sys.exit(7)
    """)
    with pytest.raises(StageFailed, match="the stage 'report' ended with status 7") as caught:
        run_stage(REPORT)
    assert caught.value.killed_by is None
    assert "line 199" in str(caught.value)
    assert "line 100\n" not in str(caught.value)


@pytest.mark.parametrize(("number", "words"), [("SIGKILL", "out of memory"), ("SIGSEGV", "was killed by SIGSEGV")])
def test_a_stage_that_is_killed_says_by_what(stage, number, words):
    stage(f"os.kill(os.getpid(), signal.{number})")
    with pytest.raises(StageFailed, match=words) as caught:
        run_stage(REPORT)
    assert caught.value.killed_by == number


def test_an_interrupt_is_passed_on_and_the_stage_ends_in_good_order(stage):
    stage("""
    def obey(number, frame):
        end({"number": number})
        sys.exit(0)
    signal.signal(signal.SIGINT, obey)
    step(1)
    while True:
        time.sleep(0.01)
    """)
    before = signal.getsignal(signal.SIGTERM)
    outcome = run_stage(FitJob(folder="run", started=0.0), lambda event: os.kill(os.getpid(), signal.SIGTERM))
    assert outcome.result == {"number": signal.SIGINT}
    assert outcome.interrupted_by == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stage_that_goes_without_a_word_when_it_is_interrupted_was_interrupted(stage):
    stage("signal.signal(signal.SIGINT, signal.SIG_DFL); step(1); time.sleep(3600)")
    with pytest.raises(Interrupted) as caught:
        run_stage(FitJob(folder="run", started=0.0), lambda event: os.kill(os.getpid(), signal.SIGTERM))
    assert caught.value.by == signal.SIGTERM


def test_from_another_thread_it_runs_without_taking_over_signals(stage):
    stage("end({})")
    found = []
    thread = threading.Thread(target=lambda: found.append(run_stage(REPORT)))
    thread.start()
    thread.join()
    assert found[0].result == {}


def test_the_lock_is_held_by_the_stage_too(stage, tmp_path):
    stage("end({'inode': os.fstat(int(open(job['folder'] + '/number').read())).st_ino})")
    with (tmp_path / "lock").open("w") as file:
        (tmp_path / "number").write_text(str(file.fileno()))
        outcome = run_stage(ReportJob(folder=tmp_path), lock=file.fileno())
        assert outcome.result["inode"] == os.fstat(file.fileno()).st_ino
        with pytest.raises(StageFailed):  # the descriptor is not there where it was not given
            run_stage(ReportJob(folder=tmp_path))


def test_a_word_more_keeps_the_cause():
    more = StageHung("the stage 'fit' stood still", "stuck").explained("nothing was learned yet")
    assert str(more) == "the stage 'fit' stood still. Nothing was learned yet"
    assert more.cause == "stuck"
