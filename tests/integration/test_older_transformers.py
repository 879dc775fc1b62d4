"""What `proxtune train` saves loads in transformers 4.57 and says the same there, where an environment with that can be made."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
OLDER = "transformers==4.57.3"
CLASSIFY = """
import json, sys, torch, transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
assert transformers.__version__ == "4.57.3", transformers.__version__
folder, texts = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
with torch.inference_mode():
    logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
print(json.dumps([model.config.id2label[int(row.argmax())] for row in logits]))
"""
GENERATE = """
import json, sys, torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
apart = AutoConfig.from_pretrained(folder).is_encoder_decoder
model = (AutoModelForSeq2SeqLM if apart else AutoModelForCausalLM).from_pretrained(folder).eval()
tokenizer, answers = AutoTokenizer.from_pretrained(folder), []
for text in texts:
    if not apart:
        text = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=apart, return_tensors="pt")
    made = model.generate(**ids)[0][0 if apart else ids["input_ids"].shape[1]:]
    answers.append(tokenizer.decode(made, skip_special_tokens=True).strip())
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> str:
    """A python with the older transformers; torch and the rest are those of this one."""
    if "PROXTUNE_OLDER_TRANSFORMERS" not in os.environ:
        pytest.skip(f"installs {OLDER} from the network: set PROXTUNE_OLDER_TRANSFORMERS=1 to run it")
    folder = tmp_path_factory.mktemp("older")
    python = str(folder / "bin" / "python")
    try:
        subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True, timeout=120
        )
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OLDER]
        subprocess.run(install, check=True, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        pytest.skip(f"no environment with {OLDER} can be made here: {words}")
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(purelib) / "zz_torch.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def said(python: str, script: str, folder: Path, texts: list[str]) -> list[str]:
    done = subprocess.run(
        [python, "-c", script, str(folder), json.dumps(texts)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def trained(data: Path, model: Path, out: Path, *options: str) -> Path:
    command = [
        sys.executable,
        "-P",
        "-m",
        "proxtune",
        "train",
        str(data),
        "--model",
        str(model),
        "--out",
        str(out),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return out / "model"


def predicted(run: Path, texts: list[str], key: str) -> list[str]:
    command = [sys.executable, "-P", "-m", "proxtune", "predict", str(run), *texts, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return [row[key] for row in json.loads(done.stdout.splitlines()[-1])["predictions"]]


@pytest.fixture
def neox(tmp_path, tiny_texts) -> Path:
    """A GPT-NeoX with its own tokenizer class, which builds anew what is put around a text, and another base of its positions."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    backend = Tokenizer(BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        tiny_texts,
        BpeTrainer(vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False),
    )
    folder = tmp_path / "neox"
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        vocab_size=backend.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, bos_token_id=0, eos_token_id=0, initializer_range=0.3,
        rope_parameters={"rope_type": "default", "rope_theta": 70.0, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "GPTNeoXTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 128}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize("kind", ["encoder", "decoder", "neox"])
def test_a_classifier_says_the_same(older, kind, request, tiny_reviews, tiny_texts, tmp_path):
    model = request.getfixturevalue({"encoder": "tiny_model", "decoder": "tiny_decoder"}.get(kind, "neox"))
    out = tmp_path / "run"
    folder = trained(tiny_reviews, model, out, "--method", "full", "--epochs", "2", "--learning-rate", "3e-3")
    texts = [*tiny_texts[:11], "a film </s> [SEP] <|endoftext|> of"]
    assert said(older, CLASSIFY, folder, texts) == predicted(out, texts, "label")


@pytest.mark.parametrize("kind", ["chat", "t5"])
def test_a_generator_answers_the_same(older, kind, request, tiny_pairs, tmp_path):
    model = request.getfixturevalue(f"tiny_{kind}")
    out = tmp_path / "run"
    options = (
        "--task",
        "translate",
        "--instruction",
        "",
        "--method",
        "full",
        "--epochs",
        "3",
        "--learning-rate",
        "3e-3",
    )
    folder = trained(tiny_pairs, model, out, *options)
    texts = ["red house", "a blue bird", "old stone tree river", "green", "fish small black"]
    assert said(older, GENERATE, folder, texts) == predicted(out, texts, "answer")
