"""A survey as it might be found, for tests of the planner and of what settles its plans."""

from proxtune.planning.profile import Profile, Trace

MB = 1_000_000
# A model of MiniLM's size and 4,000 rows, on a machine of 50 GFLOP a second.
PROFILE = Profile(
    supervisor_bytes=50 * MB, libraries_bytes=280 * MB, import_peak_bytes=320 * MB, weights_bytes=91 * MB,
    parameters=22_700_000, embedding_parameters=11_900_000, block_parameters=10_600_000, linear_parameters=10_600_000,
    rank_parameters=42_240, head_parameters=770,
    width=384, blocks=6, rows=4000, validation_rows=400, epoch_tokens=160_000, validation_tokens=16_000, max_length=64,
    code_bytes=75 * MB,
    traces={
        "forward/fp32": Trace(1 * MB, 1 * MB, 25e6, 25e6),
        "nno/fp32": Trace(1 * MB, 1 * MB, 25e6, 25e6),
        "layers/fp32": Trace(2 * MB, 8 * MB, 25e6, 75e6),
        "layers/fp32/ckpt": Trace(2 * MB, 2 * MB, 25e6, 100e6),
        "lora/fp32": Trace(2 * MB, 9 * MB, 26e6, 60e6),
        "lora/fp32/ckpt": Trace(2 * MB, 2 * MB, 26e6, 85e6),
    },
    file_bytes=91 * MB, flops_per_second={"fp32": 5e10}, seconds_so_far=20.0,
)  # fmt: skip
