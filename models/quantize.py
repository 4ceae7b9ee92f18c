"""int8 per output channel, dequantised at load: half the size of fp16, so that more blocks fit in a file."""

from __future__ import annotations

from collections.abc import Mapping

import torch

SCALE_SUFFIX = ".int8_scale"
PRECISIONS = ("fp32", "fp16", "int8")


def quantize_per_channel(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 of ``weight`` (O, ...) with one scale per output channel.

    Returns:
        int8 tensor of the same shape with values in [-127, 127], and float32 scales (O,);
        ``int8 * scale`` differs from ``weight`` by at most half a scale.
    """
    flat = weight.detach().float().reshape(weight.shape[0], -1)
    scale = flat.abs().amax(dim=1).clamp(min=1e-12) / 127
    levels = torch.round(flat / scale[:, None]).clamp(-127, 127).to(torch.int8)
    return levels.reshape(weight.shape), scale


def dequantize_per_channel(levels: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The float32 weight (O, ...) that int8 ``levels`` and ``scale`` (O,) stand for."""
    return levels.float() * scale.float().reshape(-1, *[1] * (levels.ndim - 1))


def pack_state(state: Mapping[str, torch.Tensor], precision: str) -> dict[str, torch.Tensor]:
    """A state dict as stored: ``precision`` is "fp32", "fp16" or "int8" (matrices int8, the rest fp16).

    Raises:
        ValueError: another precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}': expected one of {', '.join(PRECISIONS)}")
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if precision == "int8" and tensor.ndim >= 2 and name.endswith("weight"):
            packed[name], packed[name + SCALE_SUFFIX] = quantize_per_channel(tensor)
        else:
            packed[name] = tensor.detach().float() if precision == "fp32" else tensor.detach().half()
    return packed


def unpack_state(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The float32 state dict of what `pack_state` stored, in any precision."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        scale = packed.get(name + SCALE_SUFFIX)
        state[name] = tensor.float() if scale is None else dequantize_per_channel(tensor, scale)
    return state
