"""The watchdog: a stage that stands still or is far past its time is ended with all that it forked; one that works is not."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import proxtune.learn
import proxtune.run
from commands import proxtune_in_a_process
from proxtune.budget import Budget
from proxtune.clock import Clock
from proxtune.errors import Interrupted
from proxtune.metrics import Metrics
from proxtune.recipe import Recipe, write_recipe
from proxtune.result import best_step, was_trained
from proxtune.stages import StageFailed, StageHung, run_stage
from proxtune.watchdog import Activity, Patience, Watchdog, session_of

QUICK = Patience(poll_seconds=0.05, stuck_polls=40, obey_polls=10, least_grace_seconds=0.5, grace_share=0.0)
ENDLESS = Patience(poll_seconds=0.05, stuck_polls=10**9, least_grace_seconds=0.5, grace_share=0.0)
OVER = Clock(time.monotonic() - 60, 60.0)  # its time was over when it began
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="standing still is seen in /proc only")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Puts a script in the place of every stage; `say(record)` and `end(result)` are there for it."""
    prelude = f"""\
    #!{sys.executable}
    import json, os, signal, sys, time
    job = json.loads(sys.stdin.read())
    def say(record):
        print(json.dumps(record), flush=True)
    def end(result):
        say({{"kind": "end", "outcome": "done", "result": result}})
    """

    def put(body):
        script = tmp_path / "stage"
        script.write_text(textwrap.dedent(prelude) + textwrap.dedent(body))
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return put


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@needs_proc
def test_a_stage_that_sleeps_is_ended_and_its_message_says_what_it_did(stage):
    stage('say({"kind": "phase", "phase": "train"}); say({"kind": "step", "step": 12}); time.sleep(3600)')
    with pytest.raises(StageHung, match=r"'learn' stood still for \d+ s in the phase 'train' after step 12") as caught:
        run_stage("learn", {}, patience=QUICK)
    assert caught.value.cause == "stuck"


@needs_proc
def test_a_stage_that_hears_no_interrupt_is_killed(stage):
    stage("signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(3600)")
    with pytest.raises(StageHung, match="and was killed"):
        run_stage("learn", {}, patience=QUICK)


@needs_proc
def test_a_stage_that_was_stopped_before_it_read_its_job_is_killed(tmp_path, monkeypatch):
    script = tmp_path / "stage"
    script.write_text(f"#!{sys.executable}\nimport os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(StageHung, match="and was killed"):
        run_stage("apply", {"texts": ["more than a pipe holds"] * 100_000}, patience=QUICK)


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
        run_stage("learn", {}, patience=QUICK)
    assert not is_running(int((tmp_path / "child").read_text()))


@needs_proc
def test_what_a_dead_stage_left_behind_is_ended(stage):
    stage("""
    if os.fork() == 0:
        time.sleep(3600)  # and it holds the pipe
    os._exit(3)
    """)
    with pytest.raises(StageHung, match="stood still"):
        run_stage("learn", {}, patience=QUICK)


SPINS = "while True: pass"


def test_a_stage_that_spins_past_its_time_is_ended(stage):
    stage(f"signal.signal(signal.SIGINT, signal.SIG_IGN); {'say(dict(kind=1))'}\n{SPINS}")
    with pytest.raises(StageHung, match=r"still running \d+ s after the 1 min of --time, and was killed") as caught:
        run_stage("learn", {}, clock=OVER, patience=ENDLESS)
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
    result = run_stage("learn", {}, clock=OVER, patience=ENDLESS)
    assert result["status"] == "done"
    assert result["watchdog"]["cause"] == "late"
    assert "training was stopped" in result["watchdog"]["words"]


def test_before_its_time_is_over_and_without_one_nothing_ends_a_stage_that_works(stage):
    stage("began = time.process_time()\nwhile time.process_time() < began + 1: pass\nend({'status': 'done'})")
    for clock in (None, Clock(time.monotonic(), None), Clock(time.monotonic(), 3600.0)):
        assert run_stage("learn", {}, clock=clock, patience=ENDLESS) == {"status": "done"}


def test_a_stage_that_seldom_speaks_and_else_waits_is_left_alone(stage):
    stage(
        "for step in range(8):\n    time.sleep(0.5)\n    say({'kind': 'step', 'step': step})\nend({'status': 'done'})"
    )
    heard = []
    assert run_stage("learn", {}, heard.append, patience=QUICK) == {"status": "done"}
    assert len(heard) == 8


def test_a_stage_that_waits_for_a_busy_listener_is_left_alone(stage):
    stage(
        "for step in range(2000):\n    say({'kind': 'step', 'step': step, 'long': 'x' * 500})\nend({'status': 'done'})"
    )
    waits = [1.5 * QUICK.stuck_polls * QUICK.poll_seconds]

    def listen(record):
        if waits:
            time.sleep(waits.pop())

    assert run_stage("learn", {}, listen, patience=QUICK) == {"status": "done"}


def test_what_came_to_its_end_counts_though_its_process_does_not_go(stage):
    stage("end({'found': 1}); time.sleep(3600)" if Path("/proc/self/stat").exists() else "end({'found': 1})")
    assert run_stage("report", {}, patience=QUICK) == {"found": 1}


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
    dog.hear({"kind": "step", "step": 1})
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
    monkeypatch.setattr("proxtune.watchdog.time", SimpleNamespace(monotonic=lambda: now[0]))
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
    monkeypatch.setattr("proxtune.watchdog.time", SimpleNamespace(monotonic=lambda: now[0]))
    dog = watched([True] * 10, Clock(0.0, 100.0))
    now[0] += 59
    dog.poll()
    assert dog.cause is None
    now[0] += 2
    dog.poll()
    assert dog.cause == "late"


@needs_proc
def test_a_session_is_its_leader_with_all_that_it_forked(monkeypatch):
    script = "import os, time\nchild = os.fork()\nprint(os.getpid(), flush=True)\ntime.sleep(3600)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        try:
            pids = {int(leader.stdout.readline()), int(leader.stdout.readline())}
            assert set(session_of(leader.pid)) == pids
            activity = Activity(leader.pid)
            looks = [activity.has_moved() or time.sleep(0.05) for _ in range(40)]
            assert looks[0]
            assert not any(looks[-5:])
            for state, excused in (("S", False), ("T", False), ("D", True), ("R", True), ("t", True)):
                monkeypatch.setattr("proxtune.watchdog._thread_states", lambda pid, state=state: ["S", state])
                assert activity.has_moved() == excused
        finally:
            os.killpg(leader.pid, signal.SIGKILL)


@needs_proc
def test_where_the_system_does_not_count_cpu_time_everything_moves(monkeypatch):
    monkeypatch.setattr("proxtune.watchdog._tells_cpu_time", lambda: False)
    activity = Activity(os.getppid())
    assert all(activity.has_moved() for _ in range(5))


STUCK = StageHung("the stage 'learn' stood still", "stuck")
LATE = StageHung("the stage 'learn' was late", "late")


@pytest.fixture
def supervised(monkeypatch, tmp_path):
    """What the stages do, one after another; their names and jobs; and the recipe, folder and records of a run."""
    outcomes, jobs, said = [], [], []

    def run_stage(name, job, listen=None, **watched):
        jobs.append((name, job))
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)

    monkeypatch.setattr(proxtune.run, "run_stage", run_stage)
    recipe = Recipe(data="reviews.csv", out=str(tmp_path), budget=Budget(time="10min"))
    write_recipe(recipe, tmp_path / "recipe.toml")
    with Metrics(tmp_path, said.append) as metrics:
        yield SimpleNamespace(
            outcomes=outcomes, jobs=jobs, said=said, folder=tmp_path,
            learn=lambda: proxtune.run._learn_or_keep(recipe, tmp_path, 0.0, metrics, {}),
            twice=lambda name: proxtune.run._run_twice(name, recipe, tmp_path, Clock(0.0), metrics, {}),
        )  # fmt: skip


