"""Any file → `Examples`, and `Examples` → rows to learn from and rows to judge by."""

from proxtune.data.folder import find_split_file
from proxtune.data.read import read_examples, read_split
from proxtune.data.split import check_labels, split_examples, take

__all__ = ["check_labels", "find_split_file", "read_examples", "read_split", "split_examples", "take"]
