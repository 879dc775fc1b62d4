"""The languages of a translation: from the names of columns and files, told to multilingual tokenizers in their own codes."""

import json
from types import SimpleNamespace

import pytest

from proxtune.config.recipe import Recipe
from proxtune.data.examples import Message, Pairs
from proxtune.tasks.generation.languages import check_languages, language_pair, set_languages, target_notes
from proxtune.tasks.generation.prompting import put_around
from proxtune.tasks.registry import find_task
from support.files import refusal

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = ["a", "good", "film", "red", "house", "un", "bon", "rouge", "maison"]


def pairs(columns=("en", "fr"), source="rows.csv") -> Pairs:
    return Pairs([(Message("user", "a good film"),)], ["un bon film"], source, [1], columns)


@pytest.mark.parametrize(
    ("columns", "source", "found"),
    [
        (("en", "fr"), "x.csv", ("en", "fr")),
        (("source", "target"), "data/de-en/train.jsonl", ("de", "en")),
        (("source", "target"), "rows.csv", None),
        (("en", "en"), "x.csv", None),
        (("English", "french"), "x.csv", ("en", "fr")),
        (("pt-BR", "en_US"), "x.csv", ("pt", "en")),
        (("en",), "x.csv", None),
    ],
)
def test_columns_or_a_path_name_the_languages(columns, source, found):
    assert language_pair(pairs(columns, source)) == found


def pieces():
    return [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((f"▁{word}", -1.0) for word in WORDS),
    ]


def tokenizer_of(kind: str):
    import transformers

    if kind == "M2M100":
        return _m2m100()
    if kind == "Nllb":
        letters = sorted(set("".join(WORDS)))
        return transformers.NllbTokenizer(
            vocab={piece: i for i, piece in enumerate([*SPECIAL, "▁", *letters])}, merges=[]
        )
    return getattr(transformers, f"{kind}Tokenizer")(vocab=pieces())


def _m2m100():
    pytest.importorskip("sentencepiece")
    import tempfile
    from pathlib import Path

    import sentencepiece
    import transformers

    folder = Path(tempfile.mkdtemp())
    (folder / "texts").write_text("\n".join([" ".join(WORDS), "un bon film rouge", "a good red house"] * 10))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts"),
        model_prefix=str(folder / "spm"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(str(folder / "spm.model"))
    own = [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    (folder / "vocab.json").write_text(
        json.dumps({piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *own])})
    )
    return transformers.M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "spm.model"))


CODES = {
    "MBart": ("en_XX", "fr_XX"),
    "MBart50": ("en_XX", "fr_XX"),
    "Nllb": ("eng_Latn", "fra_Latn"),
    "M2M100": ("en", "fr"),
}


@pytest.mark.parametrize("kind", CODES)
def test_languages_are_told_in_the_tokenizer_s_own_codes_and_that_is_said(kind):
    tokenizer = tokenizer_of(kind)
    (note,) = set_languages(tokenizer, pairs())
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == CODES[kind]
    assert "texts are in {} and answers in {}".format(*CODES[kind]) in note


@pytest.mark.parametrize("kind", CODES)
def test_other_way_round(kind):
    tokenizer = tokenizer_of(kind)
    set_languages(tokenizer, pairs(source="fr-en.jsonl", columns=("source", "target")))
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == CODES[kind][::-1]


def test_columns_may_be_called_by_the_codes_themselves():
    tokenizer = tokenizer_of("Nllb")
    set_languages(tokenizer, pairs(columns=("lij_Latn", "zho_Hant")))
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == ("lij_Latn", "zho_Hant")


@pytest.mark.parametrize("kind", CODES)
def test_an_answer_does_not_begin_with_the_token_of_its_language(kind, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = tokenizer_of(kind)
    set_languages(tokenizer, pairs())
    ids = tokenizer(text_target="un bon film")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "un bon film"
    tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)  # as users of the trained model have it
    assert saved(text_target="un bon film")["input_ids"] == ids
    assert saved.decode(ids, skip_special_tokens=True).strip() == "un bon film"


def test_a_tokenizer_without_tokens_for_its_languages_is_refused():
    import transformers

    bare = transformers.NllbTokenizer(
        vocab={piece: i for i, piece in enumerate([*SPECIAL, "▁", "a"])}, merges=[], extra_special_tokens=[]
    )
    words = refusal(check_languages, bare, [token for side in put_around(bare) for token in side])
    assert "no tokens for its languages ('eng_Latn' is unknown to it)" in words
    whole = tokenizer_of("Nllb")
    check_languages(whole, [token for side in put_around(whole) for token in side])


def test_languages_that_nothing_names_are_the_tokenizer_s_and_that_is_said():
    tokenizer = tokenizer_of("MBart50")
    (note,) = set_languages(tokenizer, pairs(columns=("source", "target")))
    assert "texts are taken for en_XX and answers for en_XX" in note
    assert "name the columns after their languages" in note


