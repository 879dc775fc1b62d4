"""Compiled kernels: oneDNN keeps one for each shape that it met, a megabyte or two each in bf16."""

from __future__ import annotations

import os

_NAME = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_SET_BY_THE_PERSON = _NAME in os.environ
USUAL = 256  # a dozen shapes of eighteen products each; its own 1,024 know no end
SOME = 80  # what one shape of a decoder under adapters needs: another shape's are compiled again in a tenth of a second
FEW = 16  # where a forward pass takes seconds, compiling again costs nothing: 80 MB less were seen, at the same speed


def keep_kernels(count: int) -> None:
    """Keep at most so many, said before the first is compiled in this process. What the person has set stays."""
    if not _SET_BY_THE_PERSON:
        os.environ[_NAME] = str(count)
