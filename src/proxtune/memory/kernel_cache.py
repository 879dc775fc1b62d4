"""Compiled kernels: oneDNN keeps one for each shape that it met, a megabyte or two each in bf16.

torch's layer above it (ideep) keeps what it made for 1,024 shapes of its own, linear layers' backward passes
among them, and oneDNN's limit is nothing to that. With SmolLM2 under adapters the heap grew by 9 MB for each
length that was new, without an end in sight: 1,480 MB at the worst after sixteen lengths, where keeping one there
is 1,355. The time is the same, since oneDNN has them still.
"""

from __future__ import annotations

import os

_NAME, _ABOVE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"
_SET_BY_THE_USER = {name for name in (_NAME, _ABOVE) if name in os.environ}
USUAL = 256  # a dozen shapes of eighteen products each; its own 1,024 know no end
SOME = 80  # what one shape of a decoder under adapters needs: another shape's are compiled again in a tenth of a second
FEW = 16  # where a forward pass takes seconds, compiling again costs nothing: 80 MB less were seen, at the same speed
_KEPT_ABOVE = 1  # it does not take 0


def limit_kernel_cache(count: int) -> None:
    """Keep at most so many, said before the first is compiled in this process. What the user has set stays."""
    for name, kept in ((_NAME, count), (_ABOVE, _KEPT_ABOVE)):
        if name not in _SET_BY_THE_USER:
            os.environ[name] = str(kept)
