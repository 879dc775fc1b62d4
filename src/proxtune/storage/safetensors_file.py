"""Files of tensors that are ours: safetensors with a digest of every byte, written and read tensor by tensor.

Neither way copies what is in memory already: a snapshot of a model's weights and its optimizer takes no second set of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxtune.storage.atomic import write_all, write_atomic
from proxtune.storage.safetensors_header import BadTensors, Entry, Header, read_header

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint8: "U8", torch.int64: "I64"}
DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_NONE = "0" * 64  # stands in the digest's place while it is computed
_PIECE = 1 << 20


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write `tensors` and the words `metadata` whole or not at all. Raises what `write_atomic` does."""
    header: dict[str, Any] = {"__metadata__": {"sha256": _NONE, **metadata}}
    place = 0
    for name, tensor in tensors.items():
        end = place + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    write_atomic(path, lambda place: _fill(place, len(raw).to_bytes(8, "little") + raw, tensors))


def verified(path: Path) -> Header:
    """The header of a file that `write_tensors` made, every byte of it checked. Raises BadTensors, OSError."""
    header = read_header(path)
    expected_digest = header.metadata.get("sha256", "")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(0)
        head = file.read(8 + length)
        if len(expected_digest) != 64 or head.count(expected_digest.encode()) != 1:
            raise BadTensors(f"{path} has no digest")
        digest = hashlib.sha256(head.replace(expected_digest.encode(), _NONE.encode()))
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != expected_digest:
        raise BadTensors(f"{path} is damaged: its bytes are not those that were written")
    return header


def fits(entry: Entry, tensor: Tensor) -> bool:
    """Whether what the file has is of the tensor's dtype and shape."""
    return DTYPES.get(entry.dtype) == tensor.dtype and entry.shape == tuple(tensor.shape)


def read_into(path: Path, header: Header, targets: Mapping[str, Tensor]) -> None:
    """Put the file's numbers into the tensors of the same names, in place; `header` is that of `verified`.

    The file is read and not mapped: a mapped one would count beside the model, byte for byte. Raises BadTensors where a
    tensor is of another dtype or shape, before any is written.
    """
    for name, tensor in targets.items():
        if name not in header.entries or not fits(header.entries[name], tensor):
            raise BadTensors(f"{path} does not fit this model: {name[:80]}")
    with path.open("rb", buffering=0) as file, torch.no_grad():
        for name, tensor in targets.items():
            entry = header.entries[name]
            file.seek(entry.begin)
            if tensor.is_cpu and tensor.is_contiguous():
                read_all(file, bytes_of(tensor))
                continue
            own = torch.empty(tensor.shape, dtype=tensor.dtype)
            read_all(file, bytes_of(own))
            tensor.copy_(own)


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def read_all(file: Any, into: memoryview) -> None:
    """Fill `into` from a file that is read without a buffer. Raises BadTensors where the file ends too early."""
    while len(into):
        count = file.readinto(into)
        if not count:
            raise BadTensors(f"{file.name} ends too early")
        into = into[count:]


def _fill(path: Path, head: bytes, tensors: Mapping[str, Tensor]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        digest = hashlib.sha256(head)
        write_all(descriptor, head)
        for tensor in tensors.values():
            data = bytes_of(tensor.detach().cpu().contiguous())
            digest.update(data)
            write_all(descriptor, data)
        os.pwrite(descriptor, digest.hexdigest().encode(), head.index(_NONE.encode()))
    finally:
        os.close(descriptor)
