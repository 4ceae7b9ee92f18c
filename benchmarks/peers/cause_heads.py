"""The two heads of CAUSE (Kim et al. 2023, section 3.3): pointwise (CAUSE-MLP) and a transformer decoder layer (CAUSE-TR)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import interpolate, normalize, relu

from models.head import SegmentationHead

Grid = tuple[int, int]


def head_input(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (..., C) at length sqrt(C), whatever the backbone."""
    return normalize(tokens, dim=-1) * math.sqrt(tokens.shape[-1])


class PointwiseHead(nn.Module):
    """Linear plus (linear, ReLU, linear) on each patch: (B, n, C) to (B, n, E)."""

    def __init__(self, dim: int, code_dim: int) -> None:
        super().__init__()
        self.head = SegmentationHead(dim, code_dim)

    def forward(self, tokens: torch.Tensor, concepts: torch.Tensor, grid: Grid, dropped: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002
        """Codes of ``tokens`` (B, n, C); ``dropped`` (B, 1, C) scales channels; the concepts are not looked at."""
        inputs = head_input(tokens)
        codes: torch.Tensor = self.head(inputs if dropped is None else inputs * dropped)
        return codes


class DecoderHead(nn.Module):
    """One decoder layer whose queries are the patches' concepts and whose memory is the patches; then the pointwise head.

    Queries attend to each other, then to the patches, then pass a feed-forward layer; the result is added to the patches.
    Positions of the queries are learnt on a ``window`` (h, w) and interpolated to other grids: the paper trains and tests on one size.
    """

    def __init__(self, dim: int, code_dim: int, window: Grid, hidden: int = 2048, dropout: float = 0.1) -> None:
        super().__init__()
        self.window = window
        self.position = nn.Parameter(torch.randn(1, dim, *window))
        self.among_queries = nn.MultiheadAttention(dim, 1, dropout=dropout, batch_first=True)
        self.to_patches = nn.MultiheadAttention(dim, 1, dropout=dropout, batch_first=True)
        self.feed_in, self.feed_out = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self.head = SegmentationHead(dim, code_dim)

    def forward(self, tokens: torch.Tensor, concepts: torch.Tensor, grid: Grid, dropped: torch.Tensor | None = None) -> torch.Tensor:
        """Codes (B, n, E) of ``tokens`` (B, n, C) on ``grid``, with the concept vector (B, n, C) of each patch as its query."""
        patches, query = head_input(tokens), head_input(concepts)
        position = interpolate(self.position, size=grid, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
        placed = query + position
        query = self.norms[0](query + self.dropout(self.among_queries(placed, placed, query, need_weights=False)[0]))
        query = self.norms[1](query + self.dropout(self.to_patches(query + position, patches, patches, need_weights=False)[0]))
        query = self.norms[2](query + self.dropout(self.feed_out(self.dropout(relu(self.feed_in(query))))))
        mixed = patches + query
        codes: torch.Tensor = self.head(mixed if dropped is None else mixed * dropped)
        return codes
