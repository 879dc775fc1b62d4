import time

import pytest

from proxtune.data.examples import Examples, Split
from proxtune.errors import UserError
from proxtune.tasks.classification.baselines import baseline_scores_on, run_baselines

LABELS = ["bad", "good"]


def examples(rows: list[tuple[str, str]]) -> Examples:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    return Examples(texts, labels, "reviews.csv", list(range(2, len(rows) + 2)), "text", "label")


def reviews(count: int) -> Examples:
    good, bad = ["lovely", "warm", "sharp"], ["dull", "cold", "lazy"]
    rows = [(f"a {good[i % 3]} film number {i}", "good") for i in range(count)]
    return examples([*rows, *((f"a {bad[i % 3]} film number {i}", "bad") for i in range(count))])


@pytest.mark.parametrize("count", [20, 1100])  # each side of where rare words are dropped
def test_words_beat_the_majority(count: int) -> None:
    scores = run_baselines(Split(reviews(count), reviews(10), "by hand"), LABELS, seed=0)
    assert scores["majority"] == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}
    tfidf = scores["tfidf"]
    assert tfidf["accuracy"] == tfidf["macro_f1"] == 1.0
    assert tfidf["seconds"] > 0
    assert tfidf["bytes"] > 0
    assert "note" not in tfidf


def test_the_majority_is_the_training_one() -> None:
    train = examples([("a", "bad"), ("b", "bad"), ("c", "good")])
    test = examples([("d", "good"), ("e", "good"), ("f", "good"), ("g", "bad")])
    assert baseline_scores_on(train, test, LABELS)["majority"]["accuracy"] == 0.25


def test_the_same_seed_gives_the_same_scores() -> None:
    split = Split(reviews(30), reviews(7), "by hand")
    first, second = (run_baselines(split, LABELS, seed=3) for _ in range(2))
    assert first["majority"] == second["majority"]
    assert {**first["tfidf"], "seconds": 0} == {**second["tfidf"], "seconds": 0}


def test_more_than_two_labels_one_of_them_unseen_in_training() -> None:
    train = examples([("un bon film", "a"), ("ein Film", "b"), ("el cine", "c")] * 3)
    test = examples([("un bon film", "a"), ("ein Film", "b"), ("el cine", "c"), ("il cinema", "d")])
    assert baseline_scores_on(train, test, ["a", "b", "c", "d"])["tfidf"]["accuracy"] == 0.75


def test_four_rows_are_enough() -> None:
    few = examples([("good", "good"), ("bad", "bad"), ("good", "good"), ("bad", "bad")])
    assert baseline_scores_on(few, few, LABELS)["tfidf"]["accuracy"] == 1.0


def test_one_letter_words_and_digits_count() -> None:
    rows = examples([("1", "bad"), ("5", "good"), ("x", "bad"), ("à", "good")])
    assert baseline_scores_on(rows, rows, LABELS)["tfidf"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([("!!!", "good"), ("", "bad"), ("...", "good"), ("?", "bad")], "no words"),
        ([("good", "good"), ("fine", "good")], "only one label"),
    ],
)
def test_nothing_to_learn_from_falls_back_on_the_majority(rows: list[tuple[str, str]], note: str) -> None:
    scores = baseline_scores_on(examples(rows), examples(rows), LABELS)
    assert note in scores["tfidf"]["note"]
    assert scores["tfidf"]["accuracy"] == scores["majority"]["accuracy"]
    assert "note" not in scores["majority"]


def test_an_unknown_label_is_the_persons_to_mend() -> None:
    with pytest.raises(UserError, match=r"reviews\.csv: label 'meh' is not one of bad, good"):
        baseline_scores_on(reviews(5), examples([("so so", "meh")]), LABELS)


def test_of_thousands_of_labels_the_nearest_mean_is_taken_and_said():
    rows = [(f"story {n % 2500} of one red house", f"class {n % 2500}") for n in range(7500)]
    train, test = examples(rows), examples(rows[:500])
    began = time.process_time()
    found = baseline_scores_on(train, test, sorted({label for _, label in rows}))["tfidf"]
    assert time.process_time() - began < 20
    assert found["accuracy"] == 1
    assert found["note"].startswith("the nearest mean of a label's texts")
    assert found["bytes"] < 1_000_000
