"""The end of a fit: the model is scored in the dtype of its weights, then written; the limit holds while it is scored."""

from types import SimpleNamespace

import numpy as np
import pytest

from proxtune.compression.size_constraint import NoSizeConstraint
from proxtune.pipeline import final_evaluation
from proxtune.pipeline.final_evaluation import evaluate_and_save
from support.trainings import PLAN, prepared_model


@pytest.fixture
def happened(monkeypatch):
    """What was done, in order."""
    done = []
    monkeypatch.setattr(final_evaluation, "warm_up_forward", lambda *given: done.append("warm up"))
    monkeypatch.setattr(
        final_evaluation, "final_outputs", lambda *given: done.append(f"outputs in {given[3]}") or np.zeros((4, 2))
    )
    monkeypatch.setattr(final_evaluation, "read_base_results", lambda folder: {"metrics": {}})
    monkeypatch.setattr(final_evaluation, "save_model", lambda *given: done.append("saved") or 123)
    return done


def session_noting(happened, long_rows):
    def noting(words):
        return lambda *given: happened.append(words)

    def results(at_hand, outputs, base_results):
        happened.append(f"results of {at_hand.model}, base model {base_results}")
        return {"confusion": [[outputs.shape[0]]]}

    objective = SimpleNamespace(score=lambda outputs, rows: {"accuracy": 0.75})
    return SimpleNamespace(
        task=SimpleNamespace(traits=SimpleNamespace(long_rows=long_rows), results=results),
        data=SimpleNamespace(validation=SimpleNamespace(objective=objective), pad_id=0, tokenizer=None), folder=None,
        governor=SimpleNamespace(
            hold=noting("limit"), hold_if_roomy=noting("limit if roomy"), release=noting("no limit")
        ),
        phases=SimpleNamespace(
            enter=lambda phase: happened.append(f"enter {phase}"), leave=noting("leave")
        ),
        emit_phase=lambda phase: happened.append(f"phase {phase}"),
    )  # fmt: skip


@pytest.mark.parametrize(("long_rows", "limit"), [(False, "limit"), (True, "limit if roomy")])
def test_all_is_done_in_its_order(happened, long_rows, limit):
    found = evaluate_and_save(session_noting(happened, long_rows), PLAN, "the model", NoSizeConstraint())
    assert (found.metrics, found.results, found.artifact_bytes) == ({"accuracy": 0.75}, {"confusion": [[4]]}, 123)
    assert happened == [
        "phase evaluate", "enter evaluate", "warm up", limit, "outputs in fp32",
        "results of the model, base model {'metrics': {}}", "no limit", "phase save", "enter save", "saved", "leave",
    ]  # fmt: skip


def test_a_real_model_is_scored_and_written(tmp_path, tiny_model, tiny_reviews):
    from proxtune.config.recipe import Recipe
    from support.stages import session_of

    recipe = Recipe(data=str(tiny_reviews), out=str(tmp_path / "run"), model=str(tiny_model), task="classify")
    phases = []
    session = session_of(recipe, lambda event: phases.append(event.phase))
    found = evaluate_and_save(session, PLAN, prepared_model(tiny_model, PLAN), NoSizeConstraint())
    assert found.metrics.keys() >= {"accuracy", "loss"}
    assert sum(map(sum, found.results["confusion"])) == len(session.data.validation)
    assert (session.folder / "model" / "model.safetensors").stat().st_size == found.artifact_bytes
    assert phases == ["evaluate", "save"]
    assert session.phases.memory_bytes.keys() == {"evaluate", "save"}
