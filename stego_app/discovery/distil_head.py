"""The head: from a projected token to the code of its codebook entry, so that new images need no codebook."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from models.head import SegmentationHead
from stego_app.discovery.settings import DiscoverySettings
from stego_app.progress import Progress, silent


def distil_head(
    tokens: torch.Tensor,
    codes: torch.Tensor,
    vectors: torch.Tensor,
    settings: DiscoverySettings,
    seed: int,
    progress: Progress = silent,
) -> tuple[SegmentationHead, list[float]]:
    """Train STEGO's head to give each token the vector of its code, by cosine, with Adam and a one-cycle rate.

    Args:
        tokens: (n, D) projected tokens, unit.
        codes: (n,) code of each.
        vectors: (M, E) unit vector of each code.
        settings: steps, batch and rate.
        seed: of the initial weights and the batches.
        progress: called as ``progress("head", step, steps)``.

    Returns:
        the head, and the mean cosine of each step's batch.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = SegmentationHead(tokens.shape[1], vectors.shape[1])
    optimiser = torch.optim.Adam(head.parameters(), settings.rate)
    # A one-cycle rate needs a few steps to have a shape at all.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=max(settings.steps, 4))
    scale = math.sqrt(tokens.shape[1])
    cosines: list[float] = []
    for step in range(settings.steps):
        drawn = torch.randint(len(tokens), (settings.batch,), generator=generator)
        cosine = (normalize(head(tokens[drawn] * scale), dim=1) * vectors[codes[drawn]]).sum(1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(-cosine)
        optimiser.step()
        schedule.step()
        cosines.append(float(cosine.detach()))
        progress("head", step + 1, settings.steps)
    return head.eval(), cosines
