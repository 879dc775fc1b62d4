"""What people use today to fine-tune, as its documentation has it: a process of its own for each run of `survival.py`.

    python benchmarks/peers.py WAY MODEL TASK TRAIN OUT --seconds 90 --seed 0

Learns until the seconds since the process began are nearly over, and saves a plain folder of transformers into OUT. The last
line is a JSON object with the steps made and the rows at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGAN = time.time()  # the imports above take milliseconds
SAVING_SECONDS = 8  # kept for the model to be saved
LONGEST, BATCH, FULL_RATE, LORA_RATE = 512, 8, 5e-5, 2e-4
INSTRUCTION = "Translate from English to French:"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("way", choices=WAYS)
    words.add_argument("model")
    words.add_argument("task", choices=("classify", "translate"))
    words.add_argument("train", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--seconds", type=float, default=90)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    import transformers

    transformers.set_seed(asked.seed)
    found = WAYS[asked.way](asked)
    print(json.dumps(found))


def trainer(asked: Any) -> dict[str, Any]:
    """The Trainer of transformers on all weights, with `auto_find_batch_size`."""
    return _trained(asked, *_loaded(asked))


def trainer_lora(asked: Any) -> dict[str, Any]:
    """The same with peft's adapters of rank 16 on every linear layer; a decoder's weights held in bf16."""
    model, tokenizer = _loaded(asked)
    return _trained(asked, _adapted(asked, model), tokenizer, rate=LORA_RATE)


def trainer_lora_checkpointing(asked: Any) -> dict[str, Any]:
    """The same, activations computed again in the backward pass."""
    model, tokenizer = _loaded(asked)
    model.enable_input_require_grads()
    return _trained(asked, _adapted(asked, model), tokenizer, rate=LORA_RATE, gradient_checkpointing=True)


def accelerate(asked: Any) -> dict[str, Any]:
    """A loop as accelerate's documentation has it, around `find_executable_batch_size`, on all weights."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import find_executable_batch_size

    accelerator = Accelerator(cpu=True)

    @find_executable_batch_size(starting_batch_size=32)
    def learn(batch_size: int) -> dict[str, Any]:
        accelerator.free_memory()
        model, tokenizer = _loaded(asked)
        loader = torch.utils.data.DataLoader(
            _examples(asked, tokenizer), batch_size, shuffle=True, collate_fn=_collator(asked, tokenizer)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=FULL_RATE)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        model.train()
        steps = 0
        while True:
            for batch in loader:
                accelerator.backward(model(**batch).loss)
                optimizer.step()
                optimizer.zero_grad()
                steps += 1
                if _is_over(asked):
                    _save(asked, accelerator.unwrap_model(model), tokenizer)
                    return {"steps": steps, "batch": batch_size}

    return dict(learn())


WAYS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "trainer": trainer,
    "trainer-lora": trainer_lora,
    "trainer-lora-checkpointing": trainer_lora_checkpointing,
    "accelerate": accelerate,
}


def _is_over(asked: Any) -> bool:
    return time.time() - BEGAN > asked.seconds - SAVING_SECONDS


def _trained(asked: Any, model: Any, tokenizer: Any, rate: float = FULL_RATE, **more: Any) -> dict[str, Any]:
    import transformers

    class Clock(transformers.TrainerCallback):
        """Stops where the seconds are over."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
            control.should_training_stop = _is_over(asked)
            return control

    arguments = transformers.TrainingArguments(
        output_dir=str(asked.out / "trainer"), per_device_train_batch_size=BATCH, auto_find_batch_size=True, learning_rate=rate,
        lr_scheduler_type="constant", num_train_epochs=1000, seed=asked.seed, use_cpu=True, save_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False, **more,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=_examples(asked, tokenizer), data_collator=_collator(asked, tokenizer),
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    _save(asked, model, tokenizer)
    return {"steps": trainer.state.global_step, "batch": trainer.state.train_batch_size}


def _save(asked: Any, model: Any, tokenizer: Any) -> None:
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.save_pretrained(asked.out)
    tokenizer.save_pretrained(asked.out)


def _loaded(asked: Any) -> tuple[Any, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    if asked.task == "classify":
        load, more = transformers.AutoModelForSequenceClassification, {"num_labels": len(_labels(asked))}
    else:
        load, more = transformers.AutoModelForCausalLM, {"dtype": "bfloat16" if "lora" in asked.way else "float32"}
    return load.from_pretrained(asked.model, **more), tokenizer


def _adapted(asked: Any, model: Any) -> Any:
    import peft

    kind = "SEQ_CLS" if asked.task == "classify" else "CAUSAL_LM"
    return peft.get_peft_model(
        model, peft.LoraConfig(task_type=kind, r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV or JSONL file."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file if line.strip()]


def prompt_of(tokenizer: Any, source: str) -> list[int]:
    """What a chat model is asked, as numbers."""
    turns = [{"role": "user", "content": f"{INSTRUCTION}\n\n{source}"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _labels(asked: Any) -> list[str]:
    return sorted({row["label"] for row in rows_of(asked.train)})


def _examples(asked: Any, tokenizer: Any) -> list[dict[str, Any]]:
    rows = rows_of(asked.train)
    if asked.task == "classify":
        names = _labels(asked)
        ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=LONGEST)["input_ids"]
        return [{"input_ids": own, "labels": names.index(row["label"])} for own, row in zip(ids, rows, strict=True)]
    made = []
    for row in rows:
        prompt = prompt_of(tokenizer, row["source"])
        answer = [*tokenizer(row["target"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        made.append(
            {
                "input_ids": (prompt + answer)[:LONGEST],
                "attention_mask": [1] * min(LONGEST, len(prompt) + len(answer)),
                "labels": ([-100] * len(prompt) + answer)[:LONGEST],
            }
        )
    return made


def _collator(asked: Any, tokenizer: Any) -> Any:
    import transformers

    if asked.task == "classify":
        return transformers.DataCollatorWithPadding(tokenizer)
    return transformers.DataCollatorForSeq2Seq(tokenizer)


if __name__ == "__main__":
    main()
