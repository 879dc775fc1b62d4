"""Racing: contenders train in separate processes, the winner's steps are kept, and a contender that fails is out."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from proxtune.checkpoint.snapshot import snapshots
from proxtune.config.budget import Budget
from proxtune.config.recipe import Recipe
from proxtune.errors import UserError
from proxtune.memory.fork import ChildKilled
from proxtune.planning import race as module
from proxtune.planning.planner import Selection
from proxtune.planning.race import race, remove_race
from proxtune.storage.events import LapDone, Phase
from support.stages import session_of
from support.trainings import PLAN

FIRST, SECOND = replace(PLAN, method="layers", last_layers=1), replace(PLAN, method="lora", rank=4)


@pytest.fixture
def racing(monkeypatch, tmp_path):
    """`race` between two plans whose laps a test gives; `tried` are the plans that a dry run was made of."""
    own = SimpleNamespace(laps={}, tried=[], told=[], plans=[FIRST, SECOND])

    def in_child(session, work):
        found = own.laps[work.args[0].method]
        if isinstance(found, Exception):
            raise found
        (work.args[2].folder / "snapshots").mkdir()
        (work.args[2].folder / "snapshots" / "step-00000007.safetensors").write_text(work.args[0].method)
        return {"steps": 7, "losses": found, "peak_bytes": 5, "refused": ""}

    def select(choice, profile, session):
        own.tried.append(choice.fitting[0])
        return choice

    monkeypatch.setattr(module, "in_child_process", in_child)
    monkeypatch.setattr(module, "select_plan", select)
    monkeypatch.setattr(module, "contenders", lambda *given: (own.plans, 1.0))
    session = SimpleNamespace(
        folder=tmp_path, recipe=SimpleNamespace(budget=Budget(time="9min"), method="auto"), emit=own.told.append,
        emit_phase=lambda phase: own.told.append(Phase(phase=phase, seconds=0.0)), clock=SimpleNamespace(left=500.0),
        phases=SimpleNamespace(memory_bytes={}),
    )  # fmt: skip
    monkeypatch.setattr(module, "replace", lambda value, **more: SimpleNamespace(**{**vars(value), **more})
                        if isinstance(value, SimpleNamespace) else replace(value, **more))  # fmt: skip

    def run():
        choice = Selection(plan=FIRST, infeasible=None, fitting=[FIRST, SECOND], refused=[])
        return race(choice, None, session)

    own.run, own.session = run, session
    return own


def kept(folder):
    return [path.read_text() for path in snapshots(folder)]


def test_the_winner_goes_through_a_dry_run_and_its_steps_are_kept(racing):
    racing.laps = {"layers": [(0, 3.0), (1, 2.9)], "lora": [(0, 3.0), (1, 2.0)]}
    found = racing.run()
    assert (found.plan, racing.tried) == (SECOND, [SECOND])
    assert found.fitting == [SECOND, FIRST]
    assert kept(racing.session.folder) == ["lora"]
    assert not (racing.session.folder / "race").exists()
    assert [lap.plan for lap in found.laps] == [FIRST, SECOND]
    assert racing.told == [
        Phase(phase="race", seconds=0.0),
        LapDone(plan=FIRST.name, steps=7, seconds=(0.0, 1.0), losses=(3.0, 2.9), refused=""),
        LapDone(plan=SECOND.name, steps=7, seconds=(0.0, 1.0), losses=(3.0, 2.0), refused=""),
    ]
    assert racing.session.phases.memory_bytes == {"race": 5}


def test_the_plan_that_has_passed_its_dry_run_needs_no_other(racing):
    racing.laps = {"layers": [(0, 3.0), (1, 2.0)], "lora": [(0, 3.0), (1, 2.9)]}
    assert racing.run().plan == FIRST
    assert racing.tried == []
    assert kept(racing.session.folder) == ["layers"]


@pytest.mark.parametrize("error", [
    ChildKilled("killed by SIGKILL"), UserError("losses stay not finite"),
    RuntimeError("the forked child failed: Traceback …\n  File …\nKeyError: 'lost'\n"),
])  # fmt: skip
def test_a_contender_that_fails_is_out(racing, error):
    racing.laps = {"layers": error, "lora": [(0, 3.0), (1, 2.9)]}
    found = racing.run()
    assert found.plan == SECOND
    assert found.laps[0].refused == str(error).splitlines()[-1]


def test_a_lap_is_told_what_those_before_it_came_to(racing, monkeypatch):
    paces, third = [], replace(PLAN, method="full")
    racing.plans = [FIRST, SECOND, third]
    racing.laps = {"layers": UserError("out"), "lora": [(0, 3.0), (1, 2.5), (2, 2.4)], "full": [(0, 3.0), (1, 2.6)]}
    in_child = module.in_child_process

    def watched(session, work):
        paces.append(work.args[1])
        return in_child(session, work)

    monkeypatch.setattr(module, "in_child_process", watched)
    assert racing.run().plan == SECOND
    assert [pace.first_loss for pace in paces] == [None, None, 3.0]
    assert [pace.half_way_loss for pace in paces] == [math.inf, math.inf, pytest.approx(2.51)]


def test_where_all_are_out_the_plan_stands_and_begins_anew(racing):
    racing.laps = {"layers": ChildKilled("killed"), "lora": ChildKilled("killed")}
    assert racing.run().plan == FIRST
    assert kept(racing.session.folder) == []


def test_steps_of_another_micro_batch_are_not_kept(racing, monkeypatch):
    racing.laps = {"layers": [(0, 3.0), (1, 2.9)], "lora": [(0, 3.0), (1, 2.0)]}
    smaller = replace(SECOND, micro_batch=1)
    monkeypatch.setattr(module, "select_plan", lambda choice, *given: replace(choice, plan=smaller))
    assert racing.run().plan == smaller
    assert kept(racing.session.folder) == []


@pytest.mark.parametrize("other", [None, replace(PLAN, method="full")])
def test_a_winner_that_fails_its_dry_run_leaves_the_plan_that_has_passed_one(racing, monkeypatch, other):
    racing.laps = {"layers": [(0, 3.0), (1, 2.9)], "lora": [(0, 3.0), (1, 2.0)]}
    monkeypatch.setattr(module, "select_plan", lambda choice, *given: replace(choice, plan=other))
    assert racing.run().plan == FIRST
    assert kept(racing.session.folder) == ["layers"]


def test_without_a_race_nothing_is_said(racing):
    racing.plans = []
    assert racing.run().plan == FIRST
    assert racing.told == []


def test_what_a_race_left_that_was_cut_off_is_removed(tmp_path):
    for folder in (tmp_path, tmp_path / "race" / "0"):
        (folder / "snapshots").mkdir(parents=True)
        (folder / "snapshots" / "step-00000007.safetensors").write_text("")
    remove_race(tmp_path)
    assert kept(tmp_path) == []
    assert not (tmp_path / "race").exists()


def pace_of(seconds, first_loss=None, half_way_loss=math.inf):
    return module._Pace(seconds=seconds, first_loss=first_loss, half_way_loss=half_way_loss)


@pytest.mark.parametrize("last_step", [3, 500])
def test_a_real_lap_leaves_a_snapshot_of_its_last_step_and_its_losses(tmp_path, tiny_t5, tiny_pairs, last_step):
    recipe = Recipe(data=str(tiny_pairs), out=str(tmp_path / "run"), model=str(tiny_t5), task="translate")
    session = session_of(recipe)
    plan = replace(PLAN, max_length=session.data.max_length, steps=last_step, learning_rate=1e-2)
    found = module._lap(plan, pace_of(1.0 if last_step > 3 else 60.0), session)
    assert found["refused"] == ""
    seconds, losses = zip(*found["losses"], strict=True)
    assert seconds[0] == 0.0
    assert list(seconds) == sorted(seconds)
    assert losses[-1] < losses[0], "it learned"
    assert found["steps"] >= 2
    if last_step > 3:  # its time was over
        assert len(losses) == 3
        assert [path.name for path in snapshots(session.folder)] == [f"step-{found['steps']:08d}.safetensors"]
    again = module._lap(plan, pace_of(0.0, losses[0]), replace(session, folder=tmp_path))
    assert again["losses"][0] == (0.0, losses[0])
    behind = module._lap(plan, pace_of(1.0, losses[0], 0.0), replace(session, folder=tmp_path))
    assert len(behind["losses"]) == 2, "half-way it was behind"
    assert behind["losses"][1][0] < 1.0


def test_a_lap_for_which_there_is_no_memory_says_so(tmp_path, monkeypatch):
    def refuse(*given):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(module, "prepared", refuse)
    released = []
    governor = SimpleNamespace(release=lambda: released.append(True))
    session = SimpleNamespace(data=None, phases=SimpleNamespace(enter=lambda phase: None), governor=governor)
    assert "can't allocate memory" in module._lap(PLAN, pace_of(1.0), session)["refused"]
    assert released
