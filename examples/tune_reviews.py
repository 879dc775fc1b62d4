"""Fine-tune on the bundled film reviews within a small budget and print the accuracy on rows kept apart.

python examples/tune_reviews.py runs/reviews
"""

from __future__ import annotations

import sys

from proxtune import Budget, UserError, tune
from proxtune.samples import movies_path
from proxtune.storage.events import Event, Validation


def main(folder: str) -> None:
    """Train into `folder`, which must not exist yet."""
    budget = Budget(memory="700MB", time="5min")
    run = tune(movies_path("train"), out=folder, budget=budget, listen=show)

    result = run.result
    peak = max(result["measured"]["memory_bytes"].values())
    print(f"plan: {result['plan']['name']}")
    print(f"peak memory: {peak / 1e6:.0f} MB, time: {result['measured']['seconds']:.0f} s")

    found = run.evaluate(movies_path("test"))
    print(f"test accuracy: {found['metrics']['accuracy']:.3f}")
    print(f"TF-IDF and logistic regression: {found['baselines']['tfidf']['accuracy']:.3f}")
    print(f"label of a new text: {run.predict(['a dull, lifeless film'])[0]}")


def show(event: Event) -> None:
    """Say how the validation rows are doing while training is on."""
    if isinstance(event, Validation):
        print(f"step {event.step}: validation accuracy {event.metrics['accuracy']:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    try:
        main(sys.argv[1])
    except UserError as error:  # a budget that nothing fits, a folder that exists, …
        sys.exit(str(error))
