"""What a model card needs of a kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CardParts:
    """The parts of a model card that depend on the kind of task; each function takes a result.

    `pipeline_tag` and `kind` are what hubs call the way the model is run and its task, `metrics` the scores in the form of a
    hub's index. `opening`, `usage`, `results` and `limits` are Markdown.
    """

    pipeline_tag: Callable[[Mapping[str, Any]], str]
    kind: Callable[[Mapping[str, Any]], str]
    metrics: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    opening: Callable[[Mapping[str, Any]], str]
    usage: Callable[[Mapping[str, Any]], str]
    results: Callable[[Mapping[str, Any]], str]
    limits: Callable[[Mapping[str, Any]], str]