def keep_something(folder):
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "best.safetensors").write_bytes(b"weights")


def test_what_was_kept_is_finished_in_a_fresh_process(supervised):
    keep_something(supervised.folder)
    supervised.outcomes[:] = [STUCK, {"status": "interrupted", "best_step": 7, "step_downs": []}]
    learned = supervised.learn()
    assert [job.get("finish", False) for _, job in supervised.jobs] == [False, True]
    assert (learned["best_step"], learned["hung"]) == (7, STUCK)
    assert [record["words"] for record in supervised.said] == [str(STUCK)]


def test_what_hung_after_the_last_step_lacks_nothing_once_it_is_judged(supervised):
    keep_something(supervised.folder)
    supervised.outcomes[:] = [STUCK, {"status": "done", "best_step": 7, "step_downs": []}]
    learned = supervised.learn()
    assert "hung" not in learned
    assert [record["kind"] for record in supervised.said] == ["warning"]


def test_where_the_fresh_process_fails_too_both_are_said(supervised):
    keep_something(supervised.folder)
    supervised.outcomes[:] = [STUCK, StageFailed("no room")]
    with pytest.raises(StageHung, match=r"stood still.*no room.*proxtune resume"):
        supervised.learn()


@pytest.mark.parametrize(
    ("hung", "begun", "words"),
    [(STUCK, False, "proxtune resume"), (LATE, True, "proxtune resume"), (LATE, False, "more --time")],
)
def test_where_nothing_was_learned_it_says_how_to_go_on(supervised, hung, begun, words):
    if begun:
        (supervised.folder / "journal.bin").write_bytes(b"begun")
    supervised.outcomes[:] = [hung]
    with pytest.raises(StageHung, match=f"Nothing was learned yet; .*{words}") as caught:
        supervised.learn()
    can_resume = proxtune.run._can_be_gone_on_with(supervised.folder, caught.value)
    assert can_resume == (words == "proxtune resume")


def test_being_late_and_ending_in_good_order_is_a_warning(supervised):
    told = {"cause": "late", "words": "the 10 min of --time were over 151 s ago"}
    supervised.outcomes[:] = [{"status": "done", "watchdog": told, "step_downs": []}]
    assert supervised.learn() == {"status": "done", "step_downs": []}
    (record,) = supervised.said
    assert (record["kind"], record["words"], record["cause"]) == ("warning", told["words"], "late")


