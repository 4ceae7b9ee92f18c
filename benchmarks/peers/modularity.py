"""Clusters by modularity: the codebook of CAUSE (Kim et al. 2023, section 3.2; Newman 2006).

The patches of an image are a graph whose edges A are cosines clamped at zero, without self-loops; d are its degrees and e
their sum. ``W = A - d dᵀ / e`` is how much more two patches are connected than chance. With ``C`` the clamped cosines of
patches to codes, the codes maximise ``Tr[(W / e) δ]``, where ``δ_ij = max_k tanh(C_ik C_jk / τ)`` says whether patches i and
j have a code in common.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

TEMPERATURE = 0.1
CANDIDATES = 8
"""Codes of each patch among which the shared one is looked for; all 2,048 cost ten times as much."""


def modularity_matrix(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``W`` (B, n, n), whose rows sum to zero, and ``e`` (B,) of the patches (B, n, C) of B images."""
    unit = normalize(tokens, dim=-1)
    affinity = (unit @ unit.transpose(1, 2)).clamp(min=0)
    affinity = affinity * (1 - torch.eye(affinity.shape[1]))
    degrees = affinity.sum(2)
    edges = degrees.sum(1)
    expected = degrees[:, :, None] * degrees[:, None, :] / edges.clamp(min=1e-12)[:, None, None]
    return affinity - expected, edges


def modularity_loss(codes: torch.Tensor, tokens: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """Minus the mean modularity of B images; differentiable in the codes.

    Args:
        codes: (k, C), any length.
        tokens: (B, n, C), any length.
        temperature: τ.
    """
    excess, edges = modularity_matrix(tokens)
    assignment = (normalize(tokens, dim=-1) @ normalize(codes, dim=1).T).clamp(min=0)
    # δ and W are symmetric: each pair once, those off the diagonal doubled.
    rows, columns = torch.triu_indices(tokens.shape[1], tokens.shape[1])
    twice = torch.where(rows == columns, 1.0, 2.0)
    total = torch.zeros(())
    for image in range(len(tokens)):
        own = assignment[image]
        with torch.no_grad():  # the maximum passes its gradient to the winning code only
            winner = _shared_code(own, rows, columns)
        shared = torch.tanh(own[rows, winner] * own[columns, winner] / temperature)
        total = total + (excess[image, rows, columns] * twice * shared).sum() / edges[image].clamp(min=1e-12)
    return -total / len(tokens)


def _shared_code(assignment: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """For each pair of patches the code k whose ``C_ik C_jk`` is largest, among those that are one of the `CANDIDATES` closest to a patch.

    A code outside these is beaten by `CANDIDATES` others on both patches, so it could win only if each of those is far from the other patch.
    """
    close: torch.Tensor = assignment.topk(min(CANDIDATES, assignment.shape[1]), dim=1).indices.unique()  # type: ignore[no-untyped-call]
    among = assignment[:, close]
    winner = (among[rows] * among[columns]).argmax(1)
    return close[winner]
