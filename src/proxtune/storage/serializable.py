"""Values that cross a process or a file as JSON: frozen dataclasses, each with the keys that it always had there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Serializable:
    """Base of such values. Subclasses say where their JSON is not simply their fields by name."""

    _KEYS: ClassVar[Mapping[str, str]] = {}  # field → key, where they differ
    _OPTIONAL: ClassVar[frozenset[str]] = frozenset()  # fields that are left out where they are None
    _SPREAD: ClassVar[str | None] = None  # a field of a mapping whose entries stand beside the other keys

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {}
        for own in fields(self):
            value = getattr(self, own.name)
            if value is None and own.name in self._OPTIONAL:
                continue
            if own.name == self._SPREAD:
                found |= value
            else:
                found[self._KEYS.get(own.name, own.name)] = _plain(value)
        return found

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`, lists as tuples. Raises TypeError where a field is missing or unknown."""
        given = dict(raw)
        values: dict[str, Any] = {}
        for own in fields(cls):
            key = cls._KEYS.get(own.name, own.name)
            if own.name != cls._SPREAD and key in given:
                value = given.pop(key)
                values[own.name] = tuple(value) if isinstance(value, list) else value
        if cls._SPREAD is not None:
            values[cls._SPREAD] = given
        elif given:
            raise TypeError(f"{cls.__name__} has no {', '.join(sorted(given))}")
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Serializable):
        return value.as_dict()
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
