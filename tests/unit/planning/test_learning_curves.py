"""The race: who takes part, what a learning curve lets expect, and who wins."""

import math
from dataclasses import replace

import pytest

from proxtune.config.budget import Budget
from proxtune.config.plan import Cost
from proxtune.config.recipe import Knobs
from proxtune.planning.learning_curves import (
    Lap,
    can_continue,
    contenders,
    first_loss,
    lap_words,
    loss_to_beat_half_way,
    winner,
)
from proxtune.planning.planner import choose
from support.profiles import GENERATING, PLAN, PROFILE

LONG = Budget(memory="4GB", time="60min")


def lap(*losses, plan=PLAN, refused=""):
    return Lap(plan=plan, steps=9, losses=tuple((10.0 * at, loss) for at, loss in enumerate(losses)), refused=refused)


def fitting(budget=LONG, profile=GENERATING):
    return choose(profile, budget, Knobs()).fitting


def test_the_best_of_each_method_that_learns_by_gradients_races_the_best_first():
    plans = fitting()
    field, seconds = contenders(plans, GENERATING, LONG, "auto")
    assert field[0] == plans[0]
    assert sorted(plan.method for plan in field) == ["full", "layers", "lora"]
    for plan in field:
        assert plan == next(each for each in plans if each.method == plan.method)
    assert seconds * len(field) == pytest.approx(0.08 * 3600)


@pytest.mark.parametrize(
    ("budget", "profile", "method"),
    [
        (Budget(memory="4GB"), GENERATING, "auto"),  # no end to share out
        (LONG, GENERATING, "lora"),  # the user has chosen
        (LONG, PROFILE, "auto"),  # a new head
        (Budget(memory="4GB", time="1s"), GENERATING, "auto"),  # not even a few steps
    ],
)
def test_where_a_race_does_not_pay_there_is_none(budget, profile, method):
    assert contenders(fitting(LONG, profile), profile, budget, method) == ([], 0.0)


def test_where_time_is_short_fewer_race():
    plans = fitting()
    fields = [len(contenders(plans, GENERATING, Budget(time=f"{time}s"), "auto")[0]) for time in range(1, 400)]
    assert set(fields) == {0, 2, 3}
    assert fields == sorted(fields)


def test_nobody_races_where_nothing_fits():
    assert contenders([], GENERATING, LONG, "auto") == ([], 0.0)


def test_what_a_lap_must_come_to_half_way_is_little_above_the_best_so_far():
    laps = [lap(refused="no memory"), lap(3.0, 2.6, 2.5), lap(3.0, 2.8)]
    assert loss_to_beat_half_way(laps) == pytest.approx(2.61)
    assert first_loss(laps) == 3.0
    assert (loss_to_beat_half_way(laps[:1]), first_loss(laps[:1])) == (math.inf, None)


def test_the_curve_goes_on_as_a_line_over_the_logarithm_of_time():
    curve = lap(3.0, 2.5, 2.3)  # at 0, 10 and 20 seconds
    assert curve.loss_after(20.0) == 2.3
    assert curve.loss_after(40.0) == pytest.approx(2.1)
    assert curve.loss_after(80.0) == pytest.approx(1.9)
    assert curve.loss_after(1e30) == 1.15


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (lap(3.0, 2.5, 2.7), 2.7),  # it does not rise for ever
        (lap(3.0, 2.5), 2.5),
        (lap(), math.inf),
        (lap(3.0, 2.0, refused="no memory"), math.inf),
        (lap(3.0, math.nan, 2.0), math.inf),
    ],
)
def test_what_a_curve_does_not_tell_is_not_expected(curve, expected):
    assert curve.loss_after(60.0) == expected


def test_the_lowest_loss_at_the_end_wins_and_a_small_lead_does_not():
    slow, steep = lap(3.0, 2.4, 2.39), lap(3.0, 2.8, 2.5)
    assert winner([slow, steep], 1000.0) is steep
    assert winner([slow, steep], 20.0) is slow
    first, hardly = lap(3.0, 2.5), lap(3.0, 2.495)
    assert winner([first, hardly], 60.0) is first
    assert winner([lap(refused="no memory"), slow], 60.0) is slow
    out = lap(refused="no memory")
    assert winner([out, lap(refused="killed")], 60.0) is out


def test_another_number_of_steps_is_the_same_training_and_another_micro_batch_is_not():
    cost = Cost({"train": 5}, 1.0, 1.0)
    assert can_continue(replace(PLAN, steps=900, epochs=3.0, expected=0.9, cost=cost, trainable=7), PLAN)
    assert not can_continue(replace(PLAN, micro_batch=1), PLAN)
    assert not can_continue(replace(PLAN, method="lora"), PLAN)


def test_a_lap_is_told():
    assert lap_words(lap(3.0, 2.5, 2.25)) == "loss 3.000 → 2.250 in 9 steps and 20 s of the race"
    assert lap_words(lap(refused="no memory")) == "out of the race: no memory"
