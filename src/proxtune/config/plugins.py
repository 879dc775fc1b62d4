"""Registries: what proxtune has of a kind, by name, and what installed packages add to it by entry points.

Built-in entries are named as "module:attribute" and imported when they are asked for, so that a registry costs no import. A
package adds one with an entry point of the same form, in its own pyproject.toml:

    [project.entry-points."proxtune.methods"]
    bitfit = "my_package.bitfit:METHOD"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from proxtune.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry(Generic[T]):
    """`kind` is what an entry is called in messages ("method"), `group` the entry points' group ("proxtune.methods").

    A name that is built in cannot be taken over by another package.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    def names(self) -> tuple[str, ...]:
        """The names there are: those built in first, in their order, then those of other packages."""
        return (*self.built_in, *(name for name in _added(self.group) if name not in self.built_in))

    def find(self, name: str) -> T:
        """The entry of that name. Raises UserError for an unknown name and for a package whose entry cannot be imported."""
        if name in self.built_in:
            found: T = _imported(self.built_in[name])
            return found
        added = _added(self.group).get(name)
        if added is None:
            raise UserError(f"unknown {self.kind} {name!r}; choose one of {', '.join(self.names())}")
        try:
            loaded: T = added.load()
        except Exception as error:
            package = added.dist.name if added.dist is not None else added.value
            raise UserError(
                f"cannot load {self.kind} {name!r} from package {package} ({type(error).__name__}: {error}); "
                "update or uninstall that package"
            ) from error
        return loaded

    def all(self) -> dict[str, T]:
        """Every entry by name. Raises UserError as `find` does."""
        return {name: self.find(name) for name in self.names()}


@cache
def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _added(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)}
