"""The supervisor: a stage that was killed for want of memory is begun again with less, and one that failed is not."""

import pytest

import proxtune.run
from proxtune.budget import Budget
from proxtune.errors import PersonError
from proxtune.learn import refusals_told
from proxtune.metrics import Metrics
from proxtune.recipe import Recipe, read_recipe, write_recipe
from proxtune.stages import StageFailed

LEARNED = {"status": "done", "step_downs": [{"kind": "step_down", "why": "close to the budget"}]}


@pytest.fixture
def stages(monkeypatch):
    """What the stage `learn` does at each try, and the memory budget that each try saw."""
    outcomes, budgets = [], []

    def run_stage(name, job, listen=None, **watched):
        budgets.append(read_recipe(proxtune.run.Path(job["folder"]) / "recipe.toml").budget.memory)
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)

    monkeypatch.setattr(proxtune.run, "run_stage", run_stage)
    return outcomes, budgets


def learn(folder, memory="1GB"):
    recipe = Recipe(data="reviews.csv", out=str(folder), budget=Budget(memory=memory))
    write_recipe(recipe, folder / "recipe.toml")
    said = []
    with Metrics(folder, said.append) as metrics:
        return proxtune.run._learn(recipe, folder, 0.0, metrics, {}), said


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "SIGBUS"])
def test_a_killed_stage_begins_again_with_nine_tenths_of_the_memory(stages, tmp_path, how):
    stages[0][:] = [StageFailed(f"the stage 'learn' was killed by {how}", how), LEARNED]
    learned, said = learn(tmp_path)
    assert stages[1] == [10**9, 9 * 10**8]
    first, second = learned["step_downs"]
    assert (first["from"], first["to"]) == ("1000000000 bytes", "900000000 bytes")
    assert how in first["why"]
    assert second["why"] == "close to the budget"
    assert first in said


def test_what_a_killed_try_learned_is_gone_before_the_next(stages, tmp_path):
    (tmp_path / "snapshots").mkdir()
    for name in ("journal.bin", "snapshots/best.safetensors"):
        (tmp_path / name).write_bytes(b"of the first try")
    stages[0][:] = [StageFailed("killed", "SIGKILL"), LEARNED]
    learn(tmp_path)
    assert not list(tmp_path.glob("journal.bin")) + list(tmp_path.glob("snapshots/*"))


def test_after_three_tries_the_failure_is_told(stages, tmp_path):
    stages[0][:] = [StageFailed("killed", "SIGKILL")] * 3
    with pytest.raises(StageFailed):
        learn(tmp_path)
    assert stages[1] == [10**9, 9 * 10**8, 81 * 10**7]


@pytest.mark.parametrize(
    ("failure", "memory"), [(StageFailed("a fault of ours"), "1GB"), (StageFailed("killed", "SIGSEGV"), None)]
)
def test_a_fault_is_not_tried_again(stages, tmp_path, failure, memory):
    stages[0][:] = [failure, LEARNED]
    with pytest.raises(StageFailed):
        learn(tmp_path, memory)
    assert len(stages[1]) == 1


@pytest.mark.parametrize("error", [MemoryError("one row does not fit"), RuntimeError("could not create a primitive")])
def test_where_no_smaller_bite_is_left_the_person_is_told_what_would_do(error):
    with pytest.raises(PersonError, match="give a little more --memory"), refusals_told():
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), refusals_told():
        raise RuntimeError("shapes do not agree")
