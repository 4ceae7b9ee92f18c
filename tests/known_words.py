"""A text tower whose answers are known: the n-th axis of patches is the n-th word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from model_file import write_model
from torch.nn.functional import normalize

from models.backbone import Backbone
from models.text.bridge import Bridge, Calibration
from stego_app.segmenter_file import read_segmenter, save_segmenter

WORDS = ["road", "tree", "sky", "car"]


class KnownSentences:
    """A sentence model: the n-th of `WORDS` is the n-th axis, anything else the last."""

    fingerprint = "fixed"

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        axes = torch.eye(self.width)
        return torch.stack([axes[WORDS.index(text)] if text in WORDS else axes[-1] for text in texts])


def known_bridge(backbone: str, width: int) -> Bridge:
    """Maps a token to itself."""
    anchors = normalize(torch.ones(1, width), dim=1)
    zeros = torch.zeros(width)
    return Bridge(backbone, "fixed", ("{}",), zeros, torch.eye(width), zeros, anchors, anchors, 1, Calibration(0.2, 0.5, 0.8, 0.5))


def write_trees(path: Path, backbone: Backbone) -> Path:
    """A segmenter file each of whose clusters looks like a tree."""
    model = read_segmenter(write_model(path, backbone))
    prototypes = np.zeros((len(model.shares), backbone.dim), np.float32)
    prototypes[:, WORDS.index("tree")] = 0.5
    save_segmenter(path, replace(model, prototypes=prototypes))
    return path
