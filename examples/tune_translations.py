"""Fine-tune on the bundled messages in English and French within a small budget, and score rows kept apart.

python examples/tune_translations.py runs/en-fr
"""

from __future__ import annotations

import sys

from proxtune import Budget, UserError, tune
from proxtune.samples import translations_path
from proxtune.storage.events import Event, Validation

MODEL = "smollm2"  # or a folder, or a hub id


def main(folder: str) -> None:
    """Train into `folder`, which must not exist yet."""
    budget = Budget(memory="2GB", time="10min")
    run = tune(translations_path("train"), task="translate", model=MODEL, out=folder, budget=budget, listen=show)
    print(f"plan: {run.result['plan']['name']}")
    print(run.result["verdict"])

    found = run.evaluate(translations_path("test"))
    for name, scores in {"this model": found["metrics"], **found["baselines"]}.items():
        print(f"chrF on test rows, {name}: {scores['chrf']:.1f}")
    print(f"a new text: {run.predict(['Please enter your password again.'])[0]}")


def show(event: Event) -> None:
    """Say how likely the right answers are while training is on."""
    if isinstance(event, Validation):
        print(f"step {event.step}: validation loss {event.metrics['loss']:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    try:
        main(sys.argv[1])
    except UserError as error:  # a budget that nothing fits, a folder that exists, …
        sys.exit(str(error))
