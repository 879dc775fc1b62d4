"""rouge-score, without what it does not use of NLTK: imports are part of the budget.

rouge-score 0.1.2 uses NLTK 3.10's Porter stemmer, a file that needs hardly anything. But importing it runs NLTK's packages, which
bring all of NLTK and with it scikit-learn, scipy and pandas: 198 MB and 1.2 s. So while rouge-score is imported, bare packages
stand in for NLTK's, and only the files that are asked for run. That is 2 MB and 0.1 s beside torch.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def import_rouge() -> Any:
    """The module `rouge_score.rouge_scorer`. Raises ImportError where it is not installed."""
    try:
        with _bare_nltk():
            from rouge_score import rouge_scorer
    except ImportError:  # another version of NLTK may want more of itself
        from rouge_score import rouge_scorer

    return rouge_scorer


@contextmanager
def _bare_nltk() -> Iterator[None]:
    if any(name in sys.modules for name in ("nltk", "rouge_score.rouge_scorer")):
        yield  # all of NLTK is here already, or none of it will be asked for
        return
    found = importlib.util.find_spec("nltk")  # runs nothing of it
    if found is None or found.origin is None:
        raise ImportError("no nltk")
    folder = Path(found.origin).parent
    for name, place in (("nltk", folder), ("nltk.stem", folder / "stem")):
        package = types.ModuleType(name)
        package.__path__ = [str(place)]
        sys.modules[name] = package
    try:
        yield
    finally:  # code that imports NLTK later gets all of it
        for name in [name for name in sys.modules if name.split(".")[0] == "nltk"]:
            del sys.modules[name]
