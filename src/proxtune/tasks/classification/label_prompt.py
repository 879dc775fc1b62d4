"""A prompt for decoders: after the text comes a question, and a label is what the model would say next.

The tokenizer itself adds the question to every text, so that users of the saved model need not know of it. The
classification layer begins as the language model's own rows for the labels' words: it knows something before it has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxtune.models.post_processor import end_texts_with

_MOST_CHOICES = 12  # labels that the question lists
_SHORT = "\nLabel:"  # one that lists none


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


def fitting_prompt(labels: list[str], tokenizer: Any, allowed: int) -> tuple[LabelPrompt | None, tuple[str, ...]]:
    """The question that leaves the text at least half of the `allowed` tokens, or None; with what to say of a shorter one."""
    whole = prompt_for(labels)
    for prompt in (whole, LabelPrompt(_SHORT, whole.words)):
        taken = len(tokenizer(prompt.question, add_special_tokens=False)["input_ids"])
        if 2 * taken <= allowed:
            note = f"rows of {allowed} tokens are too short for a question that lists the labels"
            return prompt, () if prompt == whole else (note,)
    return None, (f"no question follows the texts: rows of {allowed} tokens are too short for one",)


def has_language_head(config: Any) -> bool:
    """Whether a model's checkpoint is a decoder with a language-model head, whose words can be asked for.

    XLM and FlauBERT have heads of that name, and look ahead unless their config says that they are causal.
    """
    if getattr(config, "causal", None) is False:
        return False
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in getattr(config, "architectures", None) or [])


def append_question(tokenizer: Any, prompt: LabelPrompt) -> None:
    """Let the tokenizer put the question after every text, and nothing that ends it: a model reads on from text to question."""
    end_texts_with(tokenizer, tokenizer(prompt.question, add_special_tokens=False)["input_ids"], prompt.question)


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