def test_a_tokenizer_of_one_language_is_left_alone(tiny_t5):
    from proxtune.models.tokenizer.loading import load_tokenizer

    assert set_languages(load_tokenizer(tiny_t5), pairs()) == ()


@pytest.mark.parametrize(
    ("instruction", "texts", "told"),
    [
        ("translate English to French:", [">>fra<< a film"], True),
        ("", ["a film", ">>fra<< a film"], True),
        ("", [">>fra<< a film", ">>ita<< a film"], False),
        (">>fra<<", ["a film"], False),
    ],
)
def test_a_model_that_finds_its_language_before_a_text_is_told_of_where_none_is(instruction, texts, told):
    marian = SimpleNamespace(supported_language_codes=[">>fra<<", ">>ita<<"])
    notes = target_notes(marian, instruction, texts)
    assert len(notes) == told
    assert not told or "by --instruction '>>fra<<'" in notes[0]
    assert target_notes(SimpleNamespace(), instruction, texts) == ()


def model_of(kind: str, folder):
    """A tiny model of that kind with its tokenizer."""
    import torch
    import transformers

    tokenizer = tokenizer_of(kind)
    config_class = {"MBart": "MBartConfig", "MBart50": "MBartConfig"}.get(kind, "M2M100Config")
    config = getattr(transformers, config_class)(
        vocab_size=max(len(tokenizer), 256), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        decoder_start_token_id=2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    kind_of_model = config_class.replace("Config", "ForConditionalGeneration")
    getattr(transformers, kind_of_model)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("kind", CODES)
def test_answers_are_learned_and_begun_as_the_model_knows_them(kind, tmp_path):
    tokenizer = model_of(kind, tmp_path / "model")
    (tmp_path / "en-fr.jsonl").write_text('{"en": "a good film", "fr": "un bon film"}\n' * 40)
    recipe = Recipe(
        data=str(tmp_path / "en-fr.jsonl"), out="", task="translate", model=str(tmp_path / "model"), instruction=""
    )
    task = find_task("translate")
    data = task.encode(recipe, task.read(recipe), tmp_path / "model")
    tokenizer.src_lang, tokenizer.tgt_lang = CODES[kind]
    text, answer = tokenizer("a good film")["input_ids"], tokenizer(text_target="un bon film")["input_ids"]
    assert data.train.ids[: data.train.starts[1]].tolist() == text
    own = data.train.answers.ids[: data.train.answers.starts[1]].tolist()
    french = tokenizer.convert_tokens_to_ids("__fr__" if kind == "M2M100" else CODES[kind][1])
    model = task.load_model(tmp_path / "model", data, 0)
    if kind == "MBart":  # text, end, language: which is what answers begin after
        assert [*own, french] == answer
        assert data.config.decoder_start_token_id == model.generation_config.decoder_start_token_id == french
    else:
        assert own == answer
        assert own[0] == french == model.generation_config.forced_bos_token_id
        assert model.generation_config.decoder_start_token_id == 2
    assert own[-1] == tokenizer.eos_token_id


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")  # which only tidies punctuation up
def test_a_target_that_has_a_vocabulary_of_its_own_is_read_by_that(tmp_path):
    """Marian's texts and answers are cut by two SentencePiece models."""
    spm = pytest.importorskip("sentencepiece")
    import torch
    import transformers

    folder = tmp_path / "model"
    folder.mkdir()
    pieces = {"</s>", "<unk>", "<pad>"}
    for side, text in (("source", "a good film red house"), ("target", "un bon film rouge maison")):
        (tmp_path / side).write_text("\n".join([text] * 20))
        spm.SentencePieceTrainer.train(
            input=str(tmp_path / side),
            model_prefix=str(folder / side),
            vocab_size=30,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        model = spm.SentencePieceProcessor(str(folder / f"{side}.spm"))
        pieces |= {model.id_to_piece(i) for i in range(3, model.get_piece_size())}
    order = ["</s>", "<unk>", *sorted(pieces - {"</s>", "<unk>", "<pad>"}), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(order)}))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "fr"}'
    )
    pad = len(order) - 1
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=len(order), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=pad,
        eos_token_id=0, bos_token_id=None, decoder_start_token_id=pad, forced_eos_token_id=0,
    )  # fmt: skip
    transformers.MarianMTModel(config).save_pretrained(folder)
    (tmp_path / "rows.jsonl").write_text('{"en": "a good film", "fr": "un bon film"}\n' * 40)
    recipe = Recipe(data=str(tmp_path / "rows.jsonl"), out="", task="translate", model=str(folder), instruction="")
    task = find_task("translate")
    data = task.encode(recipe, task.read(recipe), folder)
    tokenizer = data.tokenizer
    assert data.train.ids[: data.train.starts[1]].tolist() == tokenizer("a good film")["input_ids"]
    own = data.train.answers.ids[: data.train.answers.starts[1]].tolist()
    assert own == tokenizer(text_target="un bon film")["input_ids"]
    assert tokenizer.unk_token_id not in own
    assert own[-1] == 0
