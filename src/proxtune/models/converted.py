"""A model's weights in another dtype: made once, piece by piece, and kept in the cache.

A file whose tensors have the dtype that is computed in can be mapped and used as it lies on disk. Converting takes a few
megabytes whatever the model, and rounds as torch does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.errors import UserError
from proxtune.models.source import FILES_READ, INDEX, json_of, weight_files
from proxtune.storage.atomic import write_all, write_json
from proxtune.storage.cache import add_to_cache, bound_cache, find_cached
from proxtune.storage.safetensors_header import ITEM_BYTES, Entry, read_header

if TYPE_CHECKING:
    from torch import Tensor

_STORED_AS = {"fp32": "F32", "bf16": "BF16"}
_IN_TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_ALIGNED_BYTES = 64  # a cache line, and the widest register
_PIECE_BYTES = 16 << 20  # of the stored numbers or of the converted ones, whichever are more
_MOST_CACHE_BYTES = 40 * 10**9
_LAYOUT = "1"  # of what is written: another makes the models anew
_MOST_NAME = 32


def stored_dtypes(folder: Path) -> frozenset[str]:
    """The floating-point dtypes of a model's weights, by the names that safetensors has for them. Raises BadTensors."""
    entries = (entry for file in weight_files(folder) for entry in read_header(file).entries.values())
    return frozenset(entry.dtype for entry in entries if _is_float(entry.dtype))


