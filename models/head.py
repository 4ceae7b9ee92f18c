"""Segmentation heads: from a patch token to its code, a patch at a time."""

from __future__ import annotations

import math

import torch
from torch import nn


class SegmentationHead(nn.Module):
    """STEGO's head: a linear map plus a two-layer perceptron, pointwise (Hamilton et al. 2022, section 3.3 and supplement).

    Attributes:
        in_dim: channels D of a token.
        code_dim: channels E of a code.
    """

    def __init__(self, in_dim: int, code_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.code_dim = code_dim
        self.linear = nn.Linear(in_dim, code_dim)
        self.nonlinear = nn.Sequential(nn.Linear(in_dim, in_dim), nn.ReLU(), nn.Linear(in_dim, code_dim))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (..., D) of length about sqrt(D) to codes (..., E), not normalised."""
        codes: torch.Tensor = self.linear(tokens) + self.nonlinear(tokens)
        return codes


class LookupHead(nn.Module):
    """A head without training: the vectors of the nearest entries of a codebook, averaged by a softmax of cosines.

    Attributes:
        codebook: (M, D) float32 unit rows.
        vectors: (M, E) float32, what each entry maps to.
        sharpness: factor on the cosine inside the softmax.
    """

    codebook: torch.Tensor
    vectors: torch.Tensor

    def __init__(self, codebook: torch.Tensor, vectors: torch.Tensor, sharpness: float) -> None:
        super().__init__()
        if codebook.ndim != 2 or vectors.ndim != 2 or len(codebook) != len(vectors):
            raise ValueError(f"a codebook of shape {tuple(codebook.shape)} needs one vector an entry, not {tuple(vectors.shape)}")
        self.sharpness = float(sharpness)
        self.register_buffer("codebook", codebook.detach().float().clone())
        self.register_buffer("vectors", vectors.detach().float().clone())

    @property
    def in_dim(self) -> int:
        """Channels D of a token."""
        return self.codebook.shape[1]

    @property
    def code_dim(self) -> int:
        """Channels E of a code."""
        return self.vectors.shape[1]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (..., D) of length about sqrt(D) to codes (..., E), not normalised."""
        cosines = tokens @ self.codebook.T / math.sqrt(self.in_dim)
        return torch.softmax(self.sharpness * cosines, dim=-1) @ self.vectors
