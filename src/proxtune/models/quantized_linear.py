"""Frozen linear layers under adapters, their weights held as codes: whole numbers of 8 or 4 bits times a scale.

Scales are shared by a row at 8 bits and by 64 numbers of a row at 4. The dense weights of one layer at a time are made anew,
in the forward pass and again in the backward pass, where x's gradient needs them:

    y = x Wᵀ + b,   ∂L/∂x = (∂L/∂y) W,   W = s·q

Source: Dettmers et al., QLoRA: Efficient Finetuning of Quantized LLMs, NeurIPS 2023; the grid here is uniform.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

GROUP = 64  # numbers that share a scale at 4 bits
_LARGEST = {8: 127.0, 4: 7.5}  # code that the largest number of a group comes to: codes go to 127, and from -8 to 7
_SHRUNK = (1.0, 0.92, 0.85)  # scales that are tried at 4 bits, for the least squared distance


class FrozenCodes(torch.nn.Module):
    """A linear layer that does not learn: (…, columns) → (…, rows), computed in the type of autocast, else in x's."""

    codes: Tensor  # (rows, columns) int8, or (rows, columns / 2) uint8: two codes a byte
    scale: Tensor  # (rows, groups) bfloat16: its products with codes are rounded once, in whatever type they are made
    bias: Tensor | None  # (rows,)

    def __init__(self, layer: torch.nn.Linear, bits: int) -> None:
        super().__init__()
        bits = 8 if layer.in_features % 2 else bits  # a byte has two codes
        assert bits in _LARGEST
        self.bits, self.dtype = bits, layer.weight.dtype
        self.in_features, self.out_features = layer.in_features, layer.out_features
        codes, scale = _coded(layer.weight.detach(), bits)
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias)

    @property
    def weight(self) -> Tensor:
        """Shape and type of the dense weights, for those who ask for these alone (T5 does)."""
        return torch.empty(self.out_features, self.in_features, dtype=self.dtype, device="meta")

    def values(self, dtype: torch.dtype) -> Tensor:
        """The dense weights, (rows, columns), made anew."""
        codes = self.codes
        if self.bits == 4:
            low, high = codes & 15, codes >> 4
            codes = torch.stack((low, high), -1).view(len(codes), -1).view(torch.int8) - 8
        groups = codes.view(len(codes), self.scale.shape[1], -1).to(dtype)
        return groups.mul_(self.scale[:, :, None].to(dtype)).view(len(codes), -1)

    def dense(self) -> torch.nn.Linear:
        """An ordinary layer with these weights, in the type that it once had."""
        layer = torch.nn.Linear(self.in_features, self.out_features, self.bias is not None, "meta", self.dtype)
        layer.weight = torch.nn.Parameter(self.values(self.dtype), requires_grad=False)
        if self.bias is not None:
            layer.bias = torch.nn.Parameter(self.bias, requires_grad=False)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        found: Tensor = _Product.apply(x.to(dtype), self)
        return found


class _Product(torch.autograd.Function):
    """x Wᵀ + b, of which nothing is kept for the backward pass but the codes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenCodes) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            flat = torch.nn.functional.linear(x.reshape(-1, x.shape[-1]), layer.values(x.dtype), bias)
        return flat.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *of_y: Tensor) -> tuple[Tensor, None]:
        (slope,) = of_y
        flat = slope.reshape(-1, slope.shape[-1]) @ ctx.layer.values(slope.dtype)
        return flat.view(*slope.shape[:-1], -1), None


def quantize_frozen_layers(adapted: Any, bits: int) -> None:
    """Put codes in the place of the dense layers under the adapters of a peft model.

    What stays dense is copied, so that the weight file that it was mapped from is let go of.
    """
    for module in list(adapted.modules()):
        if isinstance(getattr(module, "base_layer", None), torch.nn.Linear):
            module.base_layer = FrozenCodes(module.base_layer, bits)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.clone()


def dequantize_frozen_layers(adapted: Any) -> None:
    """Dense layers in the place of the codes, one after another, for the adapters to be merged into."""
    for module in list(adapted.modules()):
        if isinstance(getattr(module, "base_layer", None), FrozenCodes):
            module.base_layer = module.base_layer.dense()


def dequantized_extra_bytes(model: Any) -> int:
    """How many bytes more the codes of a model take once they are dense."""
    return sum(
        layer.in_features * layer.out_features * layer.dtype.itemsize - layer.codes.nbytes - layer.scale.nbytes
        for layer in model.modules()
        if isinstance(layer, FrozenCodes)
    )


def _coded(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes and scales of (rows, columns); a row that 64 does not divide has one scale."""
    rows, columns = weight.shape
    size = GROUP if bits == 4 and columns % GROUP == 0 else columns
    groups = weight.float().view(rows, -1, size)
    largest = groups.abs().amax(-1, keepdim=True).clamp_(min=1e-12) / _LARGEST[bits]
    best, distance = torch.zeros_like(largest), torch.full_like(largest, torch.inf)
    for share in _SHRUNK if bits == 4 else (1.0,):
        scale = (largest * share).bfloat16().float()
        away = (_rounded(groups, scale, bits) * scale - groups).square_().sum(-1, keepdim=True)
        best, distance = torch.where(away < distance, scale, best), torch.minimum(away, distance)
    codes = _rounded(groups, best, bits).view(rows, columns).to(torch.int8)
    if bits == 4:
        pairs = (codes + 8).view(torch.uint8)
        codes = pairs[:, ::2] | (pairs[:, 1::2] << 4)
    return codes.contiguous(), best.view(rows, -1).bfloat16()


def _rounded(groups: Tensor, scale: Tensor, bits: int) -> Tensor:
    return (groups / scale).round_().clamp_(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
