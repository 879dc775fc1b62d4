"""The scale of a group of numbers on a uniform grid: least squares over the scale and the codes together.

For given codes q the squared distance |w - s·q|² = |w|² - (2s·A - s²·B), with A = <w, q> and B = <q, q>, is least at s = A/B, and
among the scales that can be stored at the one nearest to A/B. The codes change only where w_i/s passes k + 1/2. So

- `exact_scales`: the sweep over all these breakpoints, with A and B as running sums, sees the codes of every scale. It takes
  numbers × 2^bits steps and their sorting;
- `searched_scales`: scales from the largest number down, of both signs, then more about the best, each taken to the A/B of its
  codes. On normal and Laplace weights in groups of 128 its distance is within 0.1 % of the least up to 4 bits, 1 % up to 6, 2 %
  at 8; in groups of 32 within 1 %, 5 % and 10 %, where all are small.

A scale may be negative: the codes reach one further down than up, which matters at 2 and 3 bits.
With `importance` f ≥ 0 the distance is Σ f_i (w_i - s·q_i)², so A = <f·w, q> and B = <f·q, q>. (LSQ, Esser et al. 2020, learns s
by its gradient instead.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LEAST_SCALE, LARGEST_SCALE = 2.0**-24, 2.0**8  # the smallest float16 above zero; 255 times 2^8 is still one
_NUMBERS_AT_ONCE = 1 << 17  # they stay in a core's cache
_BREAKPOINTS_AT_ONCE = 1 << 19
_LOOKED_AT_FIRST = 8  # numbers of a group, before all of them are
_COARSE, _FINE = 16, 8  # scales looked at: from the largest number down; on each side of the best
_LOWEST = {2: 0.15, 3: 0.15, 4: 0.35, 5: 0.45, 6: 0.55, 7: 0.65, 8: 0.7}  # of the scale that reaches the largest number


def code_range(bits: int) -> tuple[int, int]:
    """The smallest and the largest code."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def stored(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The scale nearest to each one among those that can be stored, as float32."""
    size = scale.abs().clamp(LEAST_SCALE, LARGEST_SCALE)
    return torch.where(scale < 0, -size, size).to(dtype).float()


def searched_scales(groups: Tensor, bits: int, dtype: torch.dtype, importance: Tensor | None = None) -> Tensor:
    """(groups, numbers) float32 → (groups) scales, float32 as `dtype` stores them; near the best."""

    def search(group: Tensor, weight: Tensor | None) -> Tensor:
        return _search(group, weight, bits, dtype)

    return _in_pieces(search, groups, importance, _NUMBERS_AT_ONCE)


def exact_scales(groups: Tensor, bits: int, dtype: torch.dtype, importance: Tensor | None = None) -> Tensor:
    """(groups, numbers) float32 → (groups) scales, float32 as `dtype` stores them; no other scale is nearer."""

    def sweep(group: Tensor, weight: Tensor | None) -> Tensor:
        up, gain_up = _sweep(group, weight, bits, dtype)
        down, gain_down = _sweep(-group, weight, bits, dtype)
        return torch.where(gain_down > gain_up, -down, up)

    return _in_pieces(sweep, groups, importance, _BREAKPOINTS_AT_ONCE >> bits)


