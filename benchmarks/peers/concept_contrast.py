"""The concept-wise contrastive loss of CAUSE and its concept bank (Kim et al. 2023, section 3.3)."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

TEMPERATURE = 0.07
POSITIVE = 0.3
NEGATIVE = 0.1


def concept_contrast(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    similarity: torch.Tensor,
    *,
    same: bool,
    temperature: float = TEMPERATURE,
    positive: float = POSITIVE,
    negative: float = NEGATIVE,
) -> torch.Tensor:
    """Mean over all pairs of an anchor i and a positive j of ``-s_ij / τ + log Σ_l exp(s_il / τ)``, l over positives and negatives of i.

    Args:
        anchors: (a, P), of the student; any length.
        candidates: (c, P), of the teacher; any length.
        similarity: (a, c) cosine of the codes of anchor and candidate: above ``positive`` they attract, below ``negative`` they repel.
        same: candidate i is the same patch as anchor i, and is left out.
        temperature: τ.
        positive, negative: thresholds.

    Returns:
        A scalar; zero where there is no positive pair.
    """
    attract, repel = similarity > positive, similarity < negative
    if same:
        diagonal = torch.eye(len(anchors), dtype=torch.bool)
        attract, repel = attract & ~diagonal, repel & ~diagonal
    scores = normalize(anchors, dim=1) @ normalize(candidates, dim=1).T / temperature
    # A row without any candidate has no positive either, and is not counted below.
    total = scores.masked_fill(~(attract | repel), -torch.inf).logsumexp(1, keepdim=True)
    terms = torch.where(attract, total - scores, 0.0)
    return terms.sum() / attract.sum().clamp(min=1)


class ConceptBank:
    """The latest teacher projections of every concept: at most ``depth`` (k, depth, P), the oldest overwritten."""

    def __init__(self, concepts: int, depth: int, width: int) -> None:
        self.entries = torch.zeros(concepts, depth, width)
        self.written = torch.zeros(concepts, dtype=torch.long)

    def add(self, projections: torch.Tensor, concepts: torch.Tensor) -> None:
        """Store unit ``projections`` (n, P) of ``concepts`` (n,)."""
        depth = self.entries.shape[1]
        order = concepts.argsort(stable=True)
        ordered = concepts[order]
        counts = torch.bincount(ordered, minlength=len(self.written))
        rank = torch.arange(len(ordered)) - (counts.cumsum(0) - counts)[ordered]
        kept = rank >= (counts[ordered] - depth)  # of more than fit, the last
        slot = (self.written[ordered] + rank) % depth
        self.entries[ordered[kept], slot[kept]] = projections[order][kept]
        self.written += counts

    def draw(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Up to ``size`` stored entries (m, P) at random, and their concepts (m,)."""
        depth = self.entries.shape[1]
        held = torch.arange(depth)[None, :] < self.written[:, None]
        concepts, slots = held.nonzero(as_tuple=True)
        chosen = torch.randperm(len(concepts), generator=generator)[:size]
        return self.entries[concepts[chosen], slots[chosen]], concepts[chosen]
