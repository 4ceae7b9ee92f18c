"""Images shared out evenly among prototypes, and the loss of foretelling one view's share from another's."""

from __future__ import annotations

import torch
from lightly.loss.swav_loss import sinkhorn
from torch import distributed

from pretrain.across import several_processes

LOST = 80
"""exp(-LOST) is the least that float32 tells from nothing without losing precision."""


@torch.no_grad()
def centred(logits: torch.Tensor, temperature: float, iterations: int) -> torch.Tensor:
    """Assignments by Sinkhorn-Knopp over the batches of all processes (Caron et al., SwAV, 2020, section 3.1; DINOv2, 2024, section 4).

    Logits (N, K) to probabilities (N, K) whose rows sum to 1 and whose columns nearly to N / K.
    """
    # A factor for each prototype changes nothing, since they are brought to one sum first; so none can be too far from all images for its exponentials.
    highest = logits.amax(0)
    if several_processes():
        distributed.all_reduce(highest, op=distributed.ReduceOp.MAX)
    shifted = (logits - highest).clamp_min(-LOST * temperature)
    answers: torch.Tensor = sinkhorn(shifted, iterations=iterations, epsilon=temperature, gather_distributed=True)
    return answers


def crossed(targets: list[torch.Tensor], found: list[torch.Tensor], temperature: float) -> torch.Tensor:
    """Mean cross-entropy of every target view (B, K) to every other view's logits (B, K); ``found`` starts with the targets' own views."""
    logs = [torch.log_softmax(one / temperature, dim=-1) for one in found]
    terms = [-(target * log).sum(-1).mean() for first, target in enumerate(targets) for second, log in enumerate(logs) if first != second]
    return torch.stack(terms).mean()


def masked_patches(targets: torch.Tensor, found: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of masked patches (T, K), averaged within an image, then over the images of ``mask`` (B, N) that have any masked."""
    entropies = -(targets * torch.log_softmax(found / temperature, dim=-1)).sum(-1)
    counts = mask.sum(1)
    weights = (1 / counts.clamp(min=1))[:, None].expand_as(mask)[mask]
    return (entropies * weights).sum() / (counts > 0).sum().clamp(min=1)
