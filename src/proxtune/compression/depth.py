"""Fewer blocks: which weights go, what the others are called then, and the config that says so.

A block maps the residual stream to itself, so a model without some of its blocks is a model of the same kind; training closes the
gap (DistilBERT, Sanh et al. 2019; LayerDrop, Fan et al. 2020).
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

_NUMBERED = re.compile(r"(.*?)\.(\d+)\.")


def blocks_prefix(names: Iterable[str], blocks: int) -> str | None:
    """What the names of the weights of all blocks begin with, before their number ("bert.encoder.layer").

    None where the weights have no such list or two of them (blocks that share weights; an encoder with a decoder): leave these.
    """
    found = defaultdict(set)
    for name in names:
        numbered = _NUMBERED.match(name)
        if numbered:
            found[numbered[1]].add(int(numbered[2]))
    lists = [prefix for prefix, numbers in found.items() if numbers == set(range(blocks))]
    return lists[0] if len(lists) == 1 else None


def kept_names(names: Iterable[str], prefix: str, keep: Sequence[int]) -> dict[str, str] | None:
    """For each weight that stays, its name with all blocks → its name with the blocks `keep` (ascending) only.

    None where a block would come to the place of one that has other weights (ModernBERT's first lacks a norm).
    """
    places = {block: place for place, block in enumerate(keep)}
    renamed, of_block = {}, defaultdict(set)
    for name in names:
        numbered = _NUMBERED.match(name)
        if not numbered or numbered[1] != prefix:
            renamed[name] = name
            continue
        block, weight = int(numbered[2]), name[numbered.end() :]
        of_block[block].add(weight)
        if block in places:
            renamed[name] = f"{prefix}.{places[block]}.{weight}"
    alike = all(of_block[block] == of_block[place] for block, place in places.items())
    return renamed if alike else None


def config_with_blocks(config: Any, keep: Sequence[int]) -> Any:
    """A copy of a model's config for the blocks `keep`, with what it lists for each block, or of blocks by number."""
    blocks, places = config.num_hidden_layers, {block: place for place, block in enumerate(keep)}
    changed = copy.deepcopy(config)
    changed.num_hidden_layers = len(keep)
    for name, value in vars(config).items():
        if "layer" not in name or not isinstance(value, list) or not value:
            continue
        if len(value) == blocks:
            setattr(changed, name, [value[block] for block in keep])
        elif all(isinstance(block, int) and 0 <= block < blocks for block in value):
            setattr(changed, name, [places[block] for block in value if block in places])
    return changed


def spread(blocks: int, kept: int) -> list[int]:
    """`kept` of so many blocks, the first and the last among them and as evenly apart as can be."""
    if kept == 1:
        return [0]
    return [round(place * (blocks - 1) / (kept - 1)) for place in range(kept)]
