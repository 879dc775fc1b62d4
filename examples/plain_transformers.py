"""Use a trained model with transformers alone; proxtune need not be installed.

python examples/plain_transformers.py runs/reviews "a dull, lifeless film" "a joy from start to end"
"""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import pipeline


def main(folder: str, texts: list[str]) -> None:
    """Label `texts` with the model in the run folder `folder`."""
    model = Path(folder) / "model"
    if not (model / "config.json").is_file():
        sys.exit(f"{folder} has no model/config.json; give the folder that `proxtune train --out` made")
    classify = pipeline("text-classification", model=str(model))
    for text, answer in zip(texts, classify(texts, truncation=True), strict=True):
        print(f"{answer['label']}\t{answer['score']:.3f}\t{text}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} RUN [TEXT ...]")
    main(sys.argv[1], sys.argv[2:] or ["a dull, lifeless film", "a joy from start to end"])
