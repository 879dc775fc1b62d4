"""Score a plain folder of transformers on a test file, whoever made it: accuracy in points, or chrF of greedy answers.

python benchmarks/score.py FOLDER TASK TRAIN TEST
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import transformers

from peers import LONGEST, prompt_of, rows_of

_AT_A_TIME, _NEW_TOKENS = 25, 96


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("task", choices=("classify", "translate"))
    words.add_argument("train", type=Path)
    words.add_argument("test", type=Path)
    asked = words.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.folder)
    with torch.inference_mode():
        points = (accuracy if asked.task == "classify" else chrf)(asked, tokenizer)
    print(json.dumps({"points": round(points, 2)}))


def accuracy(asked: Any, tokenizer: Any) -> float:
    """100 × the share of rows whose likeliest class is theirs; classes without a name are in the order of the labels."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(asked.folder).eval()
    names = sorted({row["label"] for row in rows_of(asked.train)})
    rows, right = rows_of(asked.test), 0
    for begin in range(0, len(rows), _AT_A_TIME):
        few = rows[begin : begin + _AT_A_TIME]
        asked_now = tokenizer(
            [row["text"] for row in few], truncation=True, max_length=LONGEST, padding=True, return_tensors="pt"
        )
        for row, best in zip(few, model(**asked_now).logits.argmax(-1).tolist(), strict=True):
            said = model.config.id2label[best]
            right += row["label"] == (names[best] if said.startswith("LABEL_") else said)
    return 100 * right / len(rows)


def chrf(asked: Any, tokenizer: Any) -> float:
    """chrF of the greedy answers to all rows together."""
    import sacrebleu

    model = transformers.AutoModelForCausalLM.from_pretrained(asked.folder, dtype=torch.bfloat16).eval()
    rows = sorted(rows_of(asked.test), key=lambda row: len(row["source"]))
    pad, said = tokenizer.pad_token_id or tokenizer.eos_token_id, []
    for begin in range(0, len(rows), _AT_A_TIME):
        prompts = [prompt_of(tokenizer, row["source"]) for row in rows[begin : begin + _AT_A_TIME]]
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        answers = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=_NEW_TOKENS, do_sample=False, pad_token_id=pad
        )
        said += tokenizer.batch_decode(answers[:, longest:], skip_special_tokens=True)
    return float(sacrebleu.corpus_chrf(said, [[row["target"] for row in rows]]).score)


if __name__ == "__main__":
    main()
