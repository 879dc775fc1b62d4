"""Import torch and transformers without what no plan of ours uses; imports are part of the budget.

Measured with torch 2.13 and transformers 5.23: a BERT classifier's imports take 451 MB, of which scipy (object-detection
losses), torch's compiler with sympy (decorators that say "do not compile") and DTensor (sharding) are 120 MB and half
of the start-up time. transformers works without scipy, scikit-learn and accelerate, and torch is built without
`distributed` on some platforms: here they are told so. The compiler is replaced by a stand-in that answers the
decorators and brings in the real one when anything else is asked of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_ABSENT = frozenset({"scipy", "sklearn", "accelerate", "pandas", "torchvision", "PIL", "librosa", "datasets"})


def import_lean() -> None:
    """Import torch and transformers leanly into this process; a second call does nothing. Call before importing either."""
    if "transformers" in sys.modules:
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a process that forks (the tracer) must have no threads
    os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import torch
    import torch.distributed

    if "torch._dynamo" not in sys.modules:
        _put_compiler_aside(torch)
    with _told_absent(_ABSENT), _without(torch.distributed):
        import transformers
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

        _ = (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def import_peft() -> Any:
    """peft, told like transformers that nothing is distributed here."""
    import torch.distributed

    with _told_absent(_ABSENT - {"accelerate"}), _without(torch.distributed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft
    return peft


def bring_back_compiler() -> None:
    """Replace the stand-in by torch's own compiler package, for code that needs it (the tracer's FakeTensorMode)."""
    import torch

    if isinstance(sys.modules.get("torch._dynamo"), _CompilerStandIn):
        del sys.modules["torch._dynamo"]
        if isinstance(torch.__dict__.get("_dynamo"), _CompilerStandIn):
            del torch._dynamo


class _CompilerStandIn(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        bring_back_compiler()
        return getattr(importlib.import_module("torch._dynamo"), name)


def _put_compiler_aside(torch: Any) -> None:
    stand_in = _CompilerStandIn("torch._dynamo")
    stand_in.__path__ = [f"{torch.__path__[0]}/_dynamo"]  # its plain submodules stay importable
    answers: dict[str, Callable[..., Any]] = {
        "graph_break": lambda *args, **kwargs: None,
        "is_compiling": lambda: False,
        "disable": lambda fn=None, recursive=True, **kwargs: fn if fn is not None else (lambda f: f),
        **dict.fromkeys(
            ("assume_constant_result", "allow_in_graph", "forbid_in_graph", "disallow_in_graph"), lambda fn: fn
        ),
    }
    for name, answer in answers.items():
        setattr(stand_in, name, answer)
    sys.modules["torch._dynamo"] = stand_in
    torch._dynamo = stand_in


@contextmanager
def _told_absent(packages: frozenset[str]) -> Iterator[None]:
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: (
        None if name.split(".")[0] in packages else find_spec(name, package)
    )
    try:
        yield
    finally:
        importlib.util.find_spec = find_spec


@contextmanager
def _without(distributed: Any) -> Iterator[None]:
    is_available = distributed.is_available
    distributed.is_available = lambda: False
    try:
        yield
    finally:
        distributed.is_available = is_available
