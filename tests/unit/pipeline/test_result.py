"""What a fit begins and ends with: its JSON, and the result that users read."""

import json
from dataclasses import replace

import pytest

from proxtune.config.budget import Budget
from proxtune.config.plan import plan_as_dict
from proxtune.config.recipe import Recipe
from proxtune.pipeline.result import FitResult, FitStart, Timing, result_of, text_verdict, verdict, versions
from proxtune.storage.events import StepDown
from support.stages import fit_result
from support.trainings import PLAN

DOWN = StepDown(at_step=0, seconds=9.0, before="micro-batch 8", after="micro-batch 4", why="close to the budget")
TIMING = Timing(ending_seconds=5.0, evaluations=3, max_steps=9, size_phase_seconds=1.0, validation_steps=2.0)
START = FitStart(plan=plan_as_dict(PLAN), predicted={"seconds": 9.0}, step_downs=(DOWN,), timing=TIMING)
COMPARED = {"baselines": {"majority": {"accuracy": 0.5}, "tfidf": {"accuracy": 0.7}}, "peak_bytes": 3}


def test_what_a_fit_begins_with_comes_back_under_the_keys_that_it_always_had():
    raw = json.loads(json.dumps(START.as_dict()))
    assert raw.keys() == {"plan", "predicted", "step_downs", "pace"}
    assert raw["pace"] == {
        "ending_seconds": 5.0, "evaluations": 3, "most_steps": 9, "milestone_seconds": 1.0, "judging_steps": 2.0,
            "validation_seconds": 0.0, "final_validations": 1.0, "head_seconds": 0.0,
    }  # fmt: skip
    assert raw["step_downs"] == [DOWN.as_dict()]
    again = FitStart.from_dict(raw)
    assert again == START
    assert again.chosen == PLAN


def test_what_the_features_were_saved_with_beside_it_does_not_matter():
    assert FitStart.from_dict(START.as_dict() | {"memory_bytes": {"train": 5}}) == START


def test_a_journal_of_before_there_was_a_size_has_less_timing():
    told = {"ending_seconds": 5.0, "evaluations": 3, "most_steps": 9}
    assert Timing.from_dict(told) == Timing(ending_seconds=5.0, evaluations=3, max_steps=9)


@pytest.mark.parametrize(
    "fit",
    [
        fit_result(), fit_result(best_step=7, status="interrupted"),
        fit_result(results={"confusion": [[1, 0], [0, 1]], "mistakes": []}, step_downs=(DOWN.as_dict(),)),
        fit_result(results={"answers": ["one"]}, size={"bits": 4}),
    ],
)  # fmt: skip
def test_what_a_fit_ends_with_comes_back(fit):
    raw = json.loads(json.dumps(fit.as_dict()))
    assert FitResult.from_dict(raw) == fit
    assert ("best_step" in raw) == (fit.best_step is not None)
    assert "results" not in raw, "a task's own results stand beside the others"


def test_the_result_has_what_was_promised_and_what_it_came_to():
    recipe = Recipe(data="a.csv", out="run", task="classify", model="minilm", budget=Budget(memory="1GB"), seed=3)
    fit = fit_result(
        results={"confusion": [[1]], "mistakes": [], "answers": ["kept out"]}, step_downs=(DOWN.as_dict(),)
    )
    found = result_of(recipe, fit, COMPARED, 12.345)
    assert json.loads(json.dumps(found)) == found, "as it will be read again"
    assert (found["status"], found["task"], found["method"], found["seed"]) == ("done", "classify", "full", 3)
    assert found["budget"]["memory"] == 10**9
    assert found["measured"] == {"memory_bytes": {"train": 8}, "seconds": 12.35, "flops": 1e9, "baselines_bytes": 3}
    assert (found["main_metric"], found["beats_baselines"]) == ("accuracy", True)
    assert found["confusion"] == [[1]]
    assert "answers" not in found
    assert found["evaluations"] == {}


def test_a_result_that_does_not_beat_its_baselines_says_so():
    fit = replace(fit_result(), metrics={"accuracy": 0.6, "loss": 0.5})
    found = result_of(Recipe(data="a.csv", out="run", task="classify"), fit, COMPARED, 1.0)
    assert not found["beats_baselines"]
    assert "does not beat the baselines: 60.0% against 70.0%" in found["verdict"]


def test_a_run_that_keeps_the_base_model_says_so_first():
    compared = {
        "baselines": {"untouched": {"loss": 3.0, "chrf": 11.0}, "copy_source": {"chrf": 19.0}}, "main": "chrf",
        "metrics": {"loss": 3.0, "chrf": 11.0}, "judged_answers": 64, "samples": [], "worst": [], "peak_bytes": 3,
    }  # fmt: skip
    fit = fit_result(results={"answers": [], "lost_to_base": "-2.0 ± 1.0 chrF on 64 answers"})
    found = result_of(Recipe(data="a.csv", out="run", task="translate"), fit, compared, 1.0)
    assert found["lost_to_base"] == "-2.0 ± 1.0 chrF on 64 answers"
    assert not found["beats_baselines"]
    assert found["verdict"] == (
        "What was learned is not better than the base model (-2.0 ± 1.0 chrF on 64 answers), so model/ holds the base model's "
        "weights, with chrF 11.0 on the validation rows (the base model 11.0, the source as it is 19.0). Give more memory, time "
        "or data."
    )


def test_where_text_is_generated_the_metrics_are_those_of_the_comparison():
    compared = {
        "baselines": {"untouched": {"loss": 3.0, "chrf": 11.0}, "copy_source": {"chrf": 19.0}}, "main": "chrf",
        "metrics": {"loss": 2.0, "chrf": 30.5}, "judged_answers": 64, "samples": [], "worst": [], "peak_bytes": 3,
    }  # fmt: skip
    found = result_of(Recipe(data="a.csv", out="run", task="translate"), fit_result(), compared, 1.0)
    assert (found["main_metric"], found["metrics"]["chrf"], found["judged_answers"]) == ("chrf", 30.5, 64)
    assert found["beats_baselines"]
    assert "chrF 30.5" in found["verdict"]


def test_verdicts_are_sentences_with_numbers():
    assert verdict(0.8, 0.7) == (
        "The language model is right on 80.0% of the validation rows, 10.0 points above the best baseline."
    )
    assert "Use the baseline" in verdict(0.7, 0.7)
    better = text_verdict("chrf", 30.0, {"untouched": {"chrf": 11.0}, "copy_source": {"chrf": 19.5}})
    assert "(the base model 11.0, the source as it is 19.5): 10.5 points above the best of these." in better
    assert "does not beat all of these" in text_verdict("chrf", 11.0, {"untouched": {"chrf": 11.0}})


def test_versions_name_what_a_result_depends_on():
    found = versions()
    assert {"python", "machine", "proxtune", "torch", "transformers", "numpy"} <= found.keys()
    assert all(value is None or value for value in found.values())


@pytest.mark.parametrize("is_clear", [True, False])
def test_a_lead_that_may_be_chance_is_called_so(is_clear):
    gain = {"words": "+2.0 ± 5.1 chrF on 4 answers", "is_clear": is_clear}
    words = text_verdict("chrf", 21.0, {"untouched": {"chrf": 19.0}}, None, gain)
    assert "2.0 points above the best of these" in words
    assert ("may be chance (+2.0 ± 5.1 chrF on 4 answers" in words) is not is_clear
