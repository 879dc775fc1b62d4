"""make bench-neighbours: sequences a second at neighbours, beside plain inference of the same sequences and beside MeZO.

SmolLM2-135M, prompts from the bundled movie reviews, the linear weights learning of all blocks, or of the last twenty as the
method `nno` has it: the rows pass through the ten before them once. In each round the three follow one another on the same
rows; the ratio of a round is what counts, the median over rounds is told. Plain inference passes every sequence through the
whole model. MeZO (Malladi et al., 2023) as published: weights perturbed in place from a seed, two forward passes, restored,
updated. A neighbour step is all of NNO's: directions, forward pass, losses, update. Peak memory is the kernel's own, of a step
and of plain inference.
"""

from __future__ import annotations

import csv
import itertools
import statistics
import sys
import time
from contextlib import nullcontext
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import table, write_record
from proxtune.memory import process
from proxtune.memory.allocator import set_allocator, trim
from proxtune.models.prefix_cache import hidden_at_block, starting_from_hidden
from proxtune.models.source import find_model
from proxtune.optim.nno import NNO
from proxtune.samples import movies_path

ROUNDS, NEIGHBOURS, ROWS, LAST = 5, 14, 16, (30, 20)  # with θ itself and the point before, 16 parts: 256 sequences
PARTS = NEIGHBOURS + 2


def main() -> None:
    rows, headline = [], {}
    for dtype, last in itertools.product((torch.bfloat16, torch.float32), LAST):
        name = f"{str(dtype).removeprefix('torch.')}, {last} blocks"
        model, batch = _model(dtype, last), _batch()
        found = [_round(model, batch) for _ in range(ROUNDS + 1)][1:]  # the first warms up
        seconds = {key: [one[key] for one in found] for key in found[0]}
        ratio = [one["plain"] / one["neighbours"] for one in found]
        mezo = [one["plain"] / one["mezo"] for one in found]
        memory = _peaks(model, batch)
        count = PARTS * ROWS
        rows.append(
            [name, *(f"{count / statistics.median(seconds[key]):.1f}" for key in ("plain", "neighbours", "mezo")),
             f"{statistics.median(ratio):.3f} ({min(ratio):.3f} to {max(ratio):.3f})",
             f"{statistics.median(mezo):.3f} ({min(mezo):.3f} to {max(mezo):.3f})",
             *(f"{memory[key] / 1e6:.0f}" for key in ("plain", "step")), f"{memory['step'] / memory['plain']:.3f}"]
        )  # fmt: skip
        headline[name] = {
            "ratio": round(statistics.median(ratio), 3),
            "mezo_ratio": round(statistics.median(mezo), 3),
            "memory_ratio": round(memory["step"] / memory["plain"], 3),
        }
        sys.stderr.write(f"{headline}\n")
    head = ["held in, learning", "plain, sequences/s", "neighbours", "MeZO", "neighbours / plain", "MeZO / plain",
            "peak MB, plain", "peak MB, step", "ratio"]  # fmt: skip
    said = f"{PARTS} points of {ROWS} rows of {_batch()['ids'].shape[1]} tokens, {torch.get_num_threads()} threads, medians of "
    said += f"{ROUNDS} rounds.\n\n"
    write_record("neighbours", "Neighbours at the speed of inference", said + table(head, rows), headline)


def _model(dtype: torch.dtype, last: int) -> Any:
    folder = str(find_model("smollm2").folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True).eval().requires_grad_(False)
    for name, weight in model.model.layers[-last:].named_parameters():
        weight.requires_grad_("norm" not in name)
    return model


