"""Rows to train on and validation rows: a partition, classes spread and conversations whole, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxtune.data.examples import Examples, Message, Pairs
from proxtune.data.split import check_labels, select_examples, select_pairs, split_examples, split_pairs
from support.files import refusal


def examples_of(labels: list[str], source: str = "a.csv") -> Examples:
    places = range(len(labels))
    text = "text" if source == "a.csv" else f"{source} text"  # another file has texts of its own
    return Examples([f"{text} {n}" for n in places], labels, source, [n + 2 for n in places], "text", "label")


def fails(examples: Examples, validation: Examples | None = None) -> str:
    return refusal(split_examples, examples, validation, 0)


many_labels = st.lists(st.sampled_from("abc"), min_size=4, max_size=120)


@settings(max_examples=100, deadline=None)
@given(many_labels, st.integers(0, 9))
def test_a_partition_by_class_that_the_seed_decides(labels: list[str], seed: int) -> None:
    counts = Counter(labels)
    assume(len(counts) > 1 and (len(counts) == 2 or 2 * len(counts) <= len(labels)))
    whole = examples_of(labels)
    split = split_examples(whole, None, seed)
    assert split == split_examples(whole, None, seed)
    for part in (split.train, split.validation):
        assert part.lines == sorted(part.lines)
        assert [whole.texts[line - 2] for line in part.lines] == part.texts
        assert [whole.labels[line - 2] for line in part.lines] == part.labels
    assert sorted(split.train.lines + split.validation.lines) == whole.lines
    held = Counter(split.validation.labels)
    for label, count in counts.items():
        assert held[label] == (max(1, count // 10) if count > 1 else 0)


def test_seeds_differ() -> None:
    whole = examples_of(["a", "b"] * 100)
    assert split_examples(whole, None, 0).validation != split_examples(whole, None, 1).validation
    assert split_examples(whole, None, 0).note == "validation: 20 of 200 rows, drawn by class with seed 0"


def test_the_order_in_which_classes_turn_up_does_not_matter() -> None:
    # The same places hold the same classes but for the first two rows, which only swap who comes first.
    one = split_examples(examples_of(["a", "b", *["a"] * 50, *["b"] * 50]), None, 0)
    other = split_examples(examples_of(["b", "a", *["a"] * 50, *["b"] * 50]), None, 0)
    assert set(one.validation.lines) - {2, 3} == set(other.validation.lines) - {2, 3}


def test_at_most_two_thousand_rows_are_held_out() -> None:
    split = split_examples(examples_of(["a"] * 27_000 + ["b"] * 3_000), None, 0)
    assert Counter(split.validation.labels) == {"a": 1800, "b": 200}
    assert len(split_examples(examples_of([str(n // 2) for n in range(4_400)]), None, 0).validation) == 2_000


def test_a_class_with_one_row_is_for_training_only_and_that_is_told() -> None:
    split = split_examples(examples_of(["a"] * 9 + ["b"]), None, 0)
    assert "b" in split.train.labels
    assert "used for training only, because they have too few rows: 'b'" in split.note


def test_labels_that_cannot_be_learned() -> None:
    assert "one class only, 'a'" in fails(examples_of(["a"] * 5))
    assert "looks like a regression or free-text column" in fails(examples_of([str(n / 7) for n in range(50)]))
    assert "one row in each class" in fails(examples_of(["a", "b"]))
    assert "no label column" in fails(Examples(["x"], [], "a.csv", [2], "text", None))
    check_labels(examples_of(["a", "b"]))


def test_a_validation_file() -> None:
    train = examples_of(["a", "b"])
    split = split_examples(train, examples_of(["b"], "v.csv"), 0)
    assert (split.train, split.validation.labels) == (train, ["b"])
    assert split.note == "validation: all of v.csv, 1 rows"
    assert "label 'c' (line 2) is nowhere in a.csv" in fails(train, examples_of(["c"], "v.csv"))
    assert "one class only" in fails(examples_of(["a", "a"]), examples_of(["a"]))
    assert "v.csv: it has no rows; give a validation file with rows" in fails(train, examples_of([], "v.csv"))
    assert "v.csv: it has no labels; name the column" in fails(train, Examples(["x"], [], "v.csv", [2], "text", None))


def test_rows_by_their_numbers() -> None:
    whole = examples_of(["a", "b", "c"])
    part = select_examples(whole, [2, 0])
    assert (part.texts, part.labels, part.lines) == (["text 2", "text 0"], ["c", "a"], [4, 2])
    unlabelled = Examples(["x", "y"], [], "a.csv", [2, 3], "text", None)
    assert select_examples(unlabelled, [1]) == Examples(["y"], [], "a.csv", [3], "text", None)


def pairs_of(lines: list[int], source: str = "a.jsonl") -> Pairs:
    places = range(len(lines))
    asked = [(Message("user", f"text {n} of {source}"),) for n in places]
    return Pairs(asked, [f"answer {n}" for n in places], source, lines, ("messages",), ["noted"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=60), st.integers(0, 9))
def test_a_partition_that_keeps_conversations_whole(turns: list[int], seed: int) -> None:
    whole = pairs_of([line for line, count in enumerate(turns, start=1) for _ in range(count)])
    split = split_pairs(whole, None, seed)
    assert split == split_pairs(whole, None, seed)
    assert not set(split.train.lines) & set(split.validation.lines)
    assert sorted(split.train.answers + split.validation.answers) == sorted(whole.answers)
    for part in (split.train, split.validation):
        assert len(part) >= 1
        assert part.lines == sorted(part.lines)
        assert [whole.prompts[int(answer.split()[1])] for answer in part.answers] == part.prompts
    wanted = max(1, len(whole) // 10)
    assert len(split.validation) <= max(wanted, min(turns))
    assert len(split.validation) >= wanted - 5  # the longest conversation is of six rows


def test_one_pair_in_ten_and_at_most_two_hundred() -> None:
    split = split_pairs(pairs_of(list(range(300))), None, 3)
    assert (len(split.validation), split.note) == (30, "validation: 30 of 300 rows, drawn with seed 3")
    assert split.validation != split_pairs(pairs_of(list(range(300))), None, 4).validation
    assert len(split_pairs(pairs_of(list(range(6_000)))).validation) == 200
    assert len(split_pairs(pairs_of([1, 2])).validation) == 1


def test_pairs_that_cannot_be_split() -> None:
    message = refusal(split_pairs, pairs_of([4, 4, 4]))
    assert "one row leaves none for validation; add rows, or give a validation file" in message
    assert "a.jsonl: no answers" in refusal(split_pairs, pairs_of([1, 2]).without_answers())
    assert "v.jsonl: no answers" in refusal(split_pairs, pairs_of([1, 2]), pairs_of([1], "v.jsonl").without_answers())


def test_a_validation_file_of_pairs() -> None:
    train, validation = pairs_of([1]), pairs_of([1, 1, 2], "v.jsonl")
    split = split_pairs(train, validation, 0)
    assert (split.train, split.validation) == (train, validation)
    assert split.note == "validation: all of v.jsonl, 3 rows"


def test_pairs_by_their_numbers() -> None:
    part = select_pairs(pairs_of([1, 2, 3]), [2, 0])
    assert (part.answers, part.lines, part.notes) == (["answer 2", "answer 0"], [3, 1], ["noted"])
    assert select_pairs(Pairs(part.prompts, [], "a", [3, 1], ("text",)), [1]).answers == []


def test_pairs_of_texts_stay_together():
    pairs = replace(
        examples_of(["a", "b"] * 20), second_texts=[f"second {n}" for n in range(40)], second_column="other"
    )
    split = split_examples(pairs)
    for part in (split.train, split.validation):
        assert len(part.second_texts) == len(part)
        assert all(
            second.split()[-1] == text.split()[-1] for text, second in zip(part.texts, part.second_texts, strict=True)
        )


def test_labels_of_validation_rows_may_be_spelled_in_another_way():
    train = examples_of(["a", "b"] * 4)
    given = replace(train, labels=[label.upper() for label in train.labels], notes=["read as UTF-16"])
    assert "8 rows (read as UTF-16)" in split_examples(train, given).note


def test_thousands_of_labels_take_no_time():
    labels = [f"label {n // 3}" for n in range(15_000)]
    rows = Examples(["x"] * len(labels), labels, "a.csv", list(range(len(labels))), "text", "label")
    split = split_examples(rows)
    assert len(split.validation) == 2000
    assert len(set(split.train.labels)) == 5000


def test_validation_rows_that_are_training_rows_too_are_counted() -> None:
    train, other = examples_of(["a", "b"] * 4), examples_of(["a", "b"], "v.csv")
    same = split_examples(train, replace(other, texts=["text 3", "new"]))
    assert "2 rows; 1 validation row is a training row too, letter by letter: scores on those say little" in same.note
    assert (
        "2 validation rows are training rows too"
        in split_examples(train, replace(other, texts=["text 3", "text 3"])).note
    )
    assert "training row" not in split_examples(train, replace(other, texts=["text 3 ", "Text 3"])).note


def test_a_pair_is_the_same_where_both_texts_are() -> None:
    train = replace(examples_of(["a", "b"]), second_texts=["x", "y"], second_column="second")
    other = replace(train, source="v.csv", second_texts=["x", "z"])
    assert "1 validation row is a training row too" in split_examples(train, other).note


def test_doubles_in_a_file_that_is_divided_are_counted_too() -> None:
    doubled = replace(examples_of(["a", "b"] * 20), texts=["the same"] * 40)
    assert "4 validation rows are training rows too" in split_examples(doubled, None, 0).note
    assert "training rows too" not in split_examples(examples_of(["a", "b"] * 20), None, 0).note


def test_what_is_asked_and_answered_twice_is_counted() -> None:
    def pairs(answers: list[str], source: str) -> Pairs:
        prompts = [(Message("user", "the same question"),)] * len(answers)
        return Pairs(prompts, answers, source, list(range(len(answers))), ("q", "a"))

    train = pairs(["one", "two"], "a.csv")
    assert "1 validation row is a training row too" in split_pairs(train, pairs(["two", "three"], "v.csv")).note
    assert "training row" not in split_pairs(train, pairs(["three"], "v.csv")).note
    assert "training row" in split_pairs(pairs(["one"] * 30, "a.csv")).note
