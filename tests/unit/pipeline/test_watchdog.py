"""The watchdog: a stage that stands still or is far past its time is ended with all that it forked; one that works is not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxtune.pipeline.jobs import FitJob, PredictJob, ReportJob
from proxtune.pipeline.process import StageHung, run_stage
from proxtune.pipeline.watchdog import Activity, Patience, Watchdog, session_of
from proxtune.runtime.clock import Clock
from proxtune.storage.events import Continued, Phase, StepEvent
from support.commands import ENVIRONMENT, proxtune_in_a_process
from support.stages import scripts_as_stages

FIT = FitJob(folder=Path("run"), started=0.0)
STEP = StepEvent(step=12, steps=20, seconds=1.0, loss=0.5, learning_rate=1e-3, memory_bytes=1, examples_seen=96)
QUICK = Patience(poll_seconds=0.05, stuck_polls=40, obey_polls=10, least_grace_seconds=0.5, grace_share=0.0)
ENDLESS = Patience(poll_seconds=0.05, stuck_polls=10**9, least_grace_seconds=0.5, grace_share=0.0)
OVER = Clock(time.monotonic() - 60, 60.0)  # its time was over when it began
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="standing still is seen in /proc only")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return scripts_as_stages(tmp_path, monkeypatch)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def has_gone(pid):
    """Whether a process that was killed ends; a busy machine may take a while to let it. None would without being killed."""
    until = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_running(pid)


@needs_proc
def test_a_stage_that_sleeps_is_ended_and_its_message_says_what_it_did(stage):
    stage('say({"kind": "phase", "phase": "train", "seconds": 1.0}); step(12); time.sleep(3600)')
    with pytest.raises(StageHung, match=r"'fit' stood still for \d+ s in the phase 'train' after step 12") as caught:
        run_stage(FIT, patience=QUICK)
    assert caught.value.cause == "stuck"


@needs_proc
def test_a_stage_that_hears_no_interrupt_is_killed(stage):
    stage("signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(3600)")
    with pytest.raises(StageHung, match="and was killed"):
        run_stage(FIT, patience=QUICK)


@needs_proc
def test_a_stage_that_was_stopped_before_it_read_its_job_is_killed(tmp_path, monkeypatch):
    script = tmp_path / "stage"
    script.write_text(f"#!{sys.executable}\nimport os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(StageHung, match="and was killed"):
        run_stage(PredictJob(folder=Path("run"), texts=("more than a pipe holds",) * 100_000), patience=QUICK)


@needs_proc
@pytest.mark.parametrize(
    "child",
    ["os.kill(os.getpid(), signal.SIGSTOP)", "os.setpgid(0, 0); os.close(1); os.close(2); time.sleep(120)"],
    ids=["that is stopped", "that sleeps in a group of its own"],
)
def test_a_stage_that_waits_for_a_child_is_ended_with_it(stage, tmp_path, child):
    stage(f"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        {child}
    open({str(tmp_path / "child")!r}, "w").write(str(pid))
    os.waitpid(pid, 0)
    """)
    with pytest.raises(StageHung, match="stood still"):
        run_stage(FIT, patience=QUICK)
    assert has_gone(int((tmp_path / "child").read_text()))


@needs_proc
def test_what_a_dead_stage_left_behind_is_ended(stage):
    stage("""
    if os.fork() == 0:
        time.sleep(3600)  # and it holds the pipe
    os._exit(3)
    """)
    with pytest.raises(StageHung, match="stood still"):
        run_stage(FIT, patience=QUICK)


SPINS = "while True: pass"


def test_a_stage_that_spins_past_its_time_is_ended(stage):
    stage(f"signal.signal(signal.SIGINT, signal.SIG_IGN); step(1)\n{SPINS}")
    with pytest.raises(
        StageHung, match=r"still running after step 1 \d+ s after the 1 min of --time, and was killed"
    ) as caught:
        run_stage(FIT, clock=OVER, patience=ENDLESS)
    assert caught.value.cause == "late"


def test_a_stage_that_is_late_and_obeys_has_a_result_that_says_so(stage):
    stage("""
    def obey(number, frame):
        end({"status": "done"})
        sys.exit(0)
    signal.signal(signal.SIGINT, obey)
    while True:
        time.sleep(0.01)
    """)
    outcome = run_stage(FIT, clock=OVER, patience=ENDLESS)
    assert outcome.result == {"status": "done"}
    assert outcome.cut_short.cause == "late"
    assert "training was stopped" in str(outcome.cut_short)


