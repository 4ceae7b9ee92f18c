"""Patch tokens from torch, on the device of the backbone."""

from __future__ import annotations

import torch

from models.backbone import Backbone


class TorchTokens:
    """See `stego_app.runtime.tokens.PatchTokens`.

    Args:
        backbone: on the device to use.
        lowered: multiply in bfloat16 (autocast).
    """

    def __init__(self, backbone: Backbone, *, lowered: bool) -> None:
        self._backbone = backbone
        self._lowered = lowered
        self._device = next(backbone.parameters()).device

    @property
    def architecture(self) -> str:
        """timm's name of the network."""
        return self._backbone.spec.architecture

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self._backbone.patch_size

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """See `PatchTokens`."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._lowered):
            tokens: torch.Tensor = self._backbone(images.to(self._device)).patches
        return tokens.float()
