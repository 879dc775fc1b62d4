"""What training gained: row by row, with its error; which model is kept follows from it."""

import math
import statistics

import pytest

from proxtune.tasks.generation.scoring.gain import Gain, gain, is_worse
from proxtune.tasks.generation.scoring.metrics import each_text, score_texts

WANTED = ["the red house stands", "a green tree", "nothing at all here", "one more row of words"]
GOOD = ["the red house stands", "a green bush", "nothing at all", "one more row"]
POOR = ["blue", "a green tree", "no", "row of words"]


@pytest.mark.parametrize(("task", "points"), [("translate", 1), ("summarize", 100), ("instruct", 100)])
def test_the_gain_is_the_mean_of_the_differences_in_points(task, points):
    found = gain(task, GOOD, POOR, WANTED)
    differences = [
        points * (new - old)
        for new, old in zip(each_text(task, GOOD, WANTED), each_text(task, POOR, WANTED), strict=True)
    ]
    assert found.mean == pytest.approx(statistics.mean(differences))
    assert found.standard_error == pytest.approx(statistics.stdev(differences) / math.sqrt(len(differences)))
    assert found.before == pytest.approx(points * statistics.mean(each_text(task, POOR, WANTED)))
    assert found.score in score_texts(task, GOOD, WANTED)
    assert gain(task, POOR, GOOD, WANTED).mean == pytest.approx(-found.mean)


def test_one_row_says_nothing_of_others():
    found = gain("translate", GOOD[:1], POOR[:1], WANTED[:1])
    assert found.standard_error == math.inf
    assert str(found).endswith("chrF on 1 answers")


def test_where_the_base_model_scores_next_to_nothing_the_loss_decides():
    found = Gain(score="chrf", before=2.0, mean=-2.0, standard_error=0.1, rows=64)
    assert not is_worse(found, 1.0, 2.0)
    assert is_worse(found, 2.0, 1.0)


def test_it_is_told_with_its_interval():
    found = Gain(score="chrf", before=20.0, mean=-2.13, standard_error=0.5, rows=64)
    assert str(found) == "-2.1 ± 1.0 chrF on 64 answers"
    assert found.is_clear
    assert not Gain(score="chrf", before=20.0, mean=0.9, standard_error=0.5, rows=64).is_clear


@pytest.mark.parametrize(
    ("mean", "error", "loss_after", "worse"),
    [
        (3.0, 1.0, 9.0, False),  # better answers: whatever the loss
        (-3.0, 1.0, 1.0, True),  # worse ones
        (-0.5, 1.0, 1.0, False),  # too noisy to tell: the loss does
        (0.5, 1.0, 9.0, True),
        (0.0, 0.0, 2.0, True),  # the same answers and the same loss: nothing was learned
        (-9.0, math.inf, 1.0, False),  # one answer
        (1.0, 2.0, math.nan, True),
    ],
)
def test_the_base_model_is_kept_where_it_is_as_good(mean, error, loss_after, worse):
    found = Gain(score="chrf", before=20.0, mean=mean, standard_error=error, rows=9)
    assert is_worse(found, loss_after, 2.0) is worse
