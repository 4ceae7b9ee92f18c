"""What a step needs of the images of all processes at once, so that several processes learn what one would from the same batch."""

from __future__ import annotations

from typing import Any

import torch
from lightly.utils.dist import gather
from torch import distributed, nn


def several_processes() -> bool:
    """Whether this process is one of several that train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def whole_batch(rows: torch.Tensor) -> torch.Tensor:
    """``rows`` (B, ...) of every process, (world · B, ...); gradients flow back to where each row came from.

    A loss of it is the same in every process. Its gradient arrives once from each of them, which the mean over processes takes back.
    """
    return torch.cat(gather(rows)) if several_processes() else rows


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) by the mean and variance over the batches of all processes.

    As torch's SyncBatchNorm, which works on accelerators only.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C) or (B, C, L) in the same shape."""
        if not (self.training and several_processes()):
            return super().forward(x)
        others = [dimension for dimension in range(x.ndim) if dimension != 1]
        shape = [-1 if dimension == 1 else 1 for dimension in range(x.ndim)]
        values = x.float()
        totals = _sum(torch.cat([values.sum(others), values.new_full((1,), x.numel() / x.shape[1])]))
        mean, count = totals[:-1] / totals[-1], totals[-1].detach()
        centred = values - mean.view(shape)
        variance = _sum(centred.square().sum(others)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)

    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


def share_batch_statistics(module: nn.Module) -> None:
    """Have every batch norm inside ``module`` see the batches of all processes; parameters and their names stay."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm1d:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
                shared._parameters, shared._buffers = child._parameters, child._buffers
                setattr(parent, name, shared.train(child.training))


class _Sum(torch.autograd.Function):
    """The sum over processes. Each process's loss depends on it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(_context: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum(values: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(values)
    return total
