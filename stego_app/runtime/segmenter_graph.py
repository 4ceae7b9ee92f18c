"""The network part of a segmenter as one module: backbone, projection, head, fine clusters."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import normalize

from models.backbone import Backbone
from stego_app.clusters import ClusterModel


class SegmenterGraph(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to maps on the patch grid (h, w).

    - ``tokens`` (B, C, h, w): the backbone's,
    - ``codes`` (B, E, h, w): unit codes of the head,
    - ``logits`` (B, F, h, w): cosine with each fine cluster over the temperature; a softmax over F gives their probabilities.

    The arithmetic is that of `ClusterModel`, laid out for whole batches.
    """

    outputs = ("tokens", "codes", "logits")

    mean: torch.Tensor
    metric: torch.Tensor
    fine: torch.Tensor

    def __init__(self, backbone: Backbone, clusters: ClusterModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = clusters.head
        self.temperature = clusters.temperature
        self.register_buffer("mean", clusters.mean.clone())
        self.register_buffer("metric", clusters.metric.clone())
        self.register_buffer("fine", clusters.fine.clone())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        tokens = self.backbone(images).patches
        rows = tokens.movedim(1, -1)
        projected = normalize((normalize(rows, dim=-1) - self.mean) @ self.metric, dim=-1)
        codes = normalize(self.head(projected * math.sqrt(self.head.in_dim)), dim=-1)
        logits = codes @ self.fine.T / self.temperature
        return tokens, codes.movedim(-1, 1), logits.movedim(-1, 1)
