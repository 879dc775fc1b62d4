"""What plans count with of a model, as plain numbers. `introspection.model_facts` finds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Parameter counts by part of a model, its blocks and its width."""

    parameters: int
    embedding_parameters: int
    block_parameters: int  # in all blocks together
    linear_parameters: int  # in the blocks' linear layers, which bf16 casts
    rank_parameters: int  # of adapters on every linear layer, for each rank
    head_parameters: int  # of a classification layer; 0 for a language-model head
    width: int
    blocks: int
    layout_copies_bytes: int = 0  # of what is copied in fp32 while files are written (`weights/file_layout.py`)

    def as_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)