def _in_pieces(
    fit: Callable[[Tensor, Tensor | None], Tensor], groups: Tensor, importance: Tensor | None, at_once: int
) -> Tensor:
    each = max(1, at_once // max(1, groups.shape[1]))
    found = torch.empty(len(groups))
    for begin in range(0, len(groups), each):
        piece = slice(begin, begin + each)
        found[piece] = fit(groups[piece], None if importance is None else importance[piece])
    return found


def _search(groups: Tensor, importance: Tensor | None, bits: int, dtype: torch.dtype) -> Tensor:
    lowest, highest = code_range(bits)
    weighted = groups if importance is None else groups * importance
    largest = groups.abs().amax(1)
    best = stored(torch.where(largest > 0, largest / -lowest, 1.0), dtype)
    best_gain = torch.zeros_like(best)

    def look(scale: Tensor) -> None:
        nonlocal best, best_gain
        codes = (groups / stored(scale, dtype)[:, None]).round_().clamp_(lowest, highest)
        a = (weighted * codes).sum(1)
        b = (codes.square() if importance is None else codes.square().mul_(importance)).sum(1)
        better = stored(torch.where(b > 0, a / b, scale), dtype)
        gain = 2 * better * a - better.square() * b
        found = gain > best_gain
        best, best_gain = torch.where(found, better, best), torch.where(found, gain, best_gain)

    shares = torch.linspace(_LOWEST[bits], 1.02, _COARSE).tolist()
    for share in shares:
        reaching = share / (highest + 0.5) * largest
        look(reaching)
        look(-reaching)
    centre, apart = best, (shares[1] - shares[0]) / (_FINE + 1)
    for place in range(1, _FINE + 1):
        look(centre * (1 + place * apart))
        look(centre * (1 - place * apart))
    look(best)
    return best


def _sweep(groups: Tensor, importance: Tensor | None, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The best positive scale of each group, and what it gains over all codes zero; in float64, as good as exact."""
    lowest, highest = code_range(bits)
    size = groups.double().abs()[:, :, None]
    weight = torch.ones_like(size) if importance is None else importance.double()[:, :, None]
    code = torch.arange(-lowest, dtype=torch.float64)  # from this one to the next further out
    reached = (groups[:, :, None] < 0) | (code < highest)
    breakpoints = torch.where(reached, size / (code + 0.5), 0.0).flatten(1)
    order = breakpoints.argsort(1, descending=True)
    a = (weight * size).expand(-1, -1, len(code)).flatten(1).gather(1, order).cumsum_(1)
    b = (weight * (2 * code + 1)).flatten(1).gather(1, order).cumsum_(1)
    scale = stored(torch.where(b > 0, a / b, 1.0), dtype).double()
    gain = torch.where(breakpoints.gather(1, order) > 0, 2 * scale * a - scale.square() * b, 0.0)
    most, at = gain.max(1)
    best = torch.where(most > 0, scale.gather(1, at[:, None])[:, 0], stored(size[:, :, 0].amax(1), dtype).double())
    return torch.where(size.amax((1, 2)) > 0, best, 1.0).float(), most


def times(codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Codes times scales as they are multiplied when loaded: rounded to `dtype` once, then float32."""
    product = codes * scale  # exact in float32 for a float16 scale: 8 and 11 bits
    return product.half().float() if dtype == torch.float16 else product


def own_scales(groups: Tensor, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For each group that is on the grid a scale of it, float32; and which groups are. A group of zeros has the scale one.

    If the largest number L is the rounded product of m and s, then s is one of the two that can be stored about L/m.
    """
    largest = groups.abs().amax(1)
    scale = torch.ones_like(largest)
    found = largest == 0
    open_ = (largest == times(largest, torch.ones(()), dtype)).logical_and_(~found).nonzero()[:, 0]
    few = groups[:, :_LOOKED_AT_FIRST]
    for code in range(1 << (bits - 1), 0, -1):
        for ulps in (0, -1, 1):
            for sign in (1.0, -1.0):
                if len(open_) == 0:
                    return scale, found
                step = sign * _beside(stored(largest[open_] / code, dtype), ulps, dtype)
                maybe = _on_grid(few[open_], step, bits, dtype)
                rows, step = open_[maybe], step[maybe]
                fits = _on_grid(groups[rows], step, bits, dtype)
                found[rows[fits]], scale[rows[fits]] = True, step[fits]
                open_ = open_[~found[open_]]
    return scale, found


def _beside(scale: Tensor, ulps: int, dtype: torch.dtype) -> Tensor:
    """The scale so many storable numbers away."""
    whole = torch.int16 if dtype == torch.float16 else torch.int32
    return stored((scale.to(dtype).view(whole) + ulps).view(dtype).float(), dtype)


def _on_grid(groups: Tensor, scale: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """Which groups are codes times their scale."""
    lowest, highest = code_range(bits)
    codes = (groups / scale[:, None]).round_().clamp_(lowest, highest)
    return (times(codes, scale[:, None], dtype) == groups).all(1)
