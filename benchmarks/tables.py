"""make bench-tables: docs/benchmarks.md, made from the newest record of each benchmark.

No figure on that page is written by hand: run a benchmark, then this.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from harness import HERE

PAGE = HERE.parent / "docs" / "benchmarks.md"
# What each is about, in the order of the page; records without a line here are not on it.
RECORDS = {
    "main-job-outer": "The budgets that the README names, each as a user types it, in a control group besides.",
    "survival": "Who finishes inside a memory limit, and with what: Trainer, peft, accelerate and LitGPT beside ours.",
    "time-to-accuracy": "Seconds to a fixed accuracy, beside the Trainer with its defaults and tuned.",
    "race": "What `auto` comes to beside each method alone, in the same limits.",
    "streaming": "A model larger than the memory: steps with its weights held and streamed, and a whole run.",
    "overhead": "What a run takes beside its training.",
    "least": "The least memory each method is let run in, beside the least it truly runs in.",
    "prediction": "Promised against measured memory, plan by plan, where texts are classified.",
    "text-prediction": "The same where texts are written.",
    "family-prediction": "The same for one model of each family.",
    "text-speed": "Tokens trained a second where texts are written, beside the Trainer.",
    "text-speed-gpu": "The same on a GPU.",
    "decoding": "Tokens answered a second, beside `model.generate`.",
    "architectures": "Every text architecture, tiny and random: trained, saved, held against plain transformers.",
    "architectures-rotated": "The same of a later commit, and of more architectures: one tokenizer for each, in turn.",
    "gpu": "Budgets of a GPU's memory, promised, measured and seen from outside.",
    "size": "Accuracy by the bytes of the model, beside quantization after training.",
    "neighbours": "The speed of looking at neighbouring points, beside inference and MeZO.",
    "nno": "What is learned for each sequence evaluated, without gradients.",
    "archive": "Whether points seen before help.",
    "kills": "SIGKILL at random moments of a run, then `resume`.",
    "durability-tiny": "What snapshots and journal cost.",
    "fuzz": "Damaged files of every kind: read, or refused in a sentence, in time and in memory.",
}
_HEAD = """# Benchmarks

Made by `make bench-tables` from the records in [benchmarks/](../benchmarks); each record has its machine and versions, and
`make bench-NAME` makes a new one. Losses are in the tables too. What is said to be "ours" is proxtune.
"""


def main() -> None:
    PAGE.write_text(page(HERE), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")


def page(folder: Path) -> str:
    """The page, of the records in a folder."""
    parts = [_HEAD]
    for name, about in RECORDS.items():
        record = newest(folder, name)
        if record is None:
            continue
        title, _, body = record.read_text(encoding="utf-8").partition("\n")
        body = re.sub(r"^#", "##", body.strip(), flags=re.MULTILINE)
        body = body.replace("](", "](../benchmarks/") if "![" in body else body
        parts.append(f"## {title.lstrip('# ')}\n\n{about} [`{record.name}`](../benchmarks/{record.name})\n\n{body}\n")
    return "\n".join(parts)


def newest(folder: Path, name: str) -> Path | None:
    """The newest record of a benchmark: NAME-DATE.md."""
    dated = re.compile(rf"{re.escape(name)}-\d{{4}}-\d\d-\d\d\.md")
    return max((path for path in folder.glob(f"{name}-*.md") if dated.fullmatch(path.name)), default=None)


if __name__ == "__main__":
    main()
