"""What plain transformers answers with a saved model: labels, or what it generates.

    plain_transformers.py MODEL ASKED      ASKED is a JSON file: texts, max_length; to generate: form, before, after, new_tokens

Nothing of proxtune is imported: this is what someone has who was sent the model folder alone. Prints a JSON list.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    print(json.dumps(answers(folder, asked)))


def answers(folder: str, asked: dict[str, Any]) -> list[str]:
    """A label or an answer for each text."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        if "form" in asked:
            return _generated(folder, config, tokenizer, asked)
        if hasattr(config, "label_token_ids"):
            return _words(folder, config, tokenizer, asked)
        return _labels(folder, tokenizer, asked)


def _labels(folder: str, tokenizer: Any, asked: dict[str, Any]) -> list[str]:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = [_row(tokenizer, text, asked) for text in asked["texts"]]
    return [model.config.id2label[int(model(**row).logits.float().argmax())] for row in rows]


def _words(folder: str, config: Any, tokenizer: Any, asked: dict[str, Any]) -> list[str]:
    """As the model card has it: the likeliest of the labels' tokens comes next."""
    model = _language_model(folder, config)
    found = []
    for text in asked["texts"]:
        made = model.generate(
            **_row(tokenizer, text, asked), max_new_tokens=1, output_logits=True, return_dict_in_generate=True
        )
        found.append(config.id2label[int(made.logits[0][0, config.label_token_ids].float().argmax())])
    return found


def _generated(folder: str, config: Any, tokenizer: Any, asked: dict[str, Any]) -> list[str]:
    model = _language_model(folder, config)
    found = []
    for text in asked["texts"]:
        row = tokenizer([asked["before"] + text + asked["after"]], return_tensors="pt")
        row.pop("token_type_ids", None)
        made = model.generate(**row, max_new_tokens=asked["new_tokens"])[0]
        begins = 0 if config.is_encoder_decoder else row["input_ids"].shape[1]
        found.append(tokenizer.decode(made[begins:], skip_special_tokens=True).strip())
    return found


def _language_model(folder: str, config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return kind.from_pretrained(folder).eval()


def _row(tokenizer: Any, text: str, asked: dict[str, Any]) -> Any:
    return tokenizer([text], truncation=True, max_length=asked["max_length"], return_tensors="pt")


if __name__ == "__main__":
    main()
