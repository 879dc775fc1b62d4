"""What a kind of task says in a model card: all of it, even of a run that says nothing."""

import pytest

from proxtune.report.cards import classification, generation


@pytest.mark.parametrize("card", [classification.CARD, generation.CARD], ids=["classification", "generation"])
def test_every_part_has_words_for_an_empty_result(card):
    for part in (card.pipeline_tag, card.kind, card.opening, card.usage, card.results, card.limits):
        assert part({}).strip()
    assert card.metrics({}) == []
    assert card.usage({}).startswith("## Use\n")
    assert card.results({}) == "## Results\n\nNothing was measured.\n"
    assert card.limits({}).startswith("## Limits\n")
