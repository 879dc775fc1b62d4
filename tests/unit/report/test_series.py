"""Records as points and spans."""

import math

from proxtune.report.series import best_point, by_step, lap_curves, mean, phase_spans, series, smooth, thin


def validation(step, accuracy, best=False):
    return {"kind": "validation", "step": step, "seconds": step, "accuracy": accuracy, "best": best}


def test_only_finite_points_of_one_kind_are_drawn_in_order():
    records = [
        validation(2, 0.6),
        validation(1, 0.5),
        validation(3, math.nan),
        {"kind": "step", "step": 9, "accuracy": 1},
    ]
    assert series(records, "validation", "step", "accuracy") == [(1, 0.5), (2, 0.6)]


def test_a_step_that_was_repeated_counts_once_as_it_was_last():
    assert by_step([validation(1, 0.5), validation(2, 0.6), validation(2, 0.7)], "validation", "accuracy") == [
        (1, 0.5),
        (2, 0.7),
    ]


def test_the_best_point_is_the_last_that_was_called_so_or_the_highest():
    points = [(1.0, 0.9), (2.0, 0.6), (3.0, 0.7)]
    assert best_point([validation(1, 0.9, best=True), validation(2, 0.6, best=True)], points) == (2.0, 0.6)
    assert best_point([validation(1, 0.9)], points) == (1.0, 0.9)


def test_phases_last_until_the_next_and_old_names_are_known():
    records = [
        {"kind": "phase", "phase": name, "seconds": at}
        for name, at in (("read", 0.0), ("untouched", 2.0), ("train", 5.0))
    ]
    assert phase_spans(records, 9.0) == [("load", 0.0, 2.0), ("evaluate", 2.0, 5.0), ("train", 5.0, 9.0)]
    assert phase_spans([], 9.0) == []


def test_thinning_keeps_the_peak_and_the_end():
    points = [(float(x), 1.0) for x in range(4000)]
    points[777] = (777.0, 9.0)
    thinned = thin(points, max)
    assert len(thinned) <= 500
    assert max(y for _, y in thinned) == 9.0
    assert thinned[-1][0] == 3999.0
    assert thin(points[:10], max) == points[:10]


def test_smoothing_keeps_the_mean_of_a_level_curve():
    level = [(float(x), 2.0) for x in range(50)]
    assert smooth(level) == level
    assert mean([1, 2, 6]) == 3


def test_a_contender_of_a_race_is_a_curve_where_it_has_points():
    laps = [
        {"kind": "race", "plan": "lora", "seconds": [0, 2.5, 5], "losses": [3, math.nan, 2]},
        {"kind": "race", "plan": "full", "seconds": [], "losses": []},
    ]
    assert lap_curves(laps) == {"lora": [(0, 3), (5, 2)]}