def test_a_stage_after_learning_is_tried_once_more(supervised):
    supervised.outcomes[:] = [STUCK, {"report": "report.html"}]
    assert supervised.twice("report") == {"report": "report.html"}
    assert "tried once more" in supervised.said[0]["words"]


@pytest.mark.parametrize(("name", "missing"), [("report", "the report is missing"), ("baselines", "the baselines and")])
def test_after_the_second_time_it_says_what_is_missing(supervised, name, missing):
    supervised.outcomes[:] = [STUCK, STUCK]
    with pytest.raises(StageHung, match=f"{missing}.*proxtune resume"):
        supervised.twice(name)


@pytest.mark.parametrize(("left", "status"), [(30.0, "interrupted"), (-30.0, "done")])
def test_a_training_that_is_stopped_after_its_time_is_done(monkeypatch, tmp_path, left, status):
    def train(plan, training):
        yield {"kind": "step", "step": 3, "examples_seen": 24}
        raise Interrupted("stopped")

    keeper = SimpleNamespace(goes_on=False, commit=lambda: True, close=lambda: None)
    for name, fake in {
        "train": train, "keeper_of": lambda *given: keeper, "Training": lambda *given: None,
        "has_weights": lambda *given: True, "_Stop": lambda: SimpleNamespace(asked=None),
    }.items():  # fmt: skip
        monkeypatch.setattr(proxtune.learn, name, fake)
    nothing = SimpleNamespace(train=None, held=None, pad_id=0, split=SimpleNamespace(train=None))
    session = SimpleNamespace(
        announce=print, task=nothing, folder=tmp_path, phases=SimpleNamespace(enter=print), recipe=SimpleNamespace(seed=0),
        governor=SimpleNamespace(release=lambda: None, step_downs=[]), clock=SimpleNamespace(left=left), emit=print,
    )  # fmt: skip
    plan = SimpleNamespace(steps=6, batch=8, cost=SimpleNamespace(flops=100.0))
    settled = {"pace": {"ending_seconds": 0, "evaluations": 1, "most_steps": 6}}
    progress = proxtune.learn._train(session, plan, settled, None, None, False)
    assert (progress["status"], progress["steps"], progress["flops"]) == (status, 3, 50.0)


def test_the_step_of_the_best_point_is_the_last_that_was_judged_best():
    def step(number):
        return {"kind": "step", "step": number, "steps": 9}

    def judged(number, best):
        return {"kind": "validation", "step": number, "best": best}

    assert best_step([]) == 0
    assert best_step([step(1), step(2)]) == 2
    assert best_step([step(3), judged(3, True), step(6), judged(6, False), step(7)]) == 3
    assert best_step([judged(3, True), judged(6, True), step(7)]) == 6


@pytest.mark.parametrize(
    ("step", "phases", "trained"),
    [(9, ["train", "evaluate"], True), (9, ["train", "evaluate", "save"], True), (9, ["train"], False),
     (8, ["train", "evaluate"], False), (9, ["evaluate", "train"], False), (9, [], False)],
)  # fmt: skip
def test_a_training_is_over_when_its_last_step_was_made_and_the_judgement_of_all_began(step, phases, trained):
    records = [{"kind": "step", "step": step, "steps": 9}, *({"kind": "phase", "phase": phase} for phase in phases)]
    assert was_trained(records) == trained
    assert not was_trained([{"kind": "phase", "phase": "evaluate"}])


# A run as it is typed, but that a stage may stand still for eight seconds and not for a minute.
DRIVER = """
from functools import partial
import proxtune.run
from proxtune.watchdog import Patience
patience = Patience(poll_seconds=0.1, stuck_polls=80, obey_polls=5)
proxtune.run.run_stage = partial(proxtune.run.run_stage, patience=patience)
from proxtune.cli import main
main()
"""


def stop_once_kept(folder, process, name):
    """SIGSTOP to the stage of the run in `folder` once it has kept what `name` matches."""
    until = time.monotonic() + 200
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
    [(("--method", "nno", "--epochs", "6"), "best.safetensors"),  # judged before its first step
     (("--method", "full", "--epochs", "16"), "step-*.safetensors")],  # judged when it is over: a snapshot is what there is
)  # fmt: skip
def test_a_training_that_stands_still_leaves_the_best_model_judged_and_goes_on(
    tmp_path, tiny_model, tiny_reviews, words, kept
):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", DRIVER, "train", str(tiny_reviews), "--model", str(tiny_model), "--json"]
    command += ["--out", str(folder), "--dtype", "fp32", "--micro-batch", "8", "--batch", "8", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    stage = stop_once_kept(folder, process, kept)
    out, said = process.communicate()
    assert process.returncode == 1, said
    assert not is_running(stage)
    told = json.loads(out.splitlines()[-1])
    assert told["status"] == "failed"
    assert "the stage 'learn' stood still" in told["message"]
    assert f"was judged and is in {folder / 'model'}; to go on: proxtune resume {folder}" in told["message"]
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