def test_before_its_time_is_over_and_without_one_nothing_ends_a_stage_that_works(stage):
    stage("began = time.process_time()\nwhile time.process_time() < began + 1: pass\nend({'status': 'done'})")
    for clock in (None, Clock(time.monotonic(), None), Clock(time.monotonic(), 3600.0)):
        outcome = run_stage(FIT, clock=clock, patience=ENDLESS)
        assert (outcome.result, outcome.cut_short) == ({"status": "done"}, None)


def test_a_stage_that_seldom_speaks_and_else_waits_is_left_alone(stage):
    stage("for number in range(8):\n    time.sleep(0.5)\n    step(number)\nend({'status': 'done'})")
    heard = []
    assert run_stage(FIT, heard.append, patience=QUICK).result == {"status": "done"}
    assert len(heard) == 8


def test_a_stage_that_waits_for_a_busy_listener_is_left_alone(stage):
    stage("for number in range(2000):\n    say({'kind': 'piece', 'text': 'x' * 500})\nend({'status': 'done'})")
    waits = [1.5 * QUICK.stuck_polls * QUICK.poll_seconds]

    def listen(event):
        if waits:
            time.sleep(waits.pop())

    assert run_stage(FIT, listen, patience=QUICK).result == {"status": "done"}


def test_what_came_to_its_end_counts_though_its_process_does_not_go(stage):
    stage("end({'found': 1}); time.sleep(3600)" if Path("/proc/self/stat").exists() else "end({'found': 1})")
    assert run_stage(ReportJob(folder=Path("run")), patience=QUICK).result == {"found": 1}


class Recorder:
    """A stage that counts what is sent to it."""

    def __init__(self):
        self.pid, self.sent = 2**22 + 1, []  # no such process

    def send_signal(self, number):
        self.sent.append(number)


def watched(moves, clock=None, patience=None):
    """A watchdog of a `Recorder` that is polled by hand; `moves` says of each look whether anything moved."""
    dog = Watchdog(clock, patience)
    dog._stage, dog._activity = Recorder(), SimpleNamespace(has_moved=lambda: moves.pop(0) if moves else False)
    return dog


def test_it_is_asked_after_sixty_still_looks_in_a_row_and_killed_soon_after():
    dog = watched([False] * 59 + [True])
    for _ in range(60):
        dog.poll()
    for _ in range(59):
        dog.poll()
    dog.on_event(STEP)
    dog.poll()
    for _ in range(59):
        dog.poll()
    assert dog.cause is None
    dog.poll()
    assert (dog.cause, dog.killed, dog._stage.sent) == ("stuck", False, [signal.SIGINT])
    for _ in range(4):
        dog.poll()
    assert not dog.killed
    dog.poll()
    assert dog.killed


def test_its_message_names_the_phase_and_the_step_that_it_heard_of_last():
    dog = watched([])
    assert "stood still" not in dog.words("fit")
    dog.cause = "stuck"
    dog.on_event(Phase(phase="train", seconds=1.0))
    dog.on_event(STEP)
    assert "in the phase 'train' after step 12" in dog.words("fit")
    dog.on_event(Continued(step=5, snapshot=None))
    assert "after step 5" in dog.words("fit")
    dog.on_event(Phase(phase="evaluate", seconds=2.0))
    assert "in the phase 'evaluate' (" in dog.words("fit")


def test_while_the_supervisor_is_busy_nothing_counts():
    dog = watched([])
    dog.set_busy(True)
    for _ in range(1000):
        dog.poll()
    dog.set_busy(False)
    for _ in range(60):
        dog.poll()
    assert dog.cause is None
    dog.poll()
    assert dog.cause == "stuck"


@pytest.mark.parametrize(("limit", "grace"), [(10.0, 60), (240.0, 60), (3600.0, 900)])
def test_the_grace_is_a_minute_or_a_quarter_and_as_long_again_before_it_is_killed(monkeypatch, limit, grace):
    now = [1000.0]
    monkeypatch.setattr("proxtune.pipeline.watchdog.time", SimpleNamespace(monotonic=lambda: now[0]))
    dog = watched([True] * 10_000, Clock(1000.0, limit))
    now[0] += limit + grace - 0.5
    dog.poll()
    assert dog.cause is None
    now[0] += 1
    dog.poll()
    assert (dog.cause, dog._stage.sent) == ("late", [signal.SIGINT])
    for _ in range(grace - 1):
        dog.poll()
    assert not dog.killed
    dog.poll()
    assert dog.killed


