"""The methods by name. A file for each, a line here; other packages add theirs by the entry point `proxtune.methods`."""

from __future__ import annotations

from proxtune.config.plugins import Registry
from proxtune.errors import UserError
from proxtune.methods.base import Method

AUTO = "auto"  # the planner chooses
METHODS: Registry[Method] = Registry(
    kind="method",
    group="proxtune.methods",
    built_in={
        "probe": "proxtune.methods.probe:METHOD",
        "nno": "proxtune.methods.nno:METHOD",
        "lora": "proxtune.methods.lora:METHOD",
        "layers": "proxtune.methods.layers:METHOD",
        "full": "proxtune.methods.full:METHOD",
    },
)


def method_names() -> tuple[str, ...]:
    """The names there are, from those that take the least memory to those that take the most."""
    return METHODS.names()


def find_method(name: str) -> Method:
    """The method of that name. Raises UserError for one that is unknown or cannot be loaded."""
    return METHODS.find(name)


def all_methods() -> dict[str, Method]:
    """Every method by name."""
    return METHODS.all()


def methods_for(wanted: str) -> list[Method]:
    """The methods that `--method` leaves to choose from: one, or all for "auto". Raises UserError as `find_method` does."""
    if wanted == AUTO:
        return list(all_methods().values())
    if wanted not in method_names():
        raise UserError(f"unknown method {wanted!r}; choose one of {', '.join((AUTO, *method_names()))}")
    return [find_method(wanted)]
