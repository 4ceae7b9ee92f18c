"""Position embeddings resampled to any grid in operations that every runtime computes alike.

torch resamples them with an antialiased bicubic filter. OpenVINO's Resize has no such filter and computes another one without
saying so: tokens were off by several units where the grid shrinks. The filter is separable, so it is two matrix products with
weights that depend on the two sizes alone; those are plain arithmetic.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_A = -0.5
"""The free parameter of the cubic convolution kernel (Keys 1981, equation 4) that torch's antialiased filter uses."""


def cubic_kernel(distance: torch.Tensor) -> torch.Tensor:
    """Keys' cubic convolution kernel at ``distance`` (any shape), in samples; 0 from two samples on."""
    x = distance.abs()
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def resampling_weights(source: int, target: Any) -> torch.Tensor:
    """The matrix (target, source) that resamples ``source`` values to ``target``: bicubic, widened where it shrinks, rows summing to 1.

    ``target`` may be a symbol of the graph being traced.
    """
    positions = torch.arange(target, dtype=torch.float32)
    # Through the last position, since a symbol of the trace is no tensor that could be divided by.
    scale = source / (positions[-1:] + 1)
    distance = torch.arange(source, dtype=torch.float32)[None] + 0.5 - ((positions + 0.5) * scale)[:, None]
    weights = cubic_kernel(distance / scale.clamp(min=1.0))
    return weights / weights.sum(dim=1, keepdim=True)


def resample_positions(
    posemb: torch.Tensor, new_size: Sequence[Any], old_size: Sequence[int] | None = None, num_prefix_tokens: int = 1, **_: object
) -> torch.Tensor:
    """``posemb`` (1, prefix + n, C) on a grid of ``new_size``; timm's `resample_abs_pos_embed` for its antialiased bicubic filter."""
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
    side = round(grid.shape[1] ** 0.5)
    height, width = old_size or (side, side)
    channels = grid.shape[-1]
    rows = torch.einsum("hy,yxc->hxc", resampling_weights(height, new_size[0]), grid.float().reshape(height, width, channels))
    both = torch.einsum("wx,hxc->hwc", resampling_weights(width, new_size[1]), rows)
    return torch.cat([prefix, both.reshape(1, -1, channels).to(posemb.dtype)], dim=1)


@contextmanager
def portable_positions() -> Iterator[None]:
    """Within the block, timm's networks resample their position embeddings with `resample_positions`.

    timm calls its function by name inside the forward pass, so the name is what can be replaced.
    """
    name = "resample_abs_pos_embed"
    places = [module for key, module in sys.modules.items() if key.startswith("timm.models.") and hasattr(module, name)]
    before = [getattr(module, name) for module in places]
    for module in places:
        setattr(module, name, resample_positions)
    try:
        yield
    finally:
        for module, function in zip(places, before, strict=True):
            setattr(module, name, function)
