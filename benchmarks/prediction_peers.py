"""What others would have said of a plan's peak, for `prediction.py`: a process of its own for each plan.

    python benchmarks/prediction_peers.py MODEL PLAN.json

The last line is a JSON object of bytes:

- `estimate`: what `accelerate estimate-memory` prints for training with Adam. The command itself asks the hub for the model;
  here its own functions get the same model from a folder. It looks at nothing but the weights.
- `tracker`: the peak of torch's MemTracker over two steps of the plan under FakeTensorMode, at its micro-batch of the longest
  rows; null, with `tracker_said`, where it fails, as that of torch 2.13 does wherever a weight is frozen, and with Adafactor.

Neither counts what the process holds beside tensors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    model, plan = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    said: dict[str, Any] = {"estimate": estimated(model), "tracker": None}
    try:
        said["tracker"] = tracked(model, plan)
    except RuntimeError as error:
        said["tracker_said"] = str(error).splitlines()[0]
    print(json.dumps(said))


def estimated(folder: Path) -> int:
    """Weights, gradients and Adam's two moments, in fp32."""
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModel

    with init_empty_weights():
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    total_bytes, _ = calculate_maximum_sizes(model)
    return int(max(estimate_training_usage(total_bytes, "float32").values()))


def tracked(folder: Path, plan: dict[str, Any]) -> int:
    """The most bytes of tensors at a time."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(folder)
    learns = plan["method"] != "probe"
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        if plan["checkpointing"]:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model = _prepared(model, plan)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        kinds = {"adamw": torch.optim.AdamW, "adafactor": torch.optim.Adafactor}
        optimizer = kinds[plan["optimizer"]](trained) if learns else None
        shape = (plan["micro_batch"], plan["max_length"])
        batch = {
            "input_ids": torch.zeros(shape, dtype=torch.long),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "labels": torch.zeros(shape[0], dtype=torch.long),
        }
        tracker = MemTracker()
        tracker.track_external(model, *([optimizer] if optimizer else []), *batch.values())
        model.train(learns)
        with tracker, torch.set_grad_enabled(learns):
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16, enabled=plan["dtype"] == "bf16"):
                    loss = model(**batch).loss
                if optimizer is not None:
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                tracker.reset_mod_stats()
        peak = tracker.get_tracker_snapshot("peak")
    return int(sum(held["Total"] for held in peak.values()))


def _prepared(model: Any, plan: dict[str, Any]) -> Any:
    """What learns: adapters, the last blocks and what follows them, everything, or nothing."""
    if plan["method"] == "lora":
        import peft

        wanted = peft.LoraConfig(task_type="SEQ_CLS", r=plan["rank"], target_modules="all-linear")
        return peft.get_peft_model(model, wanted)
    if plan["method"] == "layers":
        last = {id(w) for block in model.base_model.encoder.layer[-plan["last_layers"] :] for w in block.parameters()}
        after = {id(w) for name, w in model.named_parameters() if "pooler" in name or "classifier" in name}
        for weight in model.parameters():
            weight.requires_grad_(id(weight) in last | after)
    elif plan["method"] == "probe":
        model.requires_grad_(False)
    return model


if __name__ == "__main__":
    main()