def _batch() -> dict[str, torch.Tensor]:
    """Rows of like length, padded on the right: what is read is the last token that is not padding."""
    tokenizer = AutoTokenizer.from_pretrained(str(find_model("smollm2").folder))
    with movies_path("train").open(encoding="utf-8", newline="") as file:
        prompts = [f"Review: {row['text'].strip()}\nSentiment:" for row in csv.DictReader(file)]
    tokens = sorted((tokenizer(text)["input_ids"] for text in prompts[:400]), key=len)[200 : 200 + ROWS]
    length = -(-max(map(len, tokens)) // 8) * 8
    ids = torch.zeros(ROWS, length, dtype=torch.long)
    for row, own in zip(ids, tokens, strict=True):
        row[: len(own)] = torch.tensor(own)
    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (" negative", " positive")]
    last = torch.tensor([len(own) - 1 for own in tokens])
    return {"ids": ids, "last": last, "words": torch.tensor(words).repeat(ROWS, 1), "labels": torch.arange(ROWS) % 2}


def _forward(model: Any) -> Any:
    """Logits of the words (rows, 2); of what comes to the first block that learns, where the batch has it."""
    blocks = model.model.layers

    def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        begun = starting_from_hidden(batch["hidden"], blocks, _first(model)) if "hidden" in batch else nullcontext()
        with begun:
            seen = model.model(input_ids=batch["ids"], use_cache=False).last_hidden_state
        seen = seen[torch.arange(len(seen)), batch["last"]].float()  # (rows, width)
        return seen @ model.lm_head.weight[batch["words"][0]].float().T  # (rows, 2)

    return forward


def _first(model: Any) -> int:
    """The first block that learns."""
    return next(i for i, block in enumerate(model.model.layers) if any(p.requires_grad for p in block.parameters()))


def _nno_step(nno: NNO, batch: dict[str, torch.Tensor]) -> None:
    model = nno.model
    with torch.inference_mode():
        blocks = model.model.layers
        hidden = hidden_at_block(blocks, _first(model), lambda: model.model(input_ids=batch["ids"], use_cache=False))
    nno.step(batch | {"hidden": hidden}, _forward(model), _loss)


def _loss(outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs, batch["labels"])


def _repeated(batch: dict[str, torch.Tensor], times: int) -> dict[str, torch.Tensor]:
    return {key: value.repeat(times, *[1] * (value.dim() - 1)) for key, value in batch.items()}


def _round(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    forward, many, half = _forward(model), _repeated(batch, PARTS), _repeated(batch, PARTS // 2)
    nno = NNO(model, neighbours=NEIGHBOURS, spread=1e-3, rate=1e-6)
    _nno_step(nno, batch)  # from the second step on there is a point before
    seconds = {}
    with torch.inference_mode():
        began = time.perf_counter()
        _loss(forward(many), many)
        seconds["plain"] = time.perf_counter() - began
    began = time.perf_counter()
    _nno_step(nno, batch)
    seconds["neighbours"] = time.perf_counter() - began
    began = time.perf_counter()
    _mezo_step(model, forward, half)
    seconds["mezo"] = time.perf_counter() - began
    return seconds


def _mezo_step(
    model: Any, forward: Any, batch: dict[str, torch.Tensor], spread: float = 1e-3, rate: float = 1e-9
) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def move(length: float) -> None:
        torch.manual_seed(7)
        for weight in weights:
            weight.data.add_(torch.randn_like(weight), alpha=length)

    with torch.inference_mode():
        move(spread)
        above = _loss(forward(batch), batch)
        move(-2 * spread)
        below = _loss(forward(batch), batch)
        move(spread)
        move(-rate * float(above - below) / (2 * spread))


def _peaks(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, int]:
    forward, found = _forward(model), {}
    nno = NNO(model, neighbours=NEIGHBOURS, spread=1e-3, rate=1e-6)
    _nno_step(nno, batch)
    for key in ("plain", "step"):
        trim()
        process.reset_peak()
        if key == "plain":
            with torch.inference_mode():
                forward(_repeated(batch, PARTS))
        else:
            _nno_step(nno, batch)
        found[key] = process.peak_bytes()
    return found


if __name__ == "__main__":
    set_allocator("fast")
    main()
