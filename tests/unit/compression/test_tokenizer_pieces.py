"""The pieces of a tokenizer, by files written out by hand: what must stay, and what merging goes through."""

from typing import Any

import pytest

from proxtune.compression.tokenizer_pieces import joined, merges_of, needs_of, pieces_of, pieces_that_stay


def spec(model: dict[str, Any], *added: str, **parts: Any) -> dict[str, Any]:
    """What tokenizer.json holds, as far as it matters here."""
    tokens = [{"content": token, "id": 900 + place} for place, token in enumerate(added)]
    return {
        "model": model,
        "added_tokens": tokens,
        "post_processor": None,
        "pre_tokenizer": None,
        "normalizer": None,
    } | parts


def numbered(*pieces: str) -> dict[str, int]:
    return {piece: place for place, piece in enumerate(pieces)}


WORDPIECE = spec(
    {
        "type": "WordPiece", "continuing_subword_prefix": "##", "unk_token": "[UNK]",
        "vocab": numbered("[PAD]", "[UNK]", "[CLS]", "a", "b", "##a", "##b", "##c", "ab", "##bc", "##xy"),
    },
    "[PAD]", post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
)  # fmt: skip
BPE = spec(
    {
        "type": "BPE", "vocab": numbered("a", "b", "c", "ab", "bc", "abc", "abcab", "xyz"),
        "merges": [["a", "b"], "b c", ["ab", "c"], ["abc", "ab"]],
    }
)  # fmt: skip
UNIGRAM = spec(
    {
        "type": "Unigram",
        "unk_id": 1,
        "vocab": [["<pad>", 0.0], ["<unk>", 0.0], ["▁", -2.0], ["a", -3.0], ["▁a", -4.0], ["xy", -9.5]],
    }
)


def test_pieces_have_ids_and_characters_without_their_marks():
    pieces = pieces_of(WORDPIECE)
    assert pieces.ids["##bc"] == 9
    assert [pieces.characters(piece) for piece in ("ab", "##bc", "##")] == ["ab", "bc", "##"]
    assert pieces.singles() == {"a", "b", "##a", "##b", "##c"}
    assert pieces_of(UNIGRAM).ids["▁a"] == 4


def test_a_mark_may_be_at_the_end_and_bytes_are_single():
    pieces = pieces_of(
        spec({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": numbered("a</w>", "ab</w>", "<0x0A>", "<0xZZ>")})
    )
    assert pieces.characters("ab</w>") == "ab"
    assert pieces.singles() == {"a</w>", "<0x0A>"}


def test_what_is_added_unknown_put_around_or_single_stays():
    stay = pieces_that_stay(WORDPIECE, pieces_of(WORDPIECE))
    assert {"[PAD]", "[UNK]", "[CLS]", "a", "b", "##a", "##b", "##c"} <= stay
    assert "[SEP]" not in stay, "it has no id among the pieces"
    assert "##xy" in stay, "its characters are known in no other piece"
    assert not {"ab", "##bc"} & stay, "they can be put together"


def test_with_what_the_data_use_only_their_characters_stay():
    stay = pieces_that_stay(WORDPIECE, pieces_of(WORDPIECE), seen=["ab"])
    assert stay == {"[PAD]", "[UNK]", "[CLS]", "a", "b", "##a", "##b"}


def test_characters_that_are_bytes_in_disguise_stay_whatever_the_data():
    own = BPE | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}]}}
    assert pieces_that_stay(own, pieces_of(own), seen=["a"]) == {"a", "b", "c"}
    assert pieces_that_stay(BPE, pieces_of(BPE), seen=["a"]) == {"a"}


def test_of_unigrams_the_unlikeliest_stays_since_what_is_unknown_scores_below_it():
    stay = pieces_that_stay(UNIGRAM, pieces_of(UNIGRAM), seen=["▁a"])
    assert stay == {"<unk>", "xy", "▁", "a"}


def test_whole_words_have_no_characters_that_stay():
    words = spec({"type": "WordLevel", "unk_token": "[UNK]", "vocab": numbered("[UNK]", "a", "word")})
    assert pieces_that_stay(words, pieces_of(words)) == {"[UNK]"}


def test_tokens_of_every_processor_in_a_row_are_found():
    template = {"type": "TemplateProcessing", "special_tokens": {"[B]": {"tokens": ["[B]"], "ids": [0]}}}
    own = WORDPIECE | {"post_processor": {"type": "Sequence", "processors": [template, WORDPIECE["post_processor"]]}}
    own["model"] = own["model"] | {"vocab": own["model"]["vocab"] | {"[B]": 11}}
    assert {"[B]", "[CLS]"} <= pieces_that_stay(own, pieces_of(own), seen=[])


@pytest.mark.parametrize(
    ("piece", "needs"),
    [
        ("a", set()),
        ("ab", {"a", "b"}),
        ("abc", {"a", "b", "c", "ab"}),
        ("abcab", {"a", "b", "c", "ab", "abc"}),
        ("xyz", set()),
    ],
)
def test_bpe_needs_all_that_it_merges_on_the_way(piece, needs):
    assert needs_of(BPE, pieces_of(BPE))(piece) == needs


def test_the_first_merge_goes_first():
    """`b c` comes before `ab c` in the text, but `a b` before it in the list: abc is made of ab, never of bc."""
    assert merges_of(BPE)[:2] == [("a", "b"), ("b", "c")], "older files hold a merge as one string"
    assert "bc" not in needs_of(BPE, pieces_of(BPE))("abc")


def test_only_bpe_merges():
    assert needs_of(WORDPIECE, pieces_of(WORDPIECE))("ab") == set()


def test_a_merge_drops_the_mark_of_its_second_half():
    assert joined("a", "##b", pieces_of(WORDPIECE)) == "ab"
    assert joined("a", "b", pieces_of(BPE)) == "ab"
