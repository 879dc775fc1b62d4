"""Markdown of a model card: names that reveal no folder of the machine, and text that Markdown and HTML leave as it is."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from proxtune.report.formatting import DASH, part, shorten

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def name_of(result: Mapping[str, Any]) -> str:
    """The model and the method, as the card's title."""
    model = PurePath(str(result.get("model") or "model")).name
    return f"{shorten(model, 60)} · {shorten(result.get('method') or DASH, 30)}"


def base_of(result: Mapping[str, Any]) -> str:
    """What it was fine-tuned from: a hub id, or the last part of a path."""
    source = str(result.get("model_source") or result.get("model") or "a pretrained model")
    return source if HUB_ID.fullmatch(source) else PurePath(source).name


def file_name(result: Mapping[str, Any]) -> str:
    """The name of the file or dataset it was trained on, without its folder."""
    return shorten(PurePath(str(part(result, "data").get("source") or "custom data")).name, 100)


def inline(value: Any, length: int = 120) -> str:
    """Text that Markdown and HTML leave as it is."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(shorten(value, length), quote=False))


def as_code(value: Any) -> str:
    """Text that ends no code span."""
    return shorten(value, 120).replace("`", "'")


def markdown_table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    """A table with its numbers to the right."""
    ruled = [head, tuple("---" if i == 0 else "---:" for i in range(len(head)))]
    body = [tuple(inline(cell) for cell in line) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [*ruled, *body])
