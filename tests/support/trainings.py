"""What tests of training share: rows that the tiny models learn from, their gradients and weights."""

from pathlib import Path

import numpy as np

from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded
from proxtune.data.examples import Examples
from proxtune.models.loading import load_tokenizer
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.objective import LABELS

CLASSES = ["negative", "positive"]
PLAN = Plan(
    method="full", dtype="fp32", batch=8, micro_batch=8, max_length=32, checkpointing=False, optimizer="adamw",
    learning_rate=1e-3, epochs=2.0, steps=6, trainable=0,
)  # fmt: skip


def words_of(tiny_texts: list[str], folder: Path, rows: int = 24, max_length: int = 32) -> Encoded:
    texts = tiny_texts[:rows]
    labels = [CLASSES[len(text) % 2] for text in texts]
    examples = Examples(
        texts=texts, labels=labels, source="here", lines=list(range(2, rows + 2)), text_column="text", label_column="label"
    )  # fmt: skip
    return encode(examples, CLASSES, load_tokenizer(folder), max_length)


def even_words() -> Encoded:
    """24 rows of 32 tokens: every micro-batch is as large as it may be."""
    ids = np.random.default_rng(0).integers(10, 90, 24 * 32).astype(np.int32)
    return Encoded(ids=ids, starts=np.arange(25) * 32, labels=np.arange(24) % 2, truncated=0, objective=LABELS)


def gradients(model) -> np.ndarray:
    return np.concatenate([p.grad.flatten().numpy() for p in model.parameters() if p.grad is not None])


def weights(model) -> np.ndarray:
    return np.concatenate([p.detach().flatten().numpy() for p in model.parameters()])
