"""The frozen part of an encoder that is trained in part: found, and run once for a student and its teacher."""

from __future__ import annotations

from typing import Any

import torch


def frozen_blocks(network: Any) -> int:
    """How many leading blocks, patches and positions before them included, hold no trained weight: what needs no gradients; 0 if any of the stem is trained."""
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    blocks = [int(name.split(".")[1]) for name in trained if name.startswith("blocks.")]
    stem = any(name.startswith(("patch_embed", "pos_embed", "cls_token", "reg_token", "norm_pre")) for name in trained)
    return 0 if stem or not blocks else min(blocks)


class TrunkMemory:
    """What the frozen blocks gave for the last images: a student and its teacher, which have them in common, ask for the same in turn.

    Images are the same if they are one tensor; copies of an encoder share its memory.
    """

    def __init__(self) -> None:
        self._images: torch.Tensor | None = None
        self._tokens: torch.Tensor | None = None

    def recall(self, images: torch.Tensor) -> torch.Tensor | None:
        """The tokens of ``images`` if they were the last."""
        return self._tokens if self._images is images else None

    def keep(self, images: torch.Tensor, tokens: torch.Tensor) -> None:
        """Remember the ``tokens`` of ``images`` instead of the last ones."""
        self._images, self._tokens = images, tokens

    def __deepcopy__(self, _memo: dict[int, Any]) -> TrunkMemory:
        return self
