"""What was found out before planning: the machine, the model, the data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trace:
    """Traced step of one structure at the longest length: live bytes are `fixed_bytes` + rows · `row_bytes`."""

    fixed_bytes: int
    row_bytes: int
    forward_flops: float  # for each token
    flops: float  # for each token, backward included


@dataclass(frozen=True, slots=True)
class Profile:
    """What was found out before planning: the machine, the model, the data."""

    supervisor_bytes: int
    libraries_bytes: int  # this process before the model is loaded, tokenised data included
    import_peak_bytes: int  # the most it held while importing and reading
    weights_bytes: int  # in fp32
    parameters: int
    embedding_parameters: int
    block_parameters: int  # in all blocks together
    linear_parameters: int  # in the blocks' linear layers, which bf16 casts
    rank_parameters: int  # of lora's adapters, for each rank
    head_parameters: int  # of the classification layer, which lora trains whole
    width: int
    blocks: int
    rows: int
    validation_rows: int
    epoch_tokens: int  # padded
    validation_tokens: int  # padded
    max_length: int
    code_bytes: int  # brought in by one row's forward pass in fp32, beside libraries and weights
    traces: dict[str, Trace] = field(default_factory=dict)  # by "lora/bf16/ckpt" and the like
    flops_per_second: dict[str, float] = field(default_factory=dict)  # of a forward pass, by dtype
    starting_seconds: float = 0.0  # from the command to the survey
    seconds_so_far: float = 0.0  # those at the end for baselines and report counted too
    file_bytes: int = 0  # of the weights on disk
    has_size_limit: bool = False  # to a size
    generates: bool = False  # text
    device: str = "cpu"  # or "cuda", whose memory is then what all bytes here are of


def trace_key(family: str, dtype: str, checkpointing: bool) -> str:
    """Name of a traced structure in a survey."""
    return f"{family}/{dtype}{'/ckpt' if checkpointing else ''}"
