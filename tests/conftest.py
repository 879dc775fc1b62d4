"""What every test needs: no network, no window, the same examples from hypothesis each time in CI, and tiny models."""

import csv
import json
import os
import random
from pathlib import Path

# Before anything imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits leaves its core to the tests beside it

import numpy as np
import pytest
import torch
from hypothesis import settings

from proxtune.data.dataset import Encoded
from proxtune.samples import movies_path
from proxtune.tasks.classification.objective import LABELS
from support.files import Write

# A loaded machine is slow now and then: that is no bug of the code under test.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# The tiny models are no faster with more, and tests run side by side. Runs in processes of their own have all threads.
torch.set_num_threads(1)

_ROWS = 200
_WORDS = [
    "red",
    "green",
    "blue",
    "black",
    "white",
    "small",
    "large",
    "old",
    "new",
    "house",
    "tree",
    "river",
    "stone",
    "bird",
    "fish",
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a file of that name and content into the test's own folder."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


@pytest.fixture(scope="session")
def tiny_reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A csv of 200 real film reviews, columns text and label."""
    with movies_path("train").open(encoding="utf-8", newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(_ROWS), strict=False)]
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def tiny_texts(tiny_reviews: Path) -> list[str]:
    """The texts of `tiny_reviews`."""
    with tiny_reviews.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_texts: list[str]) -> Path:
    """A folder with a real BERT of three blocks, 32 wide, that knows the words of `tiny_reviews`."""
    return _bert(tmp_path_factory.mktemp("models") / "tiny-bert", tiny_texts, 32)


@pytest.fixture(scope="session")
def wide_model(tmp_path_factory: pytest.TempPathFactory, tiny_texts: list[str]) -> Path:
    """The same, 64 wide: its kernels are parallel (see `test_parallel.py`)."""
    return _bert(tmp_path_factory.mktemp("models") / "wide-bert", tiny_texts, 64)


def _bert(folder: Path, texts: list[str], width: int) -> Path:
    tokenizer = _tokenizer(texts, encoder=True)
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory, tiny_texts: list[str]) -> Path:
    """A folder with a real Llama of two blocks, 32 wide, that knows the words of `tiny_reviews`."""
    return _llama(tmp_path_factory.mktemp("models") / "tiny-llama", tiny_texts, 32)


@pytest.fixture(scope="session")
def wide_decoder(tmp_path_factory: pytest.TempPathFactory, tiny_texts: list[str]) -> Path:
    """The same, 64 wide: its kernels are parallel."""
    return _llama(tmp_path_factory.mktemp("models") / "wide-llama", tiny_texts, 64)


def _llama(folder: Path, texts: list[str], width: int) -> Path:
    tokenizer = _tokenizer(texts, encoder=False)
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=4 * width, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A jsonl of 200 toy rows, columns source and target: words and the same words backwards, in capitals here and there."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(_ROWS):
            words = [draw.choice(_WORDS) for _ in range(draw.randint(2, 6))]
            file.write(json.dumps({"source": " ".join(words), "target": " ".join(reversed(words))}) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real Llama of two blocks, 32 wide, whose tokenizer has a chat template, and that ends its answers."""
    return _chat(tmp_path_factory.mktemp("models") / "tiny-chat", 32)


@pytest.fixture(scope="session")
def wide_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, 128 wide: its kernels are parallel, though its rows are short."""
    return _chat(tmp_path_factory.mktemp("models") / "wide-chat", 128)


def _chat(folder: Path, width: int) -> Path:
    tokenizer = _tokenizer(
        [*_WORDS, "user assistant system Translate Summarize : in a few words"], encoder=False, ends=True
    )
    tokenizer.chat_template = (
        "{% for turn in messages %}<s> {{ turn['role'] }} {{ turn['content'] }} </s> {% endfor %}"
        "{% if add_generation_prompt %}<s> assistant {% endif %}"
    )
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=4 * width, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def paged_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, 256 wide: its weights fill pages of memory as a whole."""
    return _chat(tmp_path_factory.mktemp("models") / "paged-chat", 256)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real T5 of two blocks on each side, 32 wide."""
    return _t5(tmp_path_factory.mktemp("models") / "tiny-t5", 32)


@pytest.fixture(scope="session")
def wide_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, 128 wide: its kernels are parallel, though its rows are short."""
    return _t5(tmp_path_factory.mktemp("models") / "wide-t5", 128)


def _t5(folder: Path, width: int) -> Path:
    tokenizer = _tokenizer([*_WORDS, "translate : summarize"], encoder=False, ends=True)
    from tokenizers.processors import TemplateProcessing

    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=width // 4, d_ff=2 * width, num_layers=2, num_heads=4,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=end, decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["tiny_chat", "tiny_t5"])
def tiny_generator(request: pytest.FixtureRequest) -> Path:
    """Each of the tiny models that generate in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(params=["tiny_model", "tiny_decoder"])
def tiny_folder(request: pytest.FixtureRequest) -> Path:
    """Each of the tiny models in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


def _tokenizer(texts: list[str], encoder: bool, ends: bool = False):
    from proxtune.memory.lean_imports import import_lean

    import_lean()
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from tokenizers.trainers import WordLevelTrainer
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if encoder else ["[PAD]", "[UNK]"]
    special += ["<s>", "</s>"] if ends else []
    words = Tokenizer(WordLevel(unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = Lowercase(), Whitespace()
    words.train_from_iterator(texts, WordLevelTrainer(vocab_size=1000, special_tokens=special, show_progress=False))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if encoder:
        both = [(name, words.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=both)
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    names |= {"eos_token": "</s>"} if ends else {}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **names)


@pytest.fixture
def rows() -> Encoded:
    """48 rows of 3 to 32 tokens that every tiny model knows, of two classes."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 33, 48)
    ids = random.integers(10, 90, int(lengths.sum())).astype(np.int32)
    return Encoded(
        ids=ids,
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        labels=np.arange(48) % 2,
        truncated=0,
        objective=LABELS,
    )
