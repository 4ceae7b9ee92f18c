"""Sparse convolution in plain torch: for each offset of the kernel, gather, multiply, scatter.

Submanifold convolution (Graham et al., 2018) and its strided and transposed kin differ in their `Pairs` alone. This function is the one place that
a library of fused kernels would replace; the weights are laid out as (offset, in, out).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from models.lidar.voxels import Pairs


class _GatherMultiplyScatter(torch.autograd.Function):
    """Keeps the input alone for the backward pass, and gathers again there: 27 gathered copies would fill the memory."""

    @staticmethod
    def forward(context: Any, features: torch.Tensor, weight: torch.Tensor, pairs: Sequence[Pairs], outputs: int) -> torch.Tensor:
        context.save_for_backward(features, weight)
        context.pairs = pairs
        result = torch.zeros(outputs, weight.shape[2], device=features.device, dtype=_sum_type(features))
        for matrix, (source, target) in zip(weight, pairs, strict=True):
            result.index_add_(0, target, (features[source] @ matrix).to(result.dtype))
        return result.to(features.dtype)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        features, weight = context.saved_tensors
        [gradient] = gradients
        of_features = torch.zeros(features.shape, device=features.device, dtype=_sum_type(features))
        of_weight = torch.empty_like(weight)
        for number, (source, target) in enumerate(context.pairs):
            arriving = gradient[target]
            of_features.index_add_(0, source, (arriving @ weight[number].T).to(of_features.dtype))
            of_weight[number] = features[source].T @ arriving
        return of_features.to(features.dtype), of_weight, None, None


def _sum_type(features: torch.Tensor) -> torch.dtype:
    """Sums over offsets are kept in single precision at least."""
    return torch.promote_types(features.dtype, torch.float32)


def sparse_convolution(features: torch.Tensor, weight: torch.Tensor, pairs: Sequence[Pairs], outputs: int) -> torch.Tensor:
    """``result[target] += features[source] @ weight[k]`` over the pairs of every offset k.

    Args:
        features: (V, C) of the input voxels.
        weight: (K, C, D).
        pairs: K of them.
        outputs: number of output voxels W.

    Returns:
        (W, D).
    """
    if torch.is_autocast_enabled(features.device.type):
        lowered = torch.get_autocast_dtype(features.device.type)
        features, weight = features.to(lowered), weight.to(lowered)
    result: torch.Tensor = _GatherMultiplyScatter.apply(features, weight, pairs, outputs)
    return result


class SparseConvolution(nn.Module):
    """A kernel of ``offsets`` matrices, without bias: a batch norm follows."""

    def __init__(self, offsets: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(offsets, inputs, outputs))
        # He et al. (2015) for the third of a 27-offset kernel that is occupied on a surface; strided kernels see one or two of eight.
        nn.init.normal_(self.weight, std=(2.0 / (inputs * max(1.0, offsets / 3))) ** 0.5)

    def forward(self, features: torch.Tensor, pairs: Sequence[Pairs], outputs: int) -> torch.Tensor:
        """See `sparse_convolution`."""
        return sparse_convolution(features, self.weight, pairs, outputs)