def test_what_begins_after_the_time_is_over_has_the_grace_from_there(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("proxtune.pipeline.watchdog.time", SimpleNamespace(monotonic=lambda: now[0]))
    dog = watched([True] * 10, Clock(0.0, 100.0))
    now[0] += 59
    dog.poll()
    assert dog.cause is None
    now[0] += 2
    dog.poll()
    assert dog.cause == "late"


@needs_proc
def test_a_session_is_its_leader_with_all_that_it_forked(monkeypatch):
    script = "import os, time\nchild = os.fork()\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(3600)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        try:
            pids = {int(leader.stdout.readline()), int(leader.stdout.readline())}
            assert set(session_of(leader.pid)) == pids
            activity = Activity(leader.pid)
            assert activity.has_moved()
            still = 0
            while still < 5:  # a loaded machine may take long to let them fall asleep
                still = 0 if activity.has_moved() else still + 1
                time.sleep(0.05)
            for state, excused in (("S", False), ("T", False), ("D", True), ("R", True), ("t", True)):
                monkeypatch.setattr("proxtune.pipeline.watchdog._thread_states", lambda pid, state=state: ["S", state])
                assert activity.has_moved() == excused
        finally:
            os.killpg(leader.pid, signal.SIGKILL)


@needs_proc
def test_where_the_system_does_not_count_cpu_time_everything_moves(monkeypatch):
    monkeypatch.setattr("proxtune.pipeline.watchdog._tells_cpu_time", lambda: False)
    activity = Activity(os.getppid())
    assert all(activity.has_moved() for _ in range(5))


# A run as it is typed, but that a stage may stand still for eight seconds and not for a minute.
DRIVER = """
from functools import partial
import proxtune.pipeline.supervisor, proxtune.pipeline.sitting
from proxtune.pipeline.watchdog import Patience
patience = Patience(poll_seconds=0.1, stuck_polls=80, obey_polls=5)
run_stage = partial(proxtune.pipeline.process.run_stage, patience=patience)
proxtune.pipeline.supervisor.run_stage = proxtune.pipeline.sitting.run_stage = run_stage
from proxtune.cli import main
main()
"""


def stop_once_kept(folder, process, name):
    """SIGSTOP to the stage of the run in `folder` once it has kept what `name` matches."""
    until = time.monotonic() + 600
    while not list(folder.glob(f"snapshots/{name}")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    (stage,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(stage), signal.SIGSTOP)
    return int(stage)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("words", "kept"),
    [(("--method", "nno", "--epochs", "6"), "best.safetensors"),  # evaluated before its first step
     # evaluated when it is over: a snapshot is what there is
     (("--method", "full", "--epochs", "16"), "step-*.safetensors")],
)  # fmt: skip
def test_a_training_that_stands_still_leaves_the_best_model_evaluated_and_is_resumed(
    tmp_path, tiny_model, tiny_reviews, words, kept
):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", DRIVER, "train", str(tiny_reviews), "--model", str(tiny_model), "--json"]
    command += ["--out", str(folder), "--dtype", "fp32", "--micro-batch", "8", "--batch", "8", *words]
    environment = os.environ | ENVIRONMENT
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    stage = stop_once_kept(folder, process, kept)
    out, said = process.communicate()
    assert process.returncode == 1, said
    assert has_gone(stage)
    told = json.loads(out.splitlines()[-1])
    assert told["status"] == "failed"
    assert "the stage 'fit' stood still" in told["message"]
    assert f"was evaluated and is in {folder / 'model'}; to resume: proxtune resume {folder}" in told["message"]
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert result["hung"] in told["message"]
    assert result["metrics"]["accuracy"] > 0
    assert "stood still" in (folder / "report.html").read_text()
    assert (folder / "model" / "model.safetensors").is_file()
    if kept != "best.safetensors":  # what follows is the same
        return

    done = proxtune_in_a_process("resume", str(folder), "--exact", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["steps"]) == ("done", result["plan"]["steps"])
    assert [each["after"] for each in result["interruptions"]] == ["the watchdog"]
