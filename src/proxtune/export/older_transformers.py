"""A model folder that transformers 4.57 reads too: what it knows by other names is written under these as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What the base of rotary positions is called where layers of two kinds have two of them: full attention, and within a window.
_TWO_BASES = {
    "modernbert": ("global_rope_theta", "local_rope_theta"),
    "modernbert-decoder": ("global_rope_theta", "local_rope_theta"),
}
_USUAL = ("rope_theta", "rope_local_base_freq")
_BY_OTHER_NAMES = {"gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}}
_BY_OTHER_NAMES["gpt_neox_japanese"] = _BY_OTHER_NAMES["gpt_neox"]


def write_for_older(folder: Path) -> None:
    """Add to the folder's config.json what older versions look for: else they take their own defaults without a word.

    Raises OSError.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    added = _with_older_names(config)
    if added != config:
        path.write_text(json.dumps(added, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        name: _with_older_names(value)
        for name, value in config.items()
        if name.endswith("_config") and isinstance(value, dict)
    }
    rope = config.get("rope_parameters")
    return {**config, **inner, **(_older_rope(rope, str(config.get("model_type"))) if isinstance(rope, dict) else {})}


def _older_rope(rope: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """rope_theta and rope_scaling, which rope_parameters took the place of."""
    parts = [rope[kind] for kind in ("full_attention", "sliding_attention") if isinstance(rope.get(kind), dict)] or [
        rope
    ]
    names = _TWO_BASES.get(model_type, _USUAL)
    older = {name: part["rope_theta"] for name, part in zip(names, parts, strict=False) if "rope_theta" in part}
    first = parts[0]
    if "partial_rotary_factor" in first:
        older["partial_rotary_factor"] = first["partial_rotary_factor"]
    if first.get("rope_type", "default") != "default" and (first is rope or model_type.startswith("gemma3")):
        older["rope_scaling"] = {name: value for name, value in first.items() if name != "rope_theta"}
    other = _BY_OTHER_NAMES.get(model_type, {})
    return older | {other[name]: value for name, value in older.items() if name in other}
