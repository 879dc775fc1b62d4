"""Import torch and transformers without what no plan of ours uses; imports are part of the budget.

Measured with torch 2.13 and transformers 5.23: a BERT classifier's imports take 451 MB, of which scipy (object-detection
losses), torch's compiler with sympy (decorators that say "do not compile") and DTensor (sharding) are 120 MB and half
of the start-up time. transformers works without scipy, scikit-learn and accelerate, and torch is built without
`distributed` on some platforms: here they are told so. The compiler and the module of symbolic shapes (which brings sympy,
36 MB and a second, at the first model that is loaded) are replaced by stand-ins that answer what is asked all the time and
bring in the real ones when anything else is asked of them.
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

_ABSENT = frozenset(
    {"scipy", "sklearn", "accelerate", "pandas", "torchvision", "PIL", "librosa", "datasets", "torchao"}
)
_COMPILER, _SHAPES = "torch._dynamo", "torch.fx.experimental.symbolic_shapes"


def import_lean() -> None:
    """Import torch and transformers leanly into this process; a second call does nothing. Call before importing either."""
    if "transformers" in sys.modules:
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads and one arena of the heap do not go together
    os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
    # On a GPU: what is freed serves other shapes.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import torch
    import torch.distributed

    if _COMPILER not in sys.modules:
        _stub_compiler(torch)
    if _SHAPES not in sys.modules:
        _stub_symbolic_shapes()
    _draw_nothing_on_meta(torch)
    with _hidden_packages(_ABSENT), _without(torch.distributed):
        import transformers
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

        _ = (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def import_peft() -> Any:
    """peft, told like transformers that nothing is distributed here."""
    import torch.distributed

    with _hidden_packages(_ABSENT - {"accelerate"}), _without(torch.distributed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft
    return peft


@contextmanager
def without_sharding() -> Iterator[None]:
    """DTensor cannot be imported in here: huggingface_hub asks for it (75 MB, two seconds) at each save and does without."""
    name = "torch.distributed.tensor"
    if name in sys.modules:
        yield
        return
    absent: Any = None  # the import system's own word for "not to be had"
    sys.modules[name] = absent
    try:
        yield
    finally:
        del sys.modules[name]


class _CompilerSettings:
    """The compiler's settings. Checkpointing asks for one of them at each block, which is answered; for any other the compiler
    comes in (80 MB): not in the midst of a step that memory was refused for.
    """

    error_on_nested_fx_trace = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_restore_real_module(_COMPILER).config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_restore_real_module(_COMPILER).config, name, value)


class _StandIn(types.ModuleType):
    """A module that answers what is asked of it all the time, and gives way to the real one for anything else."""

    def __init__(self, name: str, answers: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(answers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_restore_real_module(self.__name__), name)


def _restore_real_module(name: str) -> types.ModuleType:
    if isinstance(sys.modules.get(name), _StandIn):
        del sys.modules[name]
        package, _, last = name.rpartition(".")
        if isinstance(vars(sys.modules[package]).get(last), _StandIn):
            delattr(sys.modules[package], last)
    return importlib.import_module(name)


def _stub_compiler(torch: Any) -> None:
    """The compiler's decorators, which say "do not compile": nothing is compiled here."""
    compiler = _StandIn(
        _COMPILER,
        {
            "graph_break": lambda *args, **kwargs: None,
            "is_compiling": lambda: False,
            "config": _CompilerSettings(),
            "disable": lambda fn=None, recursive=True, **kwargs: fn if fn is not None else (lambda f: f),
            **dict.fromkeys(
                ("assume_constant_result", "allow_in_graph", "forbid_in_graph", "disallow_in_graph"), lambda fn: fn
            ),
        },
    )
    compiler.__path__ = [f"{torch.__path__[0]}/_dynamo"]  # its plain submodules stay importable
    sys.modules[_COMPILER] = torch._dynamo = compiler


def _stub_symbolic_shapes() -> None:
    """Questions about shapes, which are plain numbers here: tensors without data (transformers builds models so) ask them."""

    def plain(answer: Callable[..., Any], name: str) -> Callable[..., Any]:
        def ask(*values: Any) -> Any:
            if all(isinstance(value, (bool, int, tuple, list)) for value in values):
                return answer(*values)
            return getattr(_restore_real_module(_SHAPES), name)(*values)

        return ask

    predicates = ("expect_true", "guard_or_false", "guard_or_true", "guard_size_oblivious", "statically_known_true")
    answers: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(predicates, bool),
        "sym_eq": lambda one, other: one == other,
        "sym_or": lambda *values: any(values),
        "sym_and": lambda *values: all(values),
        "is_nested_int": lambda value: False,
    }
    sys.modules[_SHAPES] = _StandIn(_SHAPES, {name: plain(answer, name) for name, answer in answers.items()})


def _draw_nothing_on_meta(torch: Any) -> None:
    """Let the initialisation of a tensor without data be nothing; torch would think about its shape at length."""
    draw = torch.nn.init._no_grad_normal_

    def draw_if_real(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return tensor if tensor.is_meta else draw(tensor, *args, **kwargs)

    torch.nn.init._no_grad_normal_ = draw_if_real


@contextmanager
def _hidden_packages(packages: frozenset[str]) -> Iterator[None]:
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
