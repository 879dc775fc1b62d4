"""What texts score that take no model."""

from __future__ import annotations

import pytest

from proxtune.data.examples import Message, Pairs
from proxtune.samples import translations_path
from proxtune.tasks.generation.reader import read_pairs
from proxtune.tasks.generation.scoring.baselines import first_sentence, text_baselines
from proxtune.tasks.generation.scoring.metrics import score_texts


def pairs(*rows: tuple[str, str]) -> Pairs:
    asked = [(Message("system", "Be brief."), Message("user", text)) for text, _ in rows]
    return Pairs(asked, [answer for _, answer in rows], "a.csv", list(range(len(rows))), ("text", "summary"))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("  Is it 3.5 or 4? Who knows", "Is it 3.5 or 4?"),
        ("Ends here!\nNot here.", "Ends here!"),
        ("no end\nat all", "no end\nat all"),
        ("A heading\n\nA sentence. Another.", "A heading"),
        ("第一句。第二句。", "第一句。"),
        ("", ""),
    ],
)
def test_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_the_first_sentence_is_scored_as_the_summary() -> None:
    judged = pairs(("A dog ran. It was fast.", "a dog ran"), ("Cats sleep. A lot.", "a fast car"))
    scores = text_baselines("summarize", pairs(), judged)
    assert scores == {"first_sentence": score_texts("summarize", ["A dog ran.", "Cats sleep."], judged.answers)}
    assert scores["first_sentence"]["rouge1"] == 0.5


def test_copying_the_source() -> None:
    # The figures of the sample's README.
    judged = read_pairs(str(translations_path("test")), "translate")
    scores = text_baselines("translate", judged, judged)["copy_source"]
    assert scores["chrf"] == pytest.approx(23.6, abs=0.05)
    assert scores["bleu"] == pytest.approx(0.7, abs=0.05)


def test_the_commonest_answer_is_that_of_the_rows_to_learn_from() -> None:
    train = pairs(("a", "no"), ("b", "yes"), ("c", "yes"))
    scores = text_baselines("instruct", train, pairs(("d", "yes"), ("e", "no"), ("no", "no"), ("f", "maybe")))
    assert (scores["commonest"]["exact"], scores["copy_prompt"]["exact"]) == (0.25, 0.25)


def test_long_texts_are_cut() -> None:
    long = " ".join(["word"] * 400)
    scores = text_baselines("summarize", pairs(), pairs((long, long)))
    assert scores["first_sentence"]["rouge1"] == pytest.approx(2 * 200 / 600)
