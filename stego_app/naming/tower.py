"""A text tower: words and patches as vectors of one space. Two kinds stand behind one interface: `bridge_tower` and `clip_tower`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from models.text.bridge import Calibration
from stego_app.encoder import Encoded
from stego_app.naming.words import Word

CLIP_PREFIX = "clip:"
TOWERS = "bridge, a bridge file (.safetensors), or clip:NAME of open_clip, such as clip:ViT-B-16/openai"


class TextTower(Protocol):
    """See the module."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever scores could."""
        ...

    @property
    def calibration(self) -> Calibration:
        """How scores become probabilities."""
        ...

    def words(self, words: Sequence[Word]) -> torch.Tensor:
        """Unit vectors (n, D) of ``words``."""
        ...

    def tokens(self, tokens: npt.NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
        """Vectors (n, D) of the segmenter's own tokens (n, C). Raises StegoError where the tower has to see the images."""
        ...

    def image(self, encoded: Encoded) -> torch.Tensor:
        """Vectors (h*w, D) of the patches of an encoded image, on its grid."""
        ...

    def scores(self, patches: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Scores (m, n) of vectors (m, D) with words (n, D)."""
        ...


def load_tower(name: str, backbone_fingerprint: str, device: str = "cpu") -> TextTower:
    """The tower that ``name`` stands for, one of `TOWERS`, for a segmenter whose backbone has that fingerprint.

    Raises:
        StegoError: no such tower, an extra that is not installed, or a bridge for another backbone.
    """
    if name.startswith(CLIP_PREFIX):
        from stego_app.naming.clip_tower import ClipTower

        return ClipTower.load(name.removeprefix(CLIP_PREFIX), device)
    from stego_app.naming.bridge_tower import BridgeTower

    return BridgeTower.load(name, backbone_fingerprint)


def probabilities(scores: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    """Probabilities (m, n + 1) of the words, and in the last column of none of them; see `Calibration`."""
    none = torch.full((len(scores), 1), calibration.threshold)
    return torch.softmax(torch.cat([scores.float(), none], dim=1) / calibration.temperature, dim=1)
