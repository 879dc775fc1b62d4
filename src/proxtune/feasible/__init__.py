"""Feasible sets: the models that obey a size, and the nearest of them.

Each set says which shapes it `fits`, whether it `contains` a tensor, which member is `nearest`, and how many `bytes` one is saved
in (`base`). What only proxtune's own code loads is not offered for a saved model.

| set | what it holds | `nearest` is | bytes a weight | loads with |
|---|---|---|---|---|
| `floats.Float("fp32")` | every float32 | exact | 4 | transformers |
| `floats.Float("fp16")`, `"bf16"` | numbers of 16 bits | exact | 2 | transformers |
| `floats.Float("fp8")` | numbers of 8 bits, without a scale | exact | 1 | compressed-tensors |
| `grid.Grid(bits, share)` | 2 to 8 bits times a scale for g weights | exact if small | bits/8 + 2/g | compressed-tensors |
| `codebook.Codebook(bits)` | at most 2^bits different numbers | exact if small | bits/8 | proxtune |
| `point_set.PointSet(points)` | every d numbers are one of n points | exact | log2(n)/8d | proxtune |
| `low_rank.LowRank(rank)` | matrices of a rank | exact | 2·rank·(1/rows + 1/columns) | proxtune |
| `sparse.Sparse(keep)` | at most so many numbers not zero | exact | 1/8 + 2·share kept | proxtune |

Structure is smaller, too: `compression.vocabulary` keeps the rows of an embedding that the data use, with a tokenizer for them;
`compression.depth` keeps some of the blocks. `allocation` gives each tensor one of its choices, so that the sum of what
`compression.fisher` says times squared distance is least.
"""