def weights_in(folder: Path, dtype: str) -> Path:
    """A folder with the same model, whose floating-point weights are stored in `dtype`, "fp32" or "bf16".

    It is the folder itself where they are already, and else one in the cache, made at the first call. Raises UserError for
    weights that cannot be converted; OSError, and then nothing is left behind.
    """
    if not weight_files(folder):
        raise UserError(
            f"the model in {folder} has no safetensors weights; save it again in them (save_pretrained writes them)"
        )
    wanted, stored = _STORED_AS[dtype], stored_dtypes(folder)
    if stored <= {wanted}:
        return folder
    if codes := sorted(stored - _IN_TORCH.keys()):
        raise UserError(
            f"the model in {folder} has weights in {', '.join(codes)}, which cannot be converted; give its bfloat16 version"
        )
    name = _name_in_cache(folder, dtype)
    found = find_cached("weights", name)
    if found is not None:
        return found
    made = add_to_cache("weights", name, f"{folder.resolve()} in {dtype}", lambda out: _convert(folder, out, wanted))
    # 40 GB are some twenty models of a size that a laptop trains; on a disk that is almost full the cache leaves half of
    # what is free to others.
    bound_cache(min(_MOST_CACHE_BYTES, shutil.disk_usage(made).free // 2), keep=made)
    return made


def _is_float(dtype: str) -> bool:
    return dtype in _IN_TORCH or dtype.startswith("F8")


def _name_in_cache(folder: Path, dtype: str) -> str:
    """A name that changes with whatever may change what is made: any file of the model, or its place."""
    place = folder.resolve()
    digest = hashlib.sha256(json.dumps([_LAYOUT, str(place), dtype]).encode())
    for file in [*weight_files(folder), *_files_beside(folder)]:
        status = file.stat()
        told = [str(file.relative_to(folder)), status.st_size, status.st_mtime_ns]
        digest.update(json.dumps(told).encode())
    config = folder / "config.json"
    digest.update(config.read_bytes() if config.is_file() else b"")
    return f"{place.name.lstrip('.')[:_MOST_NAME] or 'model'}-{dtype}-{digest.hexdigest()[:16]}"


def _files_beside(folder: Path) -> list[Path]:
    """The files of a model that are no weights and tell of none: configs, tokenizer, chat templates."""
    found = {file for pattern in FILES_READ for file in folder.glob(pattern)}
    found |= set(folder.glob("additional_chat_templates/*.jinja"))
    left_out = (".safetensors", ".index.json")
    return sorted(file for file in found if file.is_file() and not file.name.endswith(left_out))


def _convert(folder: Path, out: Path, dtype: str) -> None:
    out.mkdir()
    for file in _files_beside(folder):
        copy = out / file.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)
    files = weight_files(folder)
    total_bytes = sum(_convert_file(file, out / file.name, dtype) for file in files)
    if files[0].name != "model.safetensors":  # these are the shards of an index
        index = json_of(folder / INDEX, f"the model in {folder}")
        metadata = index.get("metadata")
        index["metadata"] = (metadata if isinstance(metadata, dict) else {}) | {"total_size": total_bytes}
        write_json(out / INDEX, index)


def _convert_file(source: Path, out: Path, dtype: str) -> int:
    """Write the tensors of `source` to `out`, in `dtype`. Returns the bytes of all tensors."""
    import torch

    header = read_header(source)
    # The format allows no gaps: what has no whole number of 64 bytes comes last, and so moves no large tensor.
    entries = dict(sorted(header.entries.items(), key=lambda item: -_alignment(_bytes_as(item[1], dtype))))
    head, total_bytes = _head(entries, header.metadata, dtype)
    buffers = torch.empty(_PIECE_BYTES, dtype=torch.uint8), torch.empty(_PIECE_BYTES, dtype=torch.uint8)
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_all(descriptor, head)
        with source.open("rb", buffering=0) as file:
            for entry in entries.values():
                file.seek(entry.begin)
                if _dtype_of(entry, dtype) == entry.dtype:
                    _copy(file, entry, descriptor, buffers[0])
                else:
                    _convert_tensor(file, entry, dtype, descriptor, buffers)
    finally:
        os.close(descriptor)
    return total_bytes


def _head(entries: Mapping[str, Entry], metadata: Mapping[str, str], dtype: str) -> tuple[bytes, int]:
    """What comes before the tensors in a file that has them in this order, and the bytes of the tensors."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, entry in entries.items():
        end = place + _bytes_as(entry, dtype)
        header[name] = {
            "dtype": _dtype_of(entry, dtype), "shape": list(entry.shape), "data_offsets": [place, end],
        }  # fmt: skip
        place = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % _ALIGNED_BYTES)
    return len(raw).to_bytes(8, "little") + raw, place


def _dtype_of(entry: Entry, dtype: str) -> str:
    """What a tensor is stored as in a model of `dtype`."""
    return dtype if entry.dtype in _IN_TORCH else entry.dtype


def _bytes_as(entry: Entry, dtype: str) -> int:
    return entry.count * ITEM_BYTES[_dtype_of(entry, dtype)]


def _alignment(count_bytes: int) -> int:
    """The largest power of two, up to 64, of which so many bytes are a multiple."""
    return _ALIGNED_BYTES if count_bytes % _ALIGNED_BYTES == 0 else count_bytes & -count_bytes


def _copy(file: Any, entry: Entry, descriptor: int, buffer: Tensor) -> None:
    from proxtune.storage.safetensors_file import bytes_of, read_all

    left = entry.end - entry.begin
    while left:
        piece = bytes_of(buffer[:left])
        read_all(file, piece)
        write_all(descriptor, piece)
        left -= len(piece)


def _convert_tensor(file: Any, entry: Entry, dtype: str, descriptor: int, buffers: tuple[Tensor, Tensor]) -> None:
    import torch

    from proxtune.storage.safetensors_file import bytes_of, read_all

    stored, wanted = (
        buffer.view(getattr(torch, _IN_TORCH[name])) for buffer, name in zip(buffers, (entry.dtype, dtype), strict=True)
    )
    most = min(len(stored), len(wanted))
    left = entry.count
    while left:
        count = min(most, left)
        read_all(file, bytes_of(stored[:count]))
        wanted[:count].copy_(stored[:count])
        write_all(descriptor, bytes_of(wanted[:count]))
        left -= count
