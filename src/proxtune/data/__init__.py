"""Any file → `Examples` or `Pairs`, and those → rows to learn from and rows to judge by."""

from proxtune.data.folder import find_split_file
from proxtune.data.guess import guess_task
from proxtune.data.pairs import read_pairs, read_pairs_split
from proxtune.data.read import read_examples, read_split
from proxtune.data.split import check_labels, split_examples, take
from proxtune.data.split_pairs import split_pairs, take_pairs

__all__ = [
    "check_labels",
    "find_split_file",
    "guess_task",
    "read_examples",
    "read_pairs",
    "read_pairs_split",
    "read_split",
    "split_examples",
    "split_pairs",
    "take",
    "take_pairs",
]
