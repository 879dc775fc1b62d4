"""The table of plans: every candidate's fate once, as plain values for JSON."""

import json
from dataclasses import asdict

from proxtune.config.plan import plan_as_dict
from proxtune.planning.plan_table import plan_table, promised, refusal
from support.profiles import MB, plan_for


def test_the_chosen_plan_comes_first_and_every_candidate_once():
    choice = plan_for(900 * MB, 300)
    found = json.loads(json.dumps(plan_table(choice).as_dict()))
    assert found["chosen"] == plan_as_dict(choice.plan)
    statuses = [row["status"] for row in found["table"]]
    assert statuses == ["chosen"] + ["fits"] * (len(choice.fitting) - 1) + ["refused"] * len(choice.refused)
    assert found["table"][0]["plan"] == found["chosen"]
    assert all(row["reason"] for row in found["table"])


def test_a_refusal_names_the_nearest_plan_and_the_shortfall():
    choice = plan_for(10 * MB)
    found = json.loads(json.dumps(refusal(choice).as_dict()))
    assert found["status"] == "infeasible"
    assert found["nearest"] == plan_as_dict(choice.infeasible.nearest)
    assert found["shortfall_bytes"] == choice.infeasible.shortfall_bytes > 0
    assert found["message"] == choice.infeasible.message
    assert len(found["table"]) == len(choice.refused)


def test_what_is_promised_is_the_predicted_cost():
    plan = plan_for().plan
    assert promised(plan) == asdict(plan.cost)
    assert list(promised(plan)) == ["memory_bytes", "seconds", "flops", "terms"]
