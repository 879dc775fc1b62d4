"""What the tests of tokenizers share: small ones made by hand, and what loading one says."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxtune.errors import UserError
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.models.tokenizer.saving import save_tokenizer

WORDS = ["red", "green", "blue", "house", "tree", "river", "a", "film", "good"]


ALBERT_PIECES = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "user_defined_symbols": "[CLS],[SEP],[MASK]"}


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(folder)
    words = str(caught.value)
    assert "\n" not in words
    return words


def made(special=("<pad>", "<unk>", "<s>", "</s>"), **named):
    """A tokenizer of words without anything that its arguments do not name."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def config_of(pad=None, architectures=(), rows=0):
    return SimpleNamespace(pad_token_id=pad, architectures=list(architectures), vocab_size=rows)


def spiece_alone(folder: Path, model: str, **pieces) -> Path:
    """A folder with a SentencePiece file and the config of a model; returns the file."""
    spm = pytest.importorskip("sentencepiece")
    import transformers

    kind = {"t5": transformers.T5Config, "albert": transformers.AlbertConfig}[model]
    kind(vocab_size=200).save_pretrained(folder)
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(["a good film", "red green blue", "the house by the river"] * 20), vocab_size=60,
        model_prefix=str(folder / "spiece"), hard_vocab_limit=False, minloglevel=2, **pieces,
    )  # fmt: skip
    return folder / "spiece.model"


def saved(tokenizer, folder: Path, model_type: str = "llama"):
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    save_tokenizer(tokenizer, folder)
    return load_tokenizer(folder), json.loads((folder / "tokenizer_config.json").read_text())


def with_option(folder, name, **told):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    return folder
