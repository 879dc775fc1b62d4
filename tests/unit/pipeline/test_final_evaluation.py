"""The end of a fit: the model is scored in the dtype of its weights, then written; the limit holds while it is scored."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from proxtune.compression.size_constraint import NoSizeConstraint
from proxtune.data.dataset import evenly_spaced_rows
from proxtune.export import merged_model
from proxtune.pipeline import final_evaluation
from proxtune.pipeline.final_evaluation import evaluate_and_save
from proxtune.storage.events import Notice
from support.trainings import PLAN, even_words, prepared_model


@pytest.fixture
def happened(monkeypatch):
    """What was done, in order."""
    done = []
    monkeypatch.setattr(final_evaluation, "warm_up_forward", lambda *given: done.append("warm up"))
    monkeypatch.setattr(
        final_evaluation,
        "final_outputs",
        lambda *given: done.append(f"outputs in {given[3]}") or np.zeros((len(given[1]), 2)),
    )
    monkeypatch.setattr(final_evaluation, "read_base_results", lambda folder: {"metrics": {}})
    monkeypatch.setattr(final_evaluation, "save_model", lambda *given: done.append("saved") or 123)
    return done


def session_noting(happened, long_rows, lost=None):
    def noting(words):
        return lambda *given: happened.append(words)

    def results(at_hand, outputs, base_results):
        happened.append(np.isfinite(outputs).all(axis=1).nonzero()[0].tolist())
        happened.append(f"results of {at_hand.model}, base model {base_results}")
        return {"confusion": [[outputs.shape[0]]]}

    objective = SimpleNamespace(score=lambda outputs, rows: {"accuracy": 0.75})
    return SimpleNamespace(
        task=SimpleNamespace(
            traits=SimpleNamespace(long_rows=long_rows), results=results, lost_to_base=lambda *given: lost,
            rows_of_results=lambda data, base: np.array([0, 3]),
            set_defaults=lambda model, data: happened.append(f"defaults of {model}"),
        ),
        data=SimpleNamespace(validation=replace(even_words(), objective=objective), pad_id=0, tokenizer=None), folder=None,
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
    plan = replace(PLAN, validation_rows=2)
    found = evaluate_and_save(session_noting(happened, long_rows), plan, "the model", NoSizeConstraint())
    assert (found.metrics, found.results, found.artifact_bytes) == ({"accuracy": 0.75}, {"confusion": [[24]]}, 123)
    asked = np.union1d([0, 3], evenly_spaced_rows(24, 2)).tolist()  # by the task, and by the plan
    assert happened == [
        "phase evaluate", "enter evaluate", "warm up", limit, "outputs in fp32", asked,
        "results of the model, base model {'metrics': {}}", "no limit", "phase save", "enter save",
        "defaults of the model", "saved", "leave",
    ]  # fmt: skip


def test_the_base_model_is_saved_where_it_is_better(happened, monkeypatch):
    base = {"metrics": {"accuracy": 0.9}, "answers": ["its own"]}
    monkeypatch.setattr(final_evaluation, "read_base_results", lambda folder: base)
    monkeypatch.setattr(merged_model, "loaded", lambda plan, session: "the base model")
    session = session_noting(happened, True, lost="-2.0 ± 1.0 chrF on 9 answers")
    session.emit, session.meter = happened.append, SimpleNamespace(trim=lambda: happened.append("trim"))
    learned = torch.nn.Linear(3, 2)
    found = evaluate_and_save(session, PLAN, learned, NoSizeConstraint())
    assert sum(tensor.numel() for tensor in learned.parameters()) == 0, "its memory is needed"
    assert (found.metrics, found.results["answers"]) == ({"accuracy": 0.9}, ["its own"])
    assert found.results["judged_metrics"] == {"accuracy": 0.9}
    assert found.results["lost_to_base"] == "-2.0 ± 1.0 chrF on 9 answers"
    assert [done for done in happened if isinstance(done, Notice)] == [
        Notice(words="what was learned is not better than the base model (-2.0 ± 1.0 chrF on 9 answers): model/ holds the base "
            "model's weights")
    ]  # fmt: skip
    assert happened[-4:] == ["trim", "defaults of the base model", "saved", "leave"]


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
