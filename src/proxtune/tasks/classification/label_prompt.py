"""A prompt for decoders: after the text comes a question, and a label is what the model would say next.

The tokenizer itself adds the question to every text, so that users of the saved model need not know of it. The
classification layer begins as the language model's own rows for the labels' words: it knows something before it has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.models.tokenizer import QUESTION

_MOST_CHOICES = 12  # labels that the question lists


@dataclass(frozen=True, slots=True)
class LabelPrompt:
    """The `question` after each text, and the word for each label as the model would say it."""

    question: str
    words: tuple[str, ...]


def prompt_for(labels: list[str]) -> LabelPrompt:
    """A question that lists the labels where they are few; the words are the labels' own names."""
    names = [label.strip().replace("_", " ") for label in labels]
    choices = f" ({', '.join(names[:-1])} or {names[-1]})" if 2 <= len(names) <= _MOST_CHOICES else ""
    return LabelPrompt(f"\nLabel{choices}:", tuple(f" {name}" for name in names))


def has_language_head(config: Any) -> bool:
    """Whether a model's checkpoint is a decoder with a language-model head, whose words can be asked for."""
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in getattr(config, "architectures", None) or [])


def can_hold_question(tokenizer: Any) -> bool:
    """Whether the tokenizer keeps what it puts around a text in its file: those written in Python have it in their code."""
    return getattr(tokenizer, "backend_tokenizer", None) is not None


def append_question(tokenizer: Any, prompt: LabelPrompt) -> None:
    """Let the tokenizer put the question after every text, within what truncation leaves; it is saved with the tokenizer.

    What it puts before and between texts stays, what would end them goes: a model reads on from text to question. All of it is
    one template, since `tokenizers` fails at a chain of them where one has put something around a text.
    """
    from tokenizers.processors import TemplateProcessing

    ids = tokenizer(prompt.question, add_special_tokens=False)["input_ids"]
    put: dict[str, dict[str, Any]] = {
        QUESTION: {"id": QUESTION, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
    }
    backend = tokenizer.backend_tokenizer
    single = _template(backend, backend.encode(prompt.question), put)
    pair = _template(backend, backend.encode(prompt.question, prompt.question), put)
    backend.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=list(put.values()))


def _template(backend: Any, encoding: Any, put: dict[str, dict[str, Any]]) -> list[str]:
    """The template that made an encoding, up to the end of its last text, and then the question; `put` gains its other tokens.

    Whatever puts tokens around texts (a template, BERT's or RoBERTa's way, a chain of them), this is what comes out of it.
    """
    pieces: list[str] = []
    for number, text, kind in zip(encoding.ids, encoding.sequence_ids, encoding.type_ids, strict=True):
        piece = f"#{number}:{kind}" if text is None else f"${'AB'[text]}:{kind}"
        if text is None:
            put[f"#{number}"] = {"id": f"#{number}", "ids": [number], "tokens": [backend.id_to_token(number)]}
        if text is None or piece not in pieces:
            pieces.append(piece)
    while pieces and not pieces[-1].startswith("$"):
        pieces.pop()
    return [*pieces, f"{QUESTION}:{pieces[-1].rpartition(':')[2]}"]


def init_head_from_words(head: Any, rows: Any) -> None:
    """Set the classification layer (labels, width) to `rows`, the language model's own for the labels' words."""
    import torch

    with torch.no_grad():
        head.weight.copy_(rows)
        if head.bias is not None:
            head.bias.zero_()


def label_word_rows(model: Any, folder: Path, tokenizer: Any, prompt: LabelPrompt) -> Any:
    """For each label the mean of the output embeddings of its word's tokens, (labels, width) float32."""
    import torch

    tokens = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in prompt.words]
    return torch.stack([_output_rows(model, folder, own).float().mean(0) for own in tokens])


def _output_rows(model: Any, folder: Path, ids: list[int]) -> Any:
    """Rows of the output embeddings: the checkpoint's own, or the input's where they are tied."""
    import torch
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            if "lm_head.weight" in set(weights.keys()):
                table = weights.get_slice("lm_head.weight")
                return torch.cat([table[row : row + 1] for row in ids])
    return model.get_input_embeddings().weight.detach()[ids]
